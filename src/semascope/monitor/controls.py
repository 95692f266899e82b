"""What stands beside steering: the same interventions on random features that are like these.

A control is matched in density and direction norm (``causal.measure.matched_controls``); what it
does is what steering as such does. Knows interventions and statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semascope.causal.steering.controls import as_control, direction_norms, matched_controls
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.errors import CausalError
from semascope.monitor.clusters import Feature


def controls(
    steerable: SteerableModel, interventions: Sequence[Intervention], seed: int = 0
) -> tuple[list[Intervention], list[str]]:
    """The interventions on matched random features, and sentences about what has no match.

    A feature that several interventions name gets one control, so that they stack alike. Features
    that never fired match nothing and are left out.
    """
    named = list(dict.fromkeys(f for one in interventions for f in one.features))
    norms: dict[str, Any] = {}
    match: dict[Feature, Feature] = {}
    used: dict[str, list[int]] = {}
    for key, index in named:
        used.setdefault(key, []).append(index)
    missing = 0
    for key, index in named:
        if key not in steerable.dictionaries:
            continue
        dictionary = steerable.dictionaries[key]
        if key not in norms:
            norms[key] = direction_norms(dictionary)
        try:
            (other,) = matched_controls(
                dictionary, key, index, steerable.statistics or {},
                count=1, seed=seed, avoid=used[key], norms=norms[key],
            )  # fmt: skip
        except CausalError:
            missing += 1
            continue
        match[key, index] = (key, other)
        used[key].append(other)
    swapped = [_swapped(one, match) for one in interventions]
    notes = []
    if missing:
        notes.append(
            f"{missing} of {len(named)} features have no match of like density and norm; the "
            "control is without them."
        )
    return [one for one in swapped if one is not None], notes


def _swapped(one: Intervention, match: dict[Feature, Feature]) -> Intervention | None:
    others = [match[f] for f in one.features if f in match]
    return as_control(one, others) if others else None
