"""Concept coverage: average precision of features as detectors of known concepts.

Each concept's scenes are its positives, those of the other concepts its negatives. The feature is
chosen by average precision on one half of the scenes and judged on the other, so that the best of
thousands is not a lucky one. Chance is the share of positives, the expected average precision of
a random ranking.
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
    """One concept and the feature that detects it best."""

    name: str
    kind: str
    named: float
    """Share of its scenes in which the model itself names it."""
    feature: int
    """Its index; −1 if no feature fires on the concept."""
    ap: float
    """Held-out average precision of that feature; 0 if there is none."""
    low: float
    high: float
    chance: float
    """Share of the held-out scenes that show the concept."""


def cover(
    peaks: sparse.csr_matrix,
    holds: NDArray[np.bool_],
    half: NDArray[np.bool_],
    names: Sequence[tuple[str, str]],
    named: Sequence[float],
    *,
    seed: int = 0,
) -> list[CoveredConcept]:
    """The best feature of each concept, with its held-out average precision.

    Args:
        peaks: (n, width) largest activation of each feature in each scene.
        holds: (n, concepts) whether the scene shows the concept.
        half: (n,) True for scenes that choose the features, False for those that judge them.
        names: (kind, name) of each concept.
        named: by concept, the share of its scenes in which the model itself names it.
        seed: of the bootstrap.
    """
    choose, judge = np.flatnonzero(half), np.flatnonzero(~half)
    table = peaks.tocsc()
    first, second = table[choose], table[judge]
    covered = []
    for c, (kind, name) in enumerate(names):
        truth, held = holds[choose, c], holds[judge, c]
        best, _ = best_feature(first, truth)
        value = low = high = 0.0
        if best >= 0 and 0 < held.sum() < len(held):
            heat = np.asarray(second[:, [best]].toarray(), np.float64).ravel()
            precision = average_precision_interval(heat, held, seed)
            value, (low, high) = precision.value, precision.interval
        share = float(held.mean())
        covered.append(CoveredConcept(name, kind, float(named[c]), best, value, low, high, share))
    return covered


def best_feature(peaks: sparse.csc_matrix, truth: NDArray[np.bool_]) -> tuple[int, float]:
    """The column with the best average precision for ``truth``, and that; (−1, 0) if none fires.

    Tries only the hundred columns whose firing rates on positives and negatives differ most, since
    average precision sorts every column.
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
    concepts: Sequence[CoveredConcept], *, least_named: float = 0.5, bar: float = 0.8, seed: int = 0
) -> Figure:
    """Share of concepts with a feature whose held-out average precision is at least ``bar``.

    Counts the concepts that the model names in at least ``least_named`` of their scenes; NaN if
    there are none.
    """
    known = [c for c in concepts if c.named >= least_named]
    if not known:
        return EMPTY
    has = np.array([c.ap >= bar for c in known], np.float64)
    return mean_of_resamples(has, seed)
