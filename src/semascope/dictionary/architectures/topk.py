"""TopK (Makhzani & Frey 2013; Gao et al. 2024): the k largest pre-activations of each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from semascope.dictionary.architectures.base import Activation
from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.forward_pass import Coder, Pass
from semascope.dictionary.kernels.sparse import Grouping, attach
from semascope.dictionary.kernels.topk import TileBuffer, select_topk
from semascope.dictionary.kernels.topk_bf16 import has_fast_bf16, select_topk_prefiltered
from semascope.dictionary.training.losses import Loss, common_losses
from semascope.dictionary.types import Codes


class TopK(Activation):
    """Sparse from the first step: nothing after the encoder's product is dense in the width."""

    name: ClassVar[str] = "topk"

    def __init__(self, cfg: CoderConfig) -> None:
        super().__init__(cfg)
        self.room = TileBuffer()

    def encode(self, coder: Coder, centred: Tensor) -> Codes:
        values, indices = select_topk(centred, coder.W_enc, coder.b_enc, self.cfg.k)
        return Codes(values.clamp_(min=0), indices)

    def run(self, coder: Coder, x: Tensor, target: Tensor, k: int) -> Pass:
        centred = coder.centre(x)
        k = min(k, self.cfg.width)
        values, indices = choose_topk(
            centred.detach(),
            coder.W_enc,
            coder.b_enc,
            k,
            bf16=coder.bf16,
            room=self.room if coder.training else None,
        )
        return sparse_pass(coder, x, target, centred, values, indices)

    def losses(self, config: TrainConfig) -> Sequence[Loss]:
        return common_losses(config)


@torch.no_grad()
def choose_topk(
    centred: Tensor,
    weight: Tensor,
    bias: Tensor,
    k: int,
    *,
    bf16: bool = False,
    room: TileBuffer | None = None,
) -> tuple[Tensor, Tensor]:
    """(N, d) -> (N, k) largest pre-activations and their latents, by the fastest way here.

    ``bf16`` lets a GPU choose by a product in bfloat16; values are float32's in any case.
    """
    if bf16 and centred.device.type == "cuda":
        return select_topk_prefiltered(centred, weight, bias, k, prove=False)[:2]
    if has_fast_bf16(centred.device):
        return select_topk_prefiltered(centred, weight, bias, k)[:2]
    return select_topk(centred, weight, bias, k, room)


def sparse_pass(
    coder: Coder,
    x: Tensor,
    target: Tensor,
    centred: Tensor,
    values: Tensor,
    indices: Tensor,
) -> Pass:
    """The rest of a pass once latents were chosen: gradient, rectifier, decoder."""
    groups = Grouping(indices, coder.width)
    pre_bias = coder.b_dec if coder.cfg.subtract_b_dec else None
    values = attach(centred, pre_bias, coder.W_enc, coder.b_enc, values, groups).relu()
    x_hat = coder.reconstruct(values, groups, x)
    return Pass(x, target, centred, x_hat, values=values, groups=groups)
