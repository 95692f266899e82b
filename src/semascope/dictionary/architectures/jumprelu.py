"""JumpReLU (Rajamanoharan et al. 2024b): z = pre · [pre > θ] with a learnt threshold a latent.

The step's derivative is estimated with a rectangle of width ε around θ, and moves θ alone: passed
on to W_enc, the penalty of one batch's chance L0 is louder than what the reconstruction says. θ is
a parameter itself, as learning its logarithm moves a small one hardly at all, and begins where the
first batch's L0 is k. By default L0 is led to k by the penalty (L0 / k − 1)² (their appendix; Gemma
Scope), which ends where one asked; with ``sparsity`` set, the plain λ · L0 is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from semascope.dictionary.architectures.base import Activation
from semascope.dictionary.architectures.dense import dense_pass, levels, pre_activations
from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.forward_pass import Coder, Pass
from semascope.dictionary.kernels.topk import select_above
from semascope.dictionary.training.losses import Loss, LossContext, common_losses
from semascope.dictionary.types import Codes

BANDWIDTH = 2.0
"""ε for inputs scaled to a mean norm of √d (Anthropic, January 2025)."""
LEAST = 0.1
"""Least θ at the first step, in the same units."""
LEADING = 0.3
"""Weight of (L0 / k − 1)² beside FVU: one latent more a token than k = 32 costs 0.0003."""


class _Jump(torch.autograd.Function):
    """pre · [pre > θ] and [pre > θ]; dense (N, F) and (F,)."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, theta: Tensor, width: float) -> tuple[Tensor, Tensor]:
        on = (pre > theta).to(pre.dtype)
        ctx.save_for_backward(pre, theta, on)
        ctx.width = width
        return pre * on, on

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_z, d_on = grads
        pre, theta, on = ctx.saved_tensors
        near = ((pre - theta).abs() < ctx.width / 2).to(pre.dtype) / ctx.width
        # dz/dθ ≈ −θ K(pre − θ) and d[pre > θ]/dθ ≈ −K(pre − θ), K the rectangle.
        d_theta = -(near * (theta * d_z + d_on)).sum(0)
        return d_z * on, d_theta, None


class JumpReLU(Activation):
    """Dense in training; at inference everything above its own threshold."""

    name: ClassVar[str] = "jumprelu"

    def __init__(self, cfg: CoderConfig) -> None:
        super().__init__(cfg)
        self.threshold = nn.Parameter(torch.full((cfg.width,), LEAST))  # (F,)

    def encode(self, coder: Coder, centred: Tensor) -> Codes:
        return Codes(*select_above(centred, coder.W_enc, coder.b_enc, self.threshold))

    def run(self, coder: Coder, x: Tensor, target: Tensor, k: int) -> Pass:
        pre = pre_activations(coder, x)  # (N, F)
        z, on = _Jump.apply(  # type: ignore[no-untyped-call]
            pre, self.threshold, BANDWIDTH
        )
        done = dense_pass(coder, x, target, z)
        done.extras["on"] = on
        return done

    @torch.no_grad()
    def begin(self, coder: Coder, x: Tensor) -> Sequence[Tensor]:
        at = levels(coder, x)
        self.threshold.copy_(at.clamp_min(LEAST))
        coder.b_enc.add_(self.threshold - at)  # a level below the least threshold is lifted to it
        return self.threshold.data, coder.b_enc.data

    def losses(self, config: TrainConfig) -> Sequence[Loss]:
        chosen = l0(config.sparsity) if config.sparsity else target_l0()
        return [*common_losses(config), chosen]

    @torch.no_grad()
    def after_step(self, coder: Coder) -> None:
        self.threshold.clamp_(min=0)  # below 0 a negative activation would pass

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        self.threshold.mul_(scale)


def l0(weight: float) -> Loss:
    """λ · mean L0, with the straight-through gradient to θ."""

    def loss(coder: Coder, done: Pass, step: LossContext) -> Tensor:
        """The penalty, as ramped up so far."""
        return step.ramp * weight * done.extras["on"].sum() / step.tokens

    return loss


def target_l0(weight: float = LEADING) -> Loss:
    """weight · (L0 / k − 1)²: leads the mean L0 to k from either side."""

    def loss(coder: Coder, done: Pass, step: LossContext) -> Tensor:
        """The penalty of this micro-batch's L0, as ramped up so far."""
        share = len(done.x) / step.tokens
        mean = done.extras["on"].sum() / len(done.x)
        return step.ramp * weight * share * (mean / step.k - 1).square()

    return loss
