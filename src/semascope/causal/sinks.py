"""Attention sinks: tokens that no feature is read from.

Language models park attention on a few tokens, mostly the first, whose activations are some
hundred times as long as all others (Sun et al. 2024, "Massive Activations in Large Language
Models"). No dictionary is trained on them, and its features take on absurd values there:
thousands of times their maximum elsewhere. Attributing to them, or taking them out, would
tell of the sink and not of the feature; so attribution leaves these tokens out, and no
intervention touches them.
"""

from __future__ import annotations

import torch
from torch import Tensor

TIMES = 10.0
"""A sink is so many times as long as the median token of its prompt."""
LEAST = 4
"""Tokens without which there is no telling: while decoding, one token comes at a time."""


def sinks(x: Tensor, real: Tensor | None = None) -> Tensor:
    """Which tokens are sinks.

    Args:
        x: (R, T, d) activations by token.
        real: (R, T) bool, tokens that stand there; all of them if left out.

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
    far: Tensor = norm > TIMES * median
    return real & enough & far
