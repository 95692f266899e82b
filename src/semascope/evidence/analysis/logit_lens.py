"""Which output tokens a feature's direction raises and lowers, by the logit lens.

The direction is read as if nothing came after its layer (nostalgebraist 2020): honest near the
output, a hint in the middle. Knows directions and an unembedding; knows no tokenizer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError

_BLOCK = 256


class PromotedTokens(NamedTuple):
    """k tokens each way for each of n features, strongest first."""

    up: NDArray[np.int32]
    """(n, k) token ids that one unit of the feature raises most."""
    up_value: NDArray[np.float32]
    """(n, k) by how much, in logits above the mean of all tokens."""
    down: NDArray[np.int32]
    down_value: NDArray[np.float32]


@torch.inference_mode()
def promoted(
    dictionary: Dictionary, unembedding: Tensor, ids: NDArray[np.int64], k: int = 10
) -> PromotedTokens:
    """``unembedding`` is (V, d), final norm folded in; ``ids`` (n,) features. In blocks: memory
    O(256 × V). EvidenceError where the directions live in a space of another width."""
    parts: list[list[Tensor]] = []
    k = min(k, len(unembedding))
    head = unembedding.float()
    for first in range(0, len(ids), _BLOCK):
        rows = dictionary.directions(torch.from_numpy(ids[first : first + _BLOCK])).float()
        if rows.shape[1] != head.shape[1]:
            raise EvidenceError(
                f"{dictionary.site} is {rows.shape[1]} wide and the unembedding "
                f"{head.shape[1]}: this site does not write into the residual stream."
            )
        logits = rows.to(head.device) @ head.T  # (block, V)
        logits -= logits.mean(dim=1, keepdim=True)
        most, least = logits.topk(k, dim=1), logits.topk(k, dim=1, largest=False)
        parts.append([most.indices, most.values, least.indices, least.values])
    if not parts:
        ids_, values = np.zeros((0, k), np.int32), np.zeros((0, k), np.float32)
        return PromotedTokens(ids_, values, ids_, values)
    up, up_value, down, down_value = (torch.cat(c).cpu() for c in zip(*parts, strict=True))
    return PromotedTokens(
        up.numpy().astype(np.int32),
        up_value.numpy().astype(np.float32),
        down.numpy().astype(np.int32),
        down_value.numpy().astype(np.float32),
    )
