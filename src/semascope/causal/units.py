"""How big one unit of a feature is, and which dictionary a feature's name means.

Knows per-feature statistics as arrays; not where they come from (evidence, a calibration
pass, or numbers typed by hand).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semascope.causal.interventions import Intervention
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError


@runtime_checkable
class FeatureStats(Protocol):
    """Anything that knows one number per feature by name; ``evidence.Evidence`` is one."""

    def stats(self, name: str) -> NDArray[np.floating]:
        """(width,) the statistic ``name`` of every feature."""
        ...


Statistics = Mapping[str, FeatureStats | Mapping[str, NDArray[np.floating]]]
"""By dictionary, as ``site/name``."""


def dictionary_id(dictionary: Dictionary) -> str:
    """``site/name``, the first two parts of every feature's id."""
    return f"{dictionary.site}/{dictionary.name}"


def by_id(dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary]) -> dict[str, Dictionary]:
    """Dictionaries by ``site/name``."""
    found = dictionaries.values() if isinstance(dictionaries, Mapping) else dictionaries
    return {dictionary_id(dictionary): dictionary for dictionary in found}


def output_site(dictionary: Dictionary) -> str:
    """Where the dictionary's directions live: its own site, unless it says otherwise."""
    return str(getattr(dictionary, "site_out", None) or dictionary.site)


def statistic(statistics: Statistics | None, key: str, name: str) -> NDArray[np.floating]:
    """(width,) one statistic of one dictionary.

    Raises CausalError where there is none.
    """
    found = (statistics or {}).get(key)
    if found is None:
        raise CausalError(
            f"No statistics of {key} are at hand, so '{name}' is unknown: gather evidence for it, "
            "or give the strength with unit 'absolute'."
        )
    try:
        return found[name] if isinstance(found, Mapping) else found.stats(name)
    except (KeyError, ValueError) as error:
        raise CausalError(f"The statistics of {key} hold no '{name}'.") from error


def unit_name(intervention: Intervention) -> str:
    """The name of the statistic that is one unit, '' for absolute units."""
    if intervention.unit == "quantile":
        return f"q{intervention.quantile:g}"
    return "max" if intervention.unit == "max" else ""


def unit_sizes(
    intervention: Intervention, key: str, ids: NDArray[np.int64], statistics: Statistics | None
) -> NDArray[np.float32]:
    """(F,) one unit of each feature, in activations; only clamp and add need it.

    Raises CausalError for a feature that never fired, whose own maximum means nothing.
    """
    name = unit_name(intervention)
    if not name or intervention.how not in ("clamp", "add"):
        return np.ones(len(ids), dtype=np.float32)
    sizes = np.asarray(statistic(statistics, key, name)[ids], dtype=np.float32)
    unknown = ids[~(np.isfinite(sizes) & (sizes > 0))]
    if len(unknown):
        raise CausalError(
            f"{intervention.label}: feature {key}/{unknown[0]} never fired where it was measured, "
            f"so its {unit_name(intervention)} is no unit; give the strength with unit 'absolute'."
        )
    return sizes
