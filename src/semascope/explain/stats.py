"""Figures and their intervals: AUROC, average precision, Pearson r, means; by bootstrap.

Numbers in, numbers out. Every function is exact for ties and weights; every interval is a
percentile bootstrap (Efron 1979) whose draws come from a seed, so that a second run agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 200
"""Bootstrap draws; the ends of a 95 % interval move by about .01 between seeds at 200."""
_ROUNDING = 1e-12
"""A variance of less than this share of the mean square is rounding: nothing varies."""


class Figure(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=4096)
def drawn(n: int, seed: int) -> Floats:
    """(DRAWS, n) how often each of n samples is drawn."""
    rng = np.random.default_rng((seed, n))
    return rng.multinomial(n, np.full(n, 1.0 / n), size=DRAWS).astype(np.float64)


def wins(positive: Floats, negative: Floats) -> Floats:
    """(P, N): 1 where a positive is rated above a negative, ½ where they tie."""
    difference = positive[:, None] - negative[None, :]
    return np.asarray((np.sign(difference) + 1.0) / 2.0)


def auroc(positive: Floats, negative: Floats, weights: Floats | None = None) -> float:
    """Probability that a positive, drawn by weight, is rated above a negative; ties count ½."""
    w = np.ones(len(positive)) if weights is None else weights
    return float(w @ wins(positive, negative).mean(1) / w.sum())


def auroc_interval(
    positive: Floats, negative: Floats, weights: Floats | None = None, seed: int = 0
) -> Figure:
    """AUROC with its interval; positives and negatives are drawn apart from each other."""
    w = np.ones(len(positive)) if weights is None else weights
    table = wins(positive, negative)  # (P, N)
    p = drawn(len(positive), seed) * w  # (B, P)
    n = drawn(len(negative), seed + 1)  # (B, N)
    values = ((p @ table) * n).sum(1) / np.maximum(p.sum(1) * n.sum(1), 1e-12)
    low, high = ends(values.clip(0.0, 1.0))
    return Figure(float(w @ table.mean(1) / w.sum()), low, high)


def average_precision(
    scores: Floats, truth: NDArray[np.bool_], weights: Floats | None = None
) -> Floats:
    """Step-wise area under precision and recall over thresholds, of (B, n) sets of weights.

    Equal scores fall under one threshold: a word that is there or not gives two scores only,
    and counting tied positives first would call any word perfect. Returns (B,); B = 1 without
    weights.
    """
    w = np.ones((1, len(scores))) if weights is None else np.atleast_2d(weights)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf) != 0)
    true = np.cumsum(w[:, order] * truth[order], axis=1)[:, last]  # (B, thresholds)
    seen = np.cumsum(w[:, order], axis=1)[:, last]
    precision = true / np.maximum(seen, 1e-12)
    recall = true / np.maximum(true[:, -1:], 1e-12)
    return np.asarray((np.diff(recall, prepend=0.0, axis=1) * precision).sum(1))


def average_precision_interval(scores: Floats, truth: NDArray[np.bool_], seed: int = 0) -> Figure:
    """Average precision with its interval; positives and negatives are drawn apart."""
    weights = np.empty((DRAWS, len(scores)))
    weights[:, truth] = drawn(int(truth.sum()), seed)
    weights[:, ~truth] = drawn(int((~truth).sum()), seed + 1)
    low, high = ends(average_precision(scores, truth, weights))
    return Figure(float(average_precision(scores, truth)[0]), low, high)


def mean_interval(values: Floats, seed: int = 0) -> Figure:
    """Mean with its interval."""
    low, high = ends(drawn(len(values), seed) @ values / len(values))
    return Figure(float(values.mean()), low, high)


def pearson(a: Floats, b: Floats, weights: Floats | None = None) -> float:
    """Signed correlation; 0 where either side does not vary."""
    w = np.ones(len(a)) if weights is None else weights
    w = w / w.sum()
    da, db = a - w @ a, b - w @ b
    spread = float(np.sqrt((w @ da**2) * (w @ db**2)))
    return float(w @ (da * db)) / spread if spread > 1e-12 else 0.0


def pearson_interval(
    a: Floats, b: Floats, owner: NDArray[np.int64] | None = None, seed: int = 0
) -> Figure:
    """Correlation with its interval; ``owner`` names the sample of each token.

    Samples are drawn, not tokens: the tokens of one sample are not independent.
    """
    groups = np.arange(len(a)) if owner is None else np.unique(owner, return_inverse=True)[1]
    rows = drawn(int(groups.max()) + 1, seed).astype(np.float64)  # (draws, samples)
    sums = _moments(a - a.mean(), b - b.mean(), groups)  # (samples, 6)
    n, *drawn_sums = (rows @ sums).T  # (draws,) each
    low, high = ends(_correlations(*(one[n > 0] / n[n > 0] for one in drawn_sums)))
    return Figure(pearson(a, b), low, high)


def _moments(a: Floats, b: Floats, groups: NDArray[np.int64]) -> Floats:
    """(samples, 6) of each sample: tokens, Σa, Σb, Σa², Σb², Σab."""
    kinds = (np.ones(len(a)), a, b, a * a, b * b, a * b)
    return np.stack([np.bincount(groups, weights=one) for one in kinds], axis=1)


def _correlations(a: Floats, b: Floats, aa: Floats, bb: Floats, ab: Floats) -> Floats:
    """From means of both sides, of their squares and of their product; 0 where one is constant."""
    va, vb = aa - a * a, bb - b * b
    varies = (va > _ROUNDING * aa) & (vb > _ROUNDING * bb)
    return np.where(varies, (ab - a * b) / np.sqrt(np.where(varies, va * vb, 1.0)), 0.0)


def ends(values: Floats) -> tuple[float, float]:
    """The 2.5 and 97.5 per cent points of bootstrap values."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    return float(ordered[round(0.025 * last)]), float(ordered[round(0.975 * last)])


def strangers(labels: Sequence[str], seed: int) -> NDArray[np.int64]:
    """A permutation that gives everyone something with another label; −1 where none is left.

    Two features of one concept have the same words: to swap those would be no control. Rows are
    ordered by label and moved on by the size of the largest group, which never meets its own
    label while no label holds more than half of the rows.
    """
    names, group = np.unique(np.asarray(labels), return_inverse=True)
    rng = np.random.default_rng((seed, len(labels)))
    shuffled = rng.permutation(len(names))[group]
    order = np.lexsort((rng.random(len(labels)), shuffled))
    moved = np.empty(len(labels), np.int64)
    moved[order] = np.roll(order, int(np.bincount(group).max(initial=0)))
    same = group[moved] == group
    return np.asarray(np.where(same, -1, moved))
