"""Agreement of raters beyond chance: Krippendorff's alpha."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


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


def table(ratings: Mapping[str, Mapping[str, float]]) -> tuple[NDArray[np.float64], list[str]]:
    """Rater -> item -> grade, as a (raters, items) table with NaN holes, and the items' names."""
    items = sorted({item for mine in ratings.values() for item in mine})
    rows = [[mine.get(item, float("nan")) for item in items] for mine in ratings.values()]
    return np.array(rows, float).reshape(len(ratings), len(items)), items
