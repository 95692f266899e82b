"""Attention sinks: tokens that no feature is read from.

Language models park attention on a few tokens, mostly the first, whose activations are some
hundred times as long as all others (Sun et al. 2024, "Massive Activations in Large Language
Models"). Features take on absurd values there, hundreds of times their maximum elsewhere, and
one such token in a thousand holds nearly all of the variance. So dictionaries are not trained on
them, quality and evidence leave them out (by option), attribution does, and no intervention
touches them.

Vision transformers do the like with a few patches of plain background (Darcet et al. 2024, "Vision
Transformers Need Registers"): where patches stand for image tokens, those so far from the median of
their prompt's patches are left out too. Knows tensors only.
"""

from __future__ import annotations

import torch
from torch import Tensor

TIMES = 10.0
"""A sink is so many times as long as the median token of its prompt."""
LEAST = 4
"""Tokens without which there is no telling: while decoding, one token comes at a time."""


def sinks(x: Tensor, real: Tensor | None = None, times: float = TIMES) -> Tensor:
    """Which tokens are sinks.

    Args:
        x: (R, T, d) activations by token.
        real: (R, T) bool, tokens that stand there; all of them if left out.
        times: how far from the median is too far.

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
