"""Every statistic that is reported: shares, means, AUROC, average precision, correlations.

A ``Figure`` is a value with its 95 % interval. Shares have Wilson's interval, everything else a
percentile bootstrap (Efron 1979) whose draws depend on a seed alone, so that a second run agrees.
Arrays in, numbers out: nothing here knows models or features. The bootstraps are vectorised over
draws; scipy's and scikit-learn's take one draw at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 200
"""Bootstrap draws of one feature's score; interval ends move by about .01 between seeds."""
_Z = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""
_ROUNDING = 1e-12
"""A variance below this share of the mean square is rounding error: treat it as constant."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, its 95 % interval, and the number of cases behind it. NaN where there are none."""

    value: float
    low: float
    high: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the interval."""
        return self.low, self.high

    def as_json(self) -> dict[str, Any]:
        """Value, interval, count; null where there were no cases."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        clean = {k: None if math.isnan(v) else round(v, 6) for k, v in numbers.items()}
        return {**clean, "n": self.n}


EMPTY = Figure(math.nan, math.nan, math.nan, 0)


# ---- shares and means


def share(successes: int, n: int) -> Figure:
    """A proportion with Wilson's score interval, which behaves at 0 and at n."""
    if n == 0:
        return EMPTY
    from scipy.stats import binomtest  # takes a second to import

    ends = binomtest(successes, n).proportion_ci(method="wilson")
    return Figure(successes / n, float(ends.low), float(ends.high), n)


def mean(values: Sequence[float], *, seed: int = 0, draws: int = 2000) -> Figure:
    """Mean over cases with a bootstrap interval; NaNs are left out."""
    finite = np.asarray([v for v in values if not math.isnan(v)], dtype=np.float64)
    if len(finite) == 0:
        return EMPTY
    low, high = np.quantile(resampled_means(finite, seed, draws), [0.025, 0.975])
    return Figure(float(finite.mean()), float(low), float(high), len(finite))


def mean_interval(values: Floats, seed: int = 0) -> Figure:
    """Mean of (n,) finite scores, n > 0, from the ``DRAWS`` draws that all scores of n cases share.

    Use ``mean`` for a single figure.
    """
    low, high = percentiles(resample_counts(len(values), seed) @ values / len(values))
    return Figure(float(values.mean()), low, high, len(values))


def mean_of_resamples(values: Floats, seed: int = 0) -> Figure:
    """Mean of (n,) finite values, n > 0, from ``DRAWS`` resamples of these values alone."""
    low, high = percentiles(resampled_means(values, seed))
    return Figure(float(values.mean()), low, high, len(values))


def upper_mean(figure: Figure) -> float:
    """A mean plus one standard error, recovered from its interval."""
    return figure.value + (figure.high - figure.value) / _Z


def upper_share(share: float, n: int) -> float:
    """A share of n cases plus one standard error; unchanged where n is 0."""
    return share + math.sqrt(share * (1 - share) / n) if n else share


# ---- AUROC and average precision


def auroc(positive: Floats, negative: Floats, weights: Floats | None = None) -> float:
    """Probability that a positive, drawn by weight, is rated above a negative; ties count ½.

    ``positive`` and ``weights`` are (P,), ``negative`` is (N,).
    """
    w = np.ones(len(positive)) if weights is None else weights
    return float(w @ _wins(positive, negative).mean(1) / w.sum())


def auroc_interval(
    positive: Floats, negative: Floats, weights: Floats | None = None, seed: int = 0
) -> Figure:
    """AUROC with its interval; positives and negatives are resampled separately."""
    w = np.ones(len(positive)) if weights is None else weights
    wins = _wins(positive, negative)  # (P, N)
    p = resample_counts(len(positive), seed) * w  # (DRAWS, P)
    n = resample_counts(len(negative), seed + 1)  # (DRAWS, N)
    values = ((p @ wins) * n).sum(1) / np.maximum(p.sum(1) * n.sum(1), 1e-12)
    low, high = percentiles(values.clip(0.0, 1.0))
    cases = len(positive) + len(negative)
    return Figure(float(w @ wins.mean(1) / w.sum()), low, high, cases)


def _wins(positive: Floats, negative: Floats) -> Floats:
    """(P, N): 1 where a positive is rated above a negative, ½ where they tie."""
    difference = positive[:, None] - negative[None, :]
    return np.asarray((np.sign(difference) + 1.0) / 2.0)


