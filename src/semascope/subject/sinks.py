"""Attention sinks: tokens that no feature is read from.

Language models park attention on a few tokens, mostly the first, whose activations have a norm
about a hundred times that of the others (Sun et al. 2024, "Massive Activations in Large Language
Models"). Feature activations there are hundreds of times their maximum elsewhere, and one such
token in a thousand holds nearly all of the variance. Dictionaries are therefore not trained on
sinks; evidence and quality reports leave them out unless told otherwise, and attribution and
interventions always do (``readable``).

Vision transformers do the same with a few patches of plain background (Darcet et al. 2024, "Vision
Transformers Need Registers"); these are left out by the same rule, relative to the median patch.
"""

from __future__ import annotations

import torch
from torch import Tensor

TIMES = 10.0
"""Norm of a sink, at least, as a multiple of the median norm in its prompt."""
LEAST = 4
"""Fewest tokens for which sinks are sought; while decoding, tokens come one at a time."""


def sinks(x: Tensor, real: Tensor | None = None, times: float = TIMES) -> Tensor:
    """Which tokens are attention sinks, by the norm of their activations.

    Args:
        x: (R, T, d) activations by token.
        real: (R, T) bool, the tokens to consider; all by default.
        times: norm of a sink, at least, as a multiple of the median norm of its row.

    Returns:
        (R, T) bool.
    """
    if real is None:
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if x.shape[1] < LEAST:
        return torch.zeros_like(real)
    norm = torch.linalg.vector_norm(x.detach().float(), dim=-1)  # (R, T)
    median = norm.masked_fill(~real, torch.nan).nanmedian(dim=1, keepdim=True).values
    enough = real.sum(1, keepdim=True) >= LEAST
    far: Tensor = norm > times * median
    return real & enough & far
