"""How much of a dictionary comes back when it is trained again: matched cosines across seeds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from semascope.dictionary.types import Dictionary
from semascope.errors import DictionaryError

EXACT_LIMIT = 8192
"""Largest width matched one to one; the assignment takes width² memory."""


@dataclass(frozen=True, slots=True)
class Stability:
    """Two dictionaries of one site beside each other."""

    nearest: float
    """Mean, over the first's features, of the largest cosine with any of the second's."""
    matched: float | None
    """Mean cosine under the best one-to-one matching; None above ``EXACT_LIMIT`` features."""
    shared: float
    """Share of the first's features whose largest cosine is at least 0.7."""


@torch.no_grad()
def stability(a: Dictionary, b: Dictionary, ids: Tensor | None = None) -> Stability:
    """Compare directions; ``ids`` restricts the first's features, to those alive, say.

    Raises:
        DictionaryError: they live in spaces of different width.
    """
    left = _unit(a.directions(torch.arange(a.width) if ids is None else ids))
    right = _unit(b.directions(torch.arange(b.width)))
    if left.shape[1] != right.shape[1]:
        raise DictionaryError(
            f"Dictionaries {a.name!r} and {b.name!r} write to spaces of width {left.shape[1]} and "
            f"{right.shape[1]}; compare two of one site."
        )
    best = torch.cat([(part @ right.t()).amax(1) for part in torch.split(left, 1024)])
    matched = None
    if max(len(left), len(right)) <= EXACT_LIMIT:
        cosine = (left @ right.t()).numpy()
        rows, columns = linear_sum_assignment(cosine, maximize=True)
        matched = float(cosine[rows, columns].mean())
    return Stability(float(best.mean()), matched, float((best >= 0.7).float().mean()))


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.float().cpu(), dim=1)
