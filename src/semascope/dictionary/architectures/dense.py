"""What architectures with a free L0 share: a dense code in training, a threshold at inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semascope.dictionary.passes import Pass

if TYPE_CHECKING:
    from semascope.dictionary.coder import SparseCoder


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


def pre_activations(coder: SparseCoder, x: Tensor) -> Tensor:
    """(N, d_in) -> (N, F), with every gradient, b_dec's included."""
    centred = x - coder.b_dec if coder.cfg.subtract_b_dec else x
    pre: Tensor = centred @ coder.W_enc.t() + coder.b_enc
    return pre


def dense_pass(coder: SparseCoder, x: Tensor, target: Tensor, z: Tensor) -> Pass:
    """The rest of a pass over a dense (N, F) code."""
    weight: Tensor = coder.W_dec
    if coder.cfg.unit_norm:
        weight = _Tangent.apply(weight)  # type: ignore[no-untyped-call]
    x_hat = coder.add_skip(z @ weight + coder.b_dec, x)
    return Pass(x, target, coder.centre(x), x_hat, z=z)


def decoder_norms(coder: SparseCoder) -> Tensor:
    """(F,) norm of each row of W_dec; a crosscoder's is the sum of its sites' norms."""
    parts = coder.cfg.parts or (coder.d_out,)
    norms: Tensor = sum(part.norm(dim=1) for part in torch.split(coder.W_dec, list(parts), dim=1))
    return norms
