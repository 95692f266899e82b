"""Cuts long samples: how many tokens of a sample are kept."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from semascope.subject.types import PICTURE_KINDS, Kind


def kept_tokens(kinds: NDArray[np.int8], max_tokens: int) -> int:
    """How many of the first tokens are kept: up to the last of the budget, or of a picture.

    The budget counts words alone. Tokens of pictures and videos, and what the processor puts
    between these, are not counted: 576 or 2,880 of them would leave no room for words.

    Args:
        kinds: (T,) of ``Kind``.
        max_tokens: tokens of words that are kept at most.
    """
    in_picture = np.isin(kinds, PICTURE_KINDS)  # (T,)
    last = int(np.flatnonzero(in_picture)[-1]) + 1 if in_picture.any() else 0
    words = np.flatnonzero(~(in_picture | _between(kinds, in_picture)))
    end = len(kinds) if len(words) <= max_tokens else int(words[max_tokens])
    return max(end, last)


def _between(kinds: NDArray[np.int8], in_picture: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(T,): tokens between two of a picture's, where no word lies between these two."""
    words = np.cumsum(kinds == Kind.TEXT)
    out = np.zeros(len(kinds), np.bool_)
    for first, following in pairwise(np.flatnonzero(in_picture)):
        if following > first + 1 and words[first] == words[following]:
            out[first + 1 : following] = True
    return out
