"""Shares and means with their intervals: every figure that causal reports is one of these.

Plain arithmetic on lists of numbers; knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_Z = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number, its 95 % interval, and from how many cases."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, Any]:
        """Value, interval, count; null where there were no cases."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        clean = {k: None if math.isnan(v) else round(v, 6) for k, v in numbers.items()}
        return {**clean, "n": self.n}


def share(successes: int, n: int) -> Figure:
    """A proportion with Wilson's score interval, which behaves at 0 and at n."""
    if n == 0:
        return Figure(math.nan, math.nan, math.nan, 0)
    p = successes / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n)) / (1 + _Z**2 / n)
    return Figure(p, max(0.0, centre - half), min(1.0, centre + half), n)


def mean(values: Sequence[float], *, seed: int = 0, draws: int = 2000) -> Figure:
    """A mean with a percentile bootstrap interval; NaNs are left out."""
    kept = np.asarray([v for v in values if not math.isnan(v)], dtype=np.float64)
    if len(kept) == 0:
        return Figure(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    means = kept[rng.integers(0, len(kept), (draws, len(kept)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Figure(float(kept.mean()), float(low), float(high), len(kept))


def careful(mean: Figure) -> float:
    """A mean and one standard error more, as its interval tells it."""
    return mean.value + (mean.high - mean.value) / _Z


def careful_share(share: float, n: int) -> float:
    """A share of ``n`` and one standard error more: none where nothing was seen."""
    return share + math.sqrt(share * (1 - share) / n) if n else share
