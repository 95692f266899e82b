"""Dead latents drawn anew from tokens that are badly reconstructed (Bricken et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from semascope.dictionary.coder import SparseCoder

ENCODER_SHARE = 0.2
"""Norm of a new encoder row, as a share of the alive ones' mean."""


@torch.no_grad()
def resample(
    coder: SparseCoder,
    dead: Tensor,
    x: Tensor,
    optimizers: list[Optimizer],
    generator: torch.Generator,
) -> int:
    """Give each of the ``dead`` (n,) latents a token of ``x`` (N, d_in); how many were given one.

    Tokens are drawn with probability proportional to their squared loss; the decoder row becomes
    the token's unit direction (from b_dec), the encoder row the same at a fifth of the alive rows'
    mean norm, the bias 0; the optimisers forget what they knew of these rows.
    """
    if not len(dead) or coder.cfg.transcodes:
        return 0
    done = coder(x)
    loss = (done.x_hat - done.target).square().sum(1)  # (N,)
    odds = loss.square().double().cpu()
    if float(odds.sum()) <= 0:
        return 0
    drawn = torch.multinomial(odds, len(dead), replacement=True, generator=generator)
    rows = torch.nn.functional.normalize(done.centred[drawn.to(x.device)], dim=1)  # (n, d_in)
    alive = torch.ones(coder.width, dtype=torch.bool, device=x.device)
    alive[dead] = False
    norm = coder.W_enc[alive].norm(dim=1).mean() if bool(alive.any()) else rows.new_ones(())
    coder.W_dec[dead] = rows
    coder.W_enc[dead] = rows * (ENCODER_SHARE * norm)
    coder.b_enc[dead] = 0
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            if parameter.shape[:1] != (coder.width,):
                continue
            for value in state.values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value[dead] = 0
    return len(dead)
