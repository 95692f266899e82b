"""Questions about scenes as token batches: one picture prefix, many questions that cannot see
each other.

A picture's tokens are paid for once: every question attends to the prefix and to itself only,
at the positions that it would have if it were asked alone. A tenth of the pictures are plain
conversations instead, so that the model also learns to go on talking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semascope.corpus.sample import Question

IGNORE = -100
KINDS = ("describe", "count", "presence", "map", "position", "colour", "word", "emotion")
Tokenize = Callable[[str], list[int]]


@dataclass(slots=True)
class Sheet:
    """One picture's tokens: ``ids`` (T,) with −1 at the picture's places, and who sees whom."""

    ids: list[int]
    labels: list[int]
    positions: list[int]
    segment: list[int]
    """0 for the prefix, then 1, 2, … for each question."""
    kinds: list[int]
    """Which of KINDS an answer's token belongs to; −1 for all else, the closing token too."""


class Writer:
    """Lays out one picture and its questions."""

    def __init__(self, tokenize: Tokenize) -> None:
        self.user = tokenize("<|im_start|>user\n")
        self.ask = tokenize("<|im_end|>\n<|im_start|>assistant\n")
        self.stop = tokenize("<|im_end|>")
        self.again = tokenize("<|im_end|>\n<|im_start|>user\n")
        self.tokenize = tokenize

    def sheet(
        self,
        places: int,
        questions: list[Question],
        talk: bool = False,
        kept: list[int] | None = None,
    ) -> Sheet:
        """Prefix of ``places`` picture tokens, then the questions, apart or as a conversation.

        ``kept`` names the tokens that are really there, where some background is left out: all
        else keeps the position that it has among all of them.
        """
        kept = list(range(places)) if kept is None else kept
        ids = [*self.user, *[-1] * len(kept)]
        n, before = len(ids), len(self.user)
        places_at = [*range(before), *(before + k for k in kept)]
        out = Sheet(ids, [IGNORE] * n, places_at, [0] * n, [-1] * n)
        first = before + places
        at = first
        for i, q in enumerate(questions):
            asked = [*self.tokenize(q.text), *self.ask]
            if talk and i:
                asked = [*self.again[1:], *asked]
            answer = [*self.tokenize(q.answer), *self.stop]
            start = at if talk else first
            row = [*asked, *answer]
            out.ids += row
            out.labels += [IGNORE] * len(asked) + answer
            out.positions += list(range(start, start + len(row)))
            out.segment += [1 if talk else i + 1] * len(row)
            kind = KINDS.index(q.kind)
            out.kinds += [-1] * len(asked) + [kind] * (len(answer) - 1) + [-1]
            at = start + len(row)
        return out


@dataclass(slots=True)
class Packed:
    """Sheets padded to one length: (B, T) tensors and the (B, 1, T, T) mask to add to scores."""

    ids: Tensor
    labels: Tensor
    positions: Tensor
    kinds: Tensor
    mask: Tensor


def pack(sheets: list[Sheet]) -> Packed:
    """Pad on the right; a padded place sees only itself."""
    n, longest = len(sheets), max(len(s.ids) for s in sheets)
    ids = np.zeros((n, longest), np.int64)
    labels = np.full((n, longest), IGNORE, np.int64)
    positions = np.zeros((n, longest), np.int64)
    segment = np.full((n, longest), -1, np.int64)
    kinds = np.full((n, longest), -1, np.int64)
    for i, s in enumerate(sheets):
        t = len(s.ids)
        ids[i, :t], labels[i, :t], positions[i, :t] = s.ids, s.labels, s.positions
        segment[i, :t], kinds[i, :t] = s.segment, s.kinds
    seg = torch.from_numpy(segment)
    same = (seg[:, :, None] == seg[:, None, :]) | ((seg[:, None, :] == 0) & (seg[:, :, None] > 0))
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    mask = torch.where(same & causal, 0.0, float("-inf"))[:, None]
    rows = (torch.from_numpy(x) for x in (ids, labels, positions, kinds))
    return Packed(*rows, mask)
