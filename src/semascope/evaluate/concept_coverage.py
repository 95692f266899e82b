"""Which concepts have a feature: average precision of every feature as a detector of each.

For each concept some scenes hold it and the scenes of the others do not. The feature is chosen by
its average precision on one half of the scenes and judged on the other, so that the best of
thousands of features is not taken at its luck. Chance is what the feature chosen for another
concept gets. Numbers and names only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from semascope.statistics import (
    EMPTY,
    Figure,
    average_precision,
    average_precision_interval,
    mean_of_resamples,
)


@dataclass(frozen=True, slots=True)
class CoveredConcept:
    """One concept and the feature that tells it best."""

    name: str
    kind: str
    named: float
    """Share of its scenes in which the model itself names it."""
    feature: int
    """−1 where no feature fires on it at all."""
    ap: float
    """Held-out average precision of that feature; 0 where there is none."""
    low: float
    high: float
    chance: float
    """Share of the held-out scenes that hold the concept."""


def cover(
    peaks: sparse.csr_matrix,
    holds: NDArray[np.bool_],
    half: NDArray[np.bool_],
    names: Sequence[tuple[str, str]],
    named: Sequence[float],
    *,
    seed: int = 0,
) -> list[CoveredConcept]:
    """``peaks`` (n, width) of each scene, ``holds`` (n, concepts) whether it is there, ``half``
    (n,) True where features are chosen; ``names`` are (kind, name) pairs."""
    choose, judge = np.flatnonzero(half), np.flatnonzero(~half)
    table = peaks.tocsc()
    first, second = table[choose], table[judge]
    found = []
    for c, (kind, name) in enumerate(names):
        truth, held = holds[choose, c], holds[judge, c]
        best, _ = best_feature(first, truth)
        value = low = high = 0.0
        if best >= 0 and 0 < held.sum() < len(held):
            heat = np.asarray(second[:, [best]].toarray(), np.float64).ravel()
            precision = average_precision_interval(heat, held, seed)
            value, (low, high) = precision.value, precision.interval
        share = float(held.mean())
        found.append(CoveredConcept(name, kind, float(named[c]), best, value, low, high, share))
    return found


def best_feature(peaks: sparse.csc_matrix, truth: NDArray[np.bool_]) -> tuple[int, float]:
    """The column whose values order ``truth`` best, by average precision; (−1, 0) for none.

    Only columns that fire on some positive are looked at, those with the largest difference of
    means first, a hundred of them: average precision needs a sort of each.
    """
    if not truth.any():
        return -1, 0.0
    on = np.asarray((peaks[truth] > 0).mean(axis=0)).ravel()
    off = np.asarray((peaks[~truth] > 0).mean(axis=0)).ravel() if (~truth).any() else 0 * on
    order = np.argsort(-(on - off), kind="stable")[:100]
    best, top = -1, 0.0
    for column in order.tolist():
        if on[column] <= 0:
            continue
        value = _ap(np.asarray(peaks[:, [column]].toarray()).ravel(), truth)
        if value > top:
            best, top = column, value
    return best, top


def _ap(heat: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    return float(average_precision(heat.astype(np.float64), truth)[0])


def share_covered(
    found: Sequence[CoveredConcept], *, least_named: float = 0.5, bar: float = 0.8, seed: int = 0
) -> Figure:
    """Of the concepts that the model names in at least ``least_named`` of their scenes, the share
    with a feature whose held-out AP is ``bar`` or more; NaN where it names none."""
    known = [c for c in found if c.named >= least_named]
    if not known:
        return EMPTY
    has = np.array([c.ap >= bar for c in known], np.float64)
    return mean_of_resamples(has, seed)
