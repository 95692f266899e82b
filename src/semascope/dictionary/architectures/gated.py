"""Gated SAE (Rajamanoharan et al. 2024a): one path decides which latents are on, another how much.

π = W_enc(x − b_dec) + b_enc gates; the magnitude is relu(e^r ⊙ W_enc(x − b_dec) + b_mag). The gate
learns from an L1 penalty on relu(π) and from a reconstruction by relu(π) through a frozen decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from semascope.dictionary.architectures.base import Activation
from semascope.dictionary.architectures.dense import (
    decoder_norms,
    dense_pass,
    levels,
    pre_activations,
)
from semascope.dictionary.architectures.relu import usual
from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.forward_pass import Coder, Pass
from semascope.dictionary.kernels.topk import select_above
from semascope.dictionary.training.losses import Loss, LossContext, common_losses
from semascope.dictionary.types import Codes


class Gated(Activation):
    """Dense in training; at inference the open gates' magnitudes."""

    name: ClassVar[str] = "gated"

    def __init__(self, cfg: CoderConfig) -> None:
        super().__init__(cfg)
        self.r_mag = nn.Parameter(torch.zeros(cfg.width))  # (F,)
        self.b_mag = nn.Parameter(torch.zeros(cfg.width))  # (F,)

    def encode(self, coder: Coder, centred: Tensor) -> Codes:
        gate, indices = select_above(centred, coder.W_enc, coder.b_enc, centred.new_zeros(()))
        size = self._magnitude(gate - coder.b_enc[indices], indices)
        return Codes(torch.where(gate > 0, size, 0.0), indices)

    def run(self, coder: Coder, x: Tensor, target: Tensor, k: int) -> Pass:
        gate = pre_activations(coder, x)  # (N, F)
        size = torch.relu((gate - coder.b_enc) * self.r_mag.exp() + self.b_mag)
        done = dense_pass(coder, x, target, size * (gate > 0))
        done.extras["gate"] = torch.relu(gate)
        return done

    @torch.no_grad()
    def begin(self, coder: Coder, x: Tensor) -> Sequence[Tensor]:
        coder.b_enc.sub_(levels(coder, x))  # of the gate; what passes it keeps its whole size
        return (coder.b_enc.data,)

    def losses(self, config: TrainConfig) -> Sequence[Loss]:
        return [*common_losses(config), gate_l1(config.sparsity), gate_reconstruction]

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        self.b_mag.mul_(scale)

    @torch.no_grad()
    def move(self, product: Tensor) -> None:
        self.b_mag.sub_(self.r_mag.exp() * product)

    def _magnitude(self, product: Tensor, indices: Tensor) -> Tensor:
        """(N, m) products without bias -> magnitudes."""
        return torch.relu(product * self.r_mag.exp()[indices] + self.b_mag[indices])


def gate_l1(weight: float = 0.0) -> Loss:
    """λ · mean over tokens of Σ_f relu(π_f) ‖W_dec,f‖, no gradient to W_dec; 0: ReLU's."""

    def loss(coder: Coder, done: Pass, step: LossContext) -> Tensor:
        """The penalty, as ramped up so far."""
        each = (done.extras["gate"] * decoder_norms(coder).detach()).sum() / step.tokens
        return step.ramp * (weight or usual(coder, step)) * each

    return loss


def gate_reconstruction(coder: Coder, done: Pass, step: LossContext) -> Tensor:
    """FVU of decoding the open gates' π through a frozen decoder: gates must see enough."""
    guess = done.extras["gate"] @ coder.W_dec.detach() + coder.b_dec.detach()
    guess = guess if coder.W_skip is None else guess + done.x @ coder.W_skip.detach().t()
    return (guess - done.target).square().sum() / step.variance
