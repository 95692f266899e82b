"""The shuffled control of explanations: every feature gets the words of another.

Steering has a control of its own kind, random features (``causal.steering.controls``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def shuffled_words(labels: Sequence[str], seed: int) -> NDArray[np.int64]:
    """(n,) for each feature the row of one with another label; −1 where none is left.

    Two features of one concept may have the same words: to swap those would be no control. Rows
    are sorted by label and shifted by the size of the largest group. No row can then meet its own
    label unless one label holds more than half of the rows.
    """
    names, group = np.unique(np.asarray(labels), return_inverse=True)
    rng = np.random.default_rng((seed, len(labels)))
    shuffled = rng.permutation(len(names))[group]
    order = np.lexsort((rng.random(len(labels)), shuffled))
    moved = np.empty(len(labels), np.int64)
    moved[order] = np.roll(order, int(np.bincount(group).max(initial=0)))
    same = group[moved] == group
    return np.asarray(np.where(same, -1, moved))
