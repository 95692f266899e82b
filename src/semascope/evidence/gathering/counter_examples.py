"""Counter-examples: samples where a feature is silent and its nearest neighbours fire.

Silence is looked up, never assumed: every shown sample keeps which features fired on it. Knows
numbers of samples and features only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.gathering.hashing import mix

Int = NDArray[np.int64]
_BEST = 6
"""Strongest samples of a neighbour that are tried."""
_RANDOM = 24
"""Samples drawn at random that are tried where neighbours give too few."""
_CHUNK = 16_384

Fired = Callable[[int], NDArray[np.int32]]
"""Number of a shown sample -> features that fired on it, rising."""


def counter_examples(
    *,
    width: int,
    neighbours: NDArray[np.int32],
    strongest: Int,
    pool: Int,
    fired: Fired,
    wanted: int,
    seed: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For one split: (width, wanted) samples where each feature is silent, −1 where there are none.

    Those on which a neighbour fires come first, the strongest of each neighbour before the
    second strongest of any; the (width,) second result counts them. The rest is drawn from
    ``pool`` at random. ``neighbours`` is (width, m), nearest first, −1 where none;
    ``strongest`` is (width, n) sample numbers of the split, −1 where none.
    """
    tried = np.concatenate(
        [_of_neighbours(neighbours, strongest), _at_random(width, pool, seed)], axis=1
    )
    feature = np.broadcast_to(np.arange(width)[:, None], tried.shape)
    silent = tried >= 0
    silent[silent] = ~fires(tried[silent], feature[silent], width, fired)
    chosen = np.full((width, wanted), -1, np.int32)
    count = np.zeros(width, np.int64)
    hard = np.zeros(width, np.int32)
    for column in range(tried.shape[1]):
        sample = tried[:, column]
        new = silent[:, column] & (count < wanted) & ~(chosen == sample[:, None]).any(axis=1)
        chosen[new, count[new]] = sample[new]
        count += new
        if column < tried.shape[1] - _RANDOM:
            hard += new
    return chosen, hard


def _of_neighbours(neighbours: NDArray[np.int32], strongest: Int) -> Int:
    """(width, m · n): the neighbours' samples, rank by rank."""
    best = strongest[:, :_BEST]
    out = best[np.maximum(neighbours, 0)]  # (width, m, n)
    out = np.where((neighbours < 0)[:, :, None], -1, out)
    return out.transpose(0, 2, 1).reshape(len(neighbours), -1)


def _at_random(width: int, pool: Int, seed: int) -> Int:
    """(width, _RANDOM) samples of the pool, the same for the same seed and pool."""
    if not len(pool):
        return np.full((width, _RANDOM), -1, np.int64)
    draw = np.arange(width * _RANDOM, dtype=np.uint64).reshape(width, _RANDOM)
    return pool[(mix(draw, seed + 2) % np.uint64(len(pool))).astype(np.int64)]


def fires(sample: Int, feature: Int, width: int, fired: Fired) -> NDArray[np.bool_]:
    """(q,) does ``feature`` fire on ``sample``? Reads each sample once, a chunk in memory."""
    order = np.argsort(sample, kind="stable")
    out = np.zeros(len(sample), bool)
    needed, first = np.unique(sample[order], return_index=True)
    ends = np.append(first, len(order))
    for start in range(0, len(needed), _CHUNK):
        some = needed[start : start + _CHUNK]
        lists = [fired(int(s)) for s in some]
        owner = np.repeat(np.arange(len(some)), [len(f) for f in lists])
        keys = owner * width + np.concatenate(lists)
        mine = order[ends[start] : ends[start + len(some)]]
        asked = np.searchsorted(some, sample[mine]) * width + feature[mine]
        place = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
        out[mine] = keys[place] == asked if len(keys) else False
    return out
