"""Sums of floats that do not depend on the order in which they are added.

Shards merged in any order must give the file that one process gives, to the bit; floating
addition is not associative, so each number is cut into 32-bit digits of a fixed-point
number and the digits are added as integers. Knows arrays only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LANES = 5
"""Digits kept: 5 × 32 bits."""
LOWEST = -80
"""Weight of the last bit, 2^−80; what is smaller is cut off, number by number. The largest
sum that fits is 2^(LOWEST + 32 · LANES) = 2^80."""


def zeros(width: int) -> NDArray[np.int64]:
    """(width, LANES) an empty sum for each feature."""
    return np.zeros((width, LANES), np.int64)


def add(total: NDArray[np.int64], where: NDArray[np.int64], values: NDArray[np.floating]) -> None:
    """Add (h,) non-negative ``values`` into rows ``where`` of ``total``, in place."""
    rest = values.astype(np.float64)
    flat = total.reshape(-1)
    for lane in range(LANES - 1, -1, -1):
        unit = 2.0 ** (LOWEST + 32 * lane)
        digit = np.floor(rest / unit)  # division by a power of two is exact
        rest -= digit * unit
        whole = digit.astype(np.int64)
        if whole.any():
            np.add.at(flat, where * LANES + lane, whole)
    carry(total)


def carry(total: NDArray[np.int64]) -> None:
    """Bring every digit but the first back under 2^32, in place: one form for one number."""
    for lane in range(LANES - 1):
        over = total[:, lane] >> 32
        if over.any():
            total[:, lane] -= over << 32
            total[:, lane + 1] += over


def value(total: NDArray[np.int64]) -> NDArray[np.float64]:
    """(width, LANES) -> (width,) the sums as floats."""
    weights = 2.0 ** (LOWEST + 32 * np.arange(LANES, dtype=np.float64))
    out: NDArray[np.float64] = total.astype(np.float64) @ weights
    return out