def average_precision(
    scores: Floats, truth: NDArray[np.bool_], weights: Floats | None = None
) -> Floats:
    """Step-wise area under the precision–recall curve, for each of (B, n) rows of weights.

    Equal scores share one threshold: a word that is present or absent gives two scores only, and
    counting tied positives first would call any word perfect. ``scores`` and ``truth`` are (n,).
    Returns (B,); B = 1 without weights.
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
    """Average precision with its interval; positives and negatives are resampled separately."""
    weights = np.empty((DRAWS, len(scores)))
    weights[:, truth] = resample_counts(int(truth.sum()), seed)
    weights[:, ~truth] = resample_counts(int((~truth).sum()), seed + 1)
    low, high = percentiles(average_precision(scores, truth, weights))
    return Figure(float(average_precision(scores, truth)[0]), low, high, len(scores))


# ---- correlation


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Pearson's r of two (n,) arrays; None for fewer than three pairs or a constant side.

    Raises:
        ValueError: the arrays differ in length, or a value is not finite.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"No correlation of {x.shape} and {y.shape} values, all to be finite.")
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def pearson(a: Floats, b: Floats, weights: Floats | None = None) -> float:
    """Signed correlation of two (n,) arrays, as a score: 0 where either does not vary.

    A prediction that does not vary explains nothing, so that 0 is its score. Use ``correlation``
    for the agreement of two measurements, of which there is none then.
    """
    w = np.ones(len(a)) if weights is None else weights
    w = w / w.sum()
    da, db = a - w @ a, b - w @ b
    spread = float(np.sqrt((w @ da**2) * (w @ db**2)))
    return float(w @ (da * db)) / spread if spread > 1e-12 else 0.0


def pearson_interval(
    a: Floats, b: Floats, sample: NDArray[np.int64] | None = None, seed: int = 0
) -> Figure:
    """Correlation over tokens with its interval; ``sample`` (n,) numbers each token's sample.

    Whole samples are resampled, since the tokens of one sample are not independent.
    """
    groups = np.arange(len(a)) if sample is None else np.unique(sample, return_inverse=True)[1]
    rows = resample_counts(int(groups.max()) + 1, seed).astype(np.float64)  # (DRAWS, samples)
    sums = _moments(a - a.mean(), b - b.mean(), groups)  # (samples, 6)
    n, *moments = (rows @ sums).T  # (DRAWS,) each
    low, high = percentiles(_correlations(*(moment[n > 0] / n[n > 0] for moment in moments)))
    return Figure(pearson(a, b), low, high, len(a))


def _moments(a: Floats, b: Floats, groups: NDArray[np.int64]) -> Floats:
    """(samples, 6) per sample: number of tokens, Σa, Σb, Σa², Σb², Σab."""
    terms = (np.ones(len(a)), a, b, a * a, b * b, a * b)
    return np.stack([np.bincount(groups, weights=term) for term in terms], axis=1)


def _correlations(a: Floats, b: Floats, aa: Floats, bb: Floats, ab: Floats) -> Floats:
    """Correlations from means of a, b, a², b² and ab; 0 where a or b is constant."""
    va, vb = aa - a * a, bb - b * b
    varies = (va > _ROUNDING * aa) & (vb > _ROUNDING * bb)
    return np.where(varies, (ab - a * b) / np.sqrt(np.where(varies, va * vb, 1.0)), 0.0)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; NaN where either side does not vary."""
    from scipy.stats import spearmanr

    x, y = np.asarray(a, float), np.asarray(b, float)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(spearmanr(x, y).statistic)


# ---- the bootstrap


@lru_cache(maxsize=4096)
def resample_counts(n: int, seed: int) -> Floats:
    """(DRAWS, n) how often each of n cases is drawn."""
    rng = np.random.default_rng((seed, n))
    return rng.multinomial(n, np.full(n, 1.0 / n), size=DRAWS).astype(np.float64)


def resampled_means(values: Floats, seed: int, draws: int = DRAWS) -> Floats:
    """(draws,) means of resamples of (n,) values."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(values), (draws, len(values)))
    return np.asarray(values[rows].mean(1))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], n: int, *, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float]:
    """95 % interval of any statistic of n cases.

    Args:
        statistic: value for the cases with these (n,) indices, drawn with replacement; NaN if
            they have none.
        n: number of cases.
        seed: of the draws.
        draws: number of resamples.

    Returns:
        Both ends; NaN unless more than half of the resamples have a value.
    """
    rng = np.random.default_rng(seed)
    values = np.asarray([statistic(rng.integers(0, n, n)) for _ in range(draws)])
    finite = values[np.isfinite(values)]
    if len(finite) <= draws // 2:
        return math.nan, math.nan
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def percentiles(values: Floats) -> tuple[float, float]:
    """The values nearest to the 2.5th and 97.5th percentiles."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    return float(ordered[round(0.025 * last)]), float(ordered[round(0.975 * last)])
