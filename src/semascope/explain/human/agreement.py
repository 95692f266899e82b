"""How far do raters agree, beyond luck? Cohen's kappa, Krippendorff's alpha, Spearman's rho.

Numbers only: people and judges are columns alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats


def cohen_kappa(a: Sequence[int], b: Sequence[int], *, weighted: bool = False) -> float:
    """Agreement of two raters on the same items; ``weighted`` counts near misses (quadratic).

    NaN where both give one and the same grade to all: luck alone would agree too.
    """
    x, y = np.asarray(a), np.asarray(b)
    grades = np.unique(np.concatenate([x, y]))
    i, j = np.searchsorted(grades, x), np.searchsorted(grades, y)
    observed = np.zeros((len(grades), len(grades)))
    np.add.at(observed, (i, j), 1.0 / len(x))
    expected = np.outer(observed.sum(1), observed.sum(0))
    apart = grades[:, None] - grades[None, :]
    cost = apart.astype(float) ** 2 if weighted else (apart != 0).astype(float)
    luck = float((cost * expected).sum())
    return 1.0 - float((cost * observed).sum()) / luck if luck > 0 else float("nan")


def krippendorff_alpha(ratings: NDArray[np.floating]) -> float:
    """(raters, items), NaN where not rated -> alpha with squared distance; any holes allowed.

    Krippendorff 2011, interval metric. NaN where nothing was rated twice or nothing varies.
    """
    table = np.asarray(ratings, float)
    table = table[:, np.isfinite(table).sum(0) >= 2]
    if not table.size:
        return float("nan")
    count = np.isfinite(table).sum(0)
    within = np.nansum(
        2 * (count * np.nansum(table**2, 0) - np.nansum(table, 0) ** 2) / (count - 1)
    )
    every = table[np.isfinite(table)]
    n = len(every)
    between = 2 * (n * float((every**2).sum()) - float(every.sum()) ** 2)
    return 1.0 - (n - 1) * float(within) / between if between > 0 else float("nan")


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; NaN where either side does not vary."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(scipy_stats.spearmanr(x, y).statistic)


def table(ratings: Mapping[str, Mapping[str, float]]) -> tuple[NDArray[np.float64], list[str]]:
    """Rater -> item -> grade, as a (raters, items) table with NaN holes, and the items' names."""
    items = sorted({item for mine in ratings.values() for item in mine})
    rows = [[mine.get(item, float("nan")) for item in items] for mine in ratings.values()]
    return np.array(rows, float).reshape(len(ratings), len(items)), items
