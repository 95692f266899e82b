"""What architectures with a free L0 share: a dense code in training, a threshold at inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semascope.dictionary.forward_pass import Coder, Pass

LEVEL_NUMBERS = 1 << 24
"""Pre-activations held at a time where levels are taken."""


class _Encode(torch.autograd.Function):
    """W_enc(x − b_dec) + b_enc; b_dec's gradient is summed over tokens before its product."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, pre_bias: Tensor | None, weight: Tensor, bias: Tensor
    ) -> Tensor:
        centred = x if pre_bias is None else x - pre_bias
        ctx.save_for_backward(centred, weight)
        return torch.addmm(bias, centred, weight.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0]  # (N, F)
        centred, weight = ctx.saved_tensors
        need_x, need_pre, need_w, _ = ctx.needs_input_grad
        d_bias = grad.sum(0)  # (F,)
        d_x = grad @ weight if need_x else None
        d_pre = -(d_bias @ weight) if need_pre else None
        return d_x, d_pre, grad.t() @ centred if need_w else None, d_bias


class _Tangent(torch.autograd.Function):
    """The identity, whose gradient loses its part along each (unit) row."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        along = (grads[0] * weight).sum(1, keepdim=True)  # (F, 1)
        tangent: Tensor = grads[0] - along * weight
        return tangent


def pre_activations(coder: Coder, x: Tensor) -> Tensor:
    """(N, d_in) -> (N, F), with every gradient, b_dec's included."""
    pre_bias = coder.b_dec if coder.cfg.subtract_b_dec else None
    pre: Tensor = _Encode.apply(  # type: ignore[no-untyped-call]
        x, pre_bias, coder.W_enc, coder.b_enc
    )
    return pre


@torch.no_grad()
def levels(coder: Coder, x: Tensor) -> Tensor:
    """(F,) what each latent's pre-activation exceeds on a share k / F of the tokens x (N, d_in).

    Where a σ begins there, L0 begins at k and every latent has its share of tokens, as Anthropic's
    January 2025 update sets b_enc. Begun at 0, half of all latents are on at every token: the
    reconstruction is then F / 2d times too long, and the first steps' gradients, hundreds of times
    as large as any that follow, both throw latents away and stay in Adam's second moments.
    """
    tokens = len(x)
    count = min(max(1, round(tokens * coder.k / coder.width)), tokens - 1)
    centred = coder.centre(x)
    found: list[Tensor] = []
    size = max(1, LEVEL_NUMBERS // max(1, tokens))
    for rows, bias in zip(
        torch.split(coder.W_enc, size), torch.split(coder.b_enc, size), strict=True
    ):
        pre = torch.addmm(bias.unsqueeze(1), rows, centred.t())  # (n, N)
        found.append(pre.topk(count + 1, dim=1, sorted=False).values.amin(1))
    return torch.cat(found)


def dense_pass(coder: Coder, x: Tensor, target: Tensor, z: Tensor) -> Pass:
    """The rest of a pass over a dense (N, F) code."""
    weight: Tensor = coder.W_dec
    if coder.cfg.unit_norm:
        weight = _Tangent.apply(weight)  # type: ignore[no-untyped-call]
    x_hat = coder.add_skip(z @ weight + coder.b_dec, x)
    return Pass(x, target, coder.centre(x), x_hat, z=z)


def decoder_norms(coder: Coder) -> Tensor:
    """(F,) norm of each row of W_dec; a crosscoder's is the sum of its sites' norms."""
    parts = coder.cfg.parts or (coder.d_out,)
    norms: Tensor = sum(part.norm(dim=1) for part in torch.split(coder.W_dec, list(parts), dim=1))
    return norms
