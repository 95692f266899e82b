"""What an architecture must say: how it chooses latents, and what it is trained on.

Knows neither optimiser nor data. The weights shared by all architectures live in the coder, which
is handed to every method; what is particular to one (a threshold, a gate) lives in its subclass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.forward_pass import Coder, Pass
from semascope.dictionary.training.losses import Loss
from semascope.dictionary.types import Codes


class Activation(nn.Module):
    """The σ of z = σ(W_enc(x − b_dec) + b_enc)."""

    name: ClassVar[str]

    def __init__(self, cfg: CoderConfig) -> None:
        super().__init__()
        self.cfg = cfg

    @abstractmethod
    def encode(self, coder: Coder, centred: Tensor) -> Codes:
        """(N, d_in) centred -> the code at inference; no gradient."""

    @abstractmethod
    def run(self, coder: Coder, x: Tensor, target: Tensor, k: int) -> Pass:
        """The forward pass in training, with ``k`` latents where the architecture counts them."""

    @abstractmethod
    def losses(self, config: TrainConfig) -> Sequence[Loss]:
        """What it is trained on unless the caller passes losses."""

    def begin(self, coder: Coder, x: Tensor) -> Sequence[Tensor]:
        """Set before the first step what a random start leaves wrong, by (N, d_in) of its tokens.

        Returns the tensors that it wrote.
        """
        return ()

    def after_step(self, coder: Coder) -> None:
        """Upkeep of its own state once the weights moved."""

    def move(self, product: Tensor) -> None:
        """Its part in giving back an offset: (F,) by what the encoder's product grows."""

    def rescale(self, scale: float) -> None:
        """Its part in folding an input scale: every σ here is homogeneous in its thresholds."""
