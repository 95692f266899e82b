"""ReLU with the penalty λ Σ_f z_f ‖W_dec,f‖ (Conerly et al. 2024, Anthropic's April update).

Weighing activations by decoder norms lets the rows of W_dec be of any norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from semascope.dictionary.architectures.base import Activation
from semascope.dictionary.architectures.dense import (
    decoder_norms,
    dense_pass,
    levels,
    pre_activations,
)
from semascope.dictionary.config import TrainConfig
from semascope.dictionary.forward_pass import Coder, Pass
from semascope.dictionary.kernels.topk import select_above
from semascope.dictionary.training.losses import Loss, LossContext, common_losses
from semascope.dictionary.types import Codes

PUBLISHED = 5.0
"""λ beside a squared error summed over dimensions, for inputs of mean norm √d."""
WIDE = 4096
"""The d at which that λ is taken as it is."""


class ReLU(Activation):
    """Dense in training; at inference every positive pre-activation."""

    name: ClassVar[str] = "relu"

    def encode(self, coder: Coder, centred: Tensor) -> Codes:
        zero = centred.new_zeros(())
        return Codes(*select_above(centred, coder.W_enc, coder.b_enc, zero))

    def run(self, coder: Coder, x: Tensor, target: Tensor, k: int) -> Pass:
        return dense_pass(coder, x, target, torch.relu(pre_activations(coder, x)))

    @torch.no_grad()
    def begin(self, coder: Coder, x: Tensor) -> Sequence[Tensor]:
        coder.b_enc.sub_(levels(coder, x))
        return (coder.b_enc.data,)

    def losses(self, config: TrainConfig) -> Sequence[Loss]:
        return [*common_losses(config), weighted_l1(config.sparsity)]


def weighted_l1(weight: float = 0.0) -> Loss:
    """λ · mean over tokens of Σ_f z_f ‖W_dec,f‖; λ = 0 takes ``usual``."""

    def loss(coder: Coder, done: Pass, step: LossContext) -> Tensor:
        """The penalty, as ramped up so far."""
        assert done.z is not None
        each = (done.z * decoder_norms(coder)).sum() / step.tokens
        return step.ramp * (weight or usual(coder, step)) * each

    return loss


def usual(coder: Coder, step: LossContext) -> Tensor:
    """() the published λ beside FVU, which is the squared error over the variance of a token.

    An L1 penalty shortens every activation by λ / 2, whatever their length, which goes with √d. λ
    = 5 was published for large models; at a d of 576 it would leave 8 active latents a token, and
    in a toy none. So it goes with √d as well.
    """
    squared: float = PUBLISHED * math.sqrt(coder.d_out / WIDE)
    return squared * step.tokens / step.variance
