"""Sizes of units, and ids of dictionaries.

Statistics are arrays by feature, from evidence, a calibration pass, or written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.causal.steering.borrowed_directions import home_key
from semascope.causal.steering.interventions import Intervention
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError, EvidenceError


@runtime_checkable
class FeatureStats(Protocol):
    """Gives one number per feature by name; ``evidence.Evidence`` is one."""

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
    values = dictionaries.values() if isinstance(dictionaries, Mapping) else dictionaries
    return {dictionary_id(dictionary): dictionary for dictionary in values}


def output_site(dictionary: Dictionary) -> str:
    """The site that the dictionary writes to: the one it reads, unless it names another.

    A transcoder names it as ``site_out``. MLP neurons whose directions are their output weights
    are read at ``mlp_neurons.N`` and write at ``mlp_out.N``.
    """
    if dictionary.site_out:
        return dictionary.site_out
    stem, _, layer = dictionary.site.partition(".")
    if stem == "mlp_neurons":
        width = dictionary.directions(torch.zeros(1, dtype=torch.int64)).shape[1]
        if width != dictionary.d_in:
            return f"mlp_out.{layer}"
    return dictionary.site


def statistic(statistics: Statistics | None, key: str, name: str) -> NDArray[np.floating]:
    """(width,) one statistic of one dictionary; of borrowed directions, that of their source.

    Raises CausalError where there is none.
    """
    known = (statistics or {}).get(key) or (statistics or {}).get(home_key(key))
    if known is None:
        raise CausalError(
            f"There are no statistics of {key}, so '{name}' is unknown: gather evidence for it, "
            "or give the strength with unit 'absolute'."
        )
    try:
        return known[name] if isinstance(known, Mapping) else known.stats(name)
    except (KeyError, ValueError, EvidenceError) as error:
        raise CausalError(f"The statistics of {key} hold no '{name}'.") from error


def unit_sizes(
    intervention: Intervention, key: str, ids: NDArray[np.int64], statistics: Statistics | None
) -> NDArray[np.float32]:
    """(F,) one unit of each feature, in activations; only clamp and add need it.

    Raises CausalError for a feature that never fired, and so has no maximum.
    """
    if intervention.unit == "absolute" or intervention.how not in ("clamp", "add"):
        return np.ones(len(ids), dtype=np.float32)
    if intervention.unit == "max":
        sizes = np.asarray(statistic(statistics, key, "max")[ids], dtype=np.float32)
    else:
        sizes = _quantiles(statistics, key, ids, intervention.quantile)
    unknown = ids[~(np.isfinite(sizes) & (sizes > 0))]
    if len(unknown):
        raise CausalError(
            f"{intervention.label}: feature {key}/{unknown[0]} never fired on the corpus, "
            f"so it has no {intervention.unit}: give the strength with unit 'absolute'."
        )
    return sizes


def _quantiles(
    statistics: Statistics | None, key: str, ids: NDArray[np.int64], q: float
) -> NDArray[np.float32]:
    """(F,) quantile ``q`` of each feature's firing activations: measured, or off its histogram."""
    known = (statistics or {}).get(key) or (statistics or {}).get(home_key(key))
    histogram = getattr(known, "histogram", None)
    if histogram is None:
        return np.asarray(statistic(statistics, key, f"q{q:g}")[ids], dtype=np.float32)
    maxima = statistic(statistics, key, "max")
    sizes = []
    for index in ids.tolist():
        edges, counts = histogram(index)
        sizes.append(min(quantile(edges, counts, q), float(maxima[index])))
    return np.asarray(sizes, dtype=np.float32)


def quantile(edges: NDArray[np.floating], counts: NDArray[np.integer], q: float) -> float:
    """Quantile ``q`` off a histogram with (B + 1,) rising positive edges, 0 where it is empty.

    Within a bin the logarithm is taken as uniform, so the error is below the bin's width.
    """
    total = int(counts.sum())
    if total == 0:
        return 0.0
    rank = q * total
    reached = np.cumsum(counts)
    bin_ = int(np.searchsorted(reached, rank))
    inside = (rank - (reached[bin_] - counts[bin_])) / max(1, counts[bin_])
    low, high = np.log(edges[bin_]), np.log(edges[bin_ + 1])
    return float(np.exp(low + inside * (high - low)))
