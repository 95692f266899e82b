"""Which features are near which: by direction, and by firing together.

Knows directions and sketches; knows no sample and no model.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from semascope.dictionary.types import Dictionary
from semascope.evidence.gathering.tally import SKETCH

_BLOCK = 512
_SUPPORT = 3
"""Shared sketch tokens below which two features are not called neighbours: one is noise."""


@torch.no_grad()
def by_direction(
    dictionary: Dictionary, alive: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(width, k) nearest alive features by cosine of the decoder's rows, and the cosines.

    Dead features have no neighbours and are nobody's; missing places hold −1 and 0. Exact, in
    blocks: memory O(alive × d + block × alive).
    """
    index = np.full((dictionary.width, k), -1, np.int32)
    cosine = np.zeros((dictionary.width, k), np.float32)
    n = min(k, len(alive) - 1)
    if n < 1:
        return index, cosine
    rows = dictionary.directions(torch.from_numpy(alive)).float()  # (alive, d)
    rows = torch.nn.functional.normalize(rows, dim=1)
    for first in range(0, len(alive), _BLOCK):
        block = rows[first : first + _BLOCK] @ rows.T  # (block, alive)
        own = torch.arange(len(block), device=block.device)
        block[own, own + first] = -2.0  # below every cosine: a feature is not its own neighbour
        best = block.topk(n, dim=1)
        mine = alive[first : first + _BLOCK]
        index[mine, :n] = alive[best.indices.cpu().numpy()]
        cosine[mine, :n] = best.values.cpu().numpy()
    return index, cosine


def by_firing(sketch: NDArray[np.uint64], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(width, k) features that fire on the same tokens, and the Jaccard overlap, estimated.

    From bottom-k sketches (Cohen and Kaplan 2007): among tokens whose hash lies below both
    sketches' ends, both memberships are known. Missing places hold −1 and 0.
    """
    width = len(sketch)
    index, overlap = np.full((width, k), -1, np.int32), np.zeros((width, k), np.float32)
    feature, place = np.nonzero(sketch != np.iinfo(np.uint64).max)
    _, token = np.unique(sketch[feature, place], return_inverse=True)
    ones = np.ones(len(feature), np.int32)
    shape = (width, int(token.max()) + 1 if len(token) else 1)
    member = sp.csr_matrix((ones, (feature, token)), shape)
    turned = member.T.tocsr()
    for first in range(0, width, _BLOCK):
        shared = (member[first : first + _BLOCK] @ turned).tocoo()
        a, b = shared.row.astype(np.int64) + first, shared.col.astype(np.int64)
        good = (a != b) & (shared.data >= _SUPPORT)
        a, b, both = a[good], b[good], shared.data[good]
        jaccard = both / (_below(sketch, a, b) + _below(sketch, b, a) - both)
        order = np.lexsort((b, -jaccard, a))
        a, b, jaccard = a[order], b[order], jaccard[order]
        rank = np.arange(len(a)) - np.searchsorted(a, a)
        few = rank < k
        index[a[few], rank[few]] = b[few]
        overlap[a[few], rank[few]] = jaccard[few]
    return index, overlap


def overlap(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.float32]:
    """(p,) Jaccard overlap of p pairs of sketches (p, SKETCH), estimated as ``by_firing`` does.

    The sketches may be of two dictionaries of one gathering: a token's hash is the same in both.
    NaN where neither of a pair fires.
    """
    never = np.iinfo(np.uint64).max
    out = np.full(len(a), np.nan, np.float32)
    for first in range(0, len(a), _BLOCK):
        x, y = a[first : first + _BLOCK], b[first : first + _BLOCK]
        end = np.minimum(x[:, -1:], y[:, -1:])
        known_x, known_y = (x <= end) & (x != never), (y <= end) & (y != never)
        same = (x[:, :, None] == y[:, None, :]).any(axis=2) & known_x
        both = same.sum(axis=1)
        union = known_x.sum(axis=1) + known_y.sum(axis=1) - both
        out[first : first + _BLOCK] = np.where(union > 0, both / np.maximum(union, 1), np.nan)
    return out


def _below(
    sketch: NDArray[np.uint64], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(p,) tokens of a's sketch that lie within both sketches' reach."""
    end = np.minimum(sketch[a, SKETCH - 1], sketch[b, SKETCH - 1])
    never = np.iinfo(np.uint64).max
    out = np.zeros(len(a), np.int64)
    for place in range(SKETCH):  # column by column: no (p, SKETCH) array
        column = sketch[a, place]
        out += (column <= end) & (column != never)
    return out
