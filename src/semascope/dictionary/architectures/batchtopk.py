"""BatchTopK (Bussmann et al. 2024): the k · N largest pre-activations of a batch of N tokens.

Tokens share the budget, so that hard ones use more latents. At inference a threshold, the running
mean of the smallest activation chosen in training, makes each token's code independent of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from semascope.dictionary.architectures.base import Activation
from semascope.dictionary.architectures.topk import sparse_pass
from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.forward_pass import Coder, Pass
from semascope.dictionary.kernels.topk import pad_entries, select_above, select_topk
from semascope.dictionary.training.losses import Loss, common_losses
from semascope.dictionary.types import Codes

MEMORY = 0.99
"""Weight of the past in the threshold's running mean."""


class BatchTopK(Activation):
    """Sparse from the first step; ragged codes are padded with zeros."""

    name: ClassVar[str] = "batchtopk"
    threshold: Tensor

    def __init__(self, cfg: CoderConfig) -> None:
        super().__init__(cfg)
        self.register_buffer("threshold", torch.tensor(-1.0))  # () below 0: not yet known

    def encode(self, coder: Coder, centred: Tensor) -> Codes:
        least = self.threshold.clamp_min(0)
        values, indices = select_above(centred, coder.W_enc, coder.b_enc, least)
        return Codes(values, indices)

    def run(self, coder: Coder, x: Tensor, target: Tensor, k: int) -> Pass:
        centred = coder.centre(x)
        with torch.no_grad():
            values, indices = choose(centred.detach(), coder.W_enc, coder.b_enc, k)
            if coder.training and k == self.cfg.k:
                self._remember(values)
        return sparse_pass(coder, x, target, centred, values, indices)

    def losses(self, config: TrainConfig) -> Sequence[Loss]:
        return common_losses(config)

    def rescale(self, scale: float) -> None:
        if self.threshold > 0:
            self.threshold *= scale

    def _remember(self, values: Tensor) -> None:
        """Move the threshold towards this batch's smallest positive activation; no host sync."""
        least = torch.where(values > 0, values, torch.inf).amin()  # ()
        known = torch.where(self.threshold < 0, least, self.threshold)
        after = MEMORY * known + (1 - MEMORY) * least
        self.threshold.copy_(torch.where(least.isfinite(), after, self.threshold))


def choose(centred: Tensor, weight: Tensor, bias: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(N, D) -> the positive ones of the N · k largest pre-activations, (N, m) each, padded.

    Exact without storing (N, F): the N · k-th largest of every token's own 2 k is a floor under the
    true threshold, so only tokens whose 2 k all lie above that floor are looked at again.
    """
    n, width = centred.shape[0], weight.shape[0]
    total = n * min(k, width)
    values, indices = select_topk(centred, weight, bias, min(2 * k, width))
    floor = values.flatten().topk(total).values[-1].clamp_min(0)  # ()
    token, column = ((values >= floor) & (values > 0)).nonzero(as_tuple=True)
    entries = (token, indices[token, column], values[token, column])
    deep = (values.amin(1) > floor).nonzero().squeeze(1)
    if len(deep) and values.shape[1] < width:
        entries = _with_deep(entries, deep, centred, weight, bias, floor)
    token, latent, value = entries
    if len(value) > total:
        least = value.topk(total).values[-1]
        keep = value >= least
        token, latent, value = token[keep], latent[keep], value[keep]
    return pad_entries(token, latent, value, n)


def _with_deep(
    entries: tuple[Tensor, Tensor, Tensor],
    deep: Tensor,
    centred: Tensor,
    weight: Tensor,
    bias: Tensor,
    floor: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace the entries of the ``deep`` tokens by all of theirs above the floor."""
    token, latent, value = entries
    again = torch.zeros(len(centred), dtype=torch.bool, device=centred.device)
    again[deep] = True
    keep = ~again[token]
    more, at = select_above(centred[deep], weight, bias, floor)
    row, column = (more > 0).nonzero(as_tuple=True)
    token = torch.cat([token[keep], deep[row]])
    latent = torch.cat([latent[keep], at[row, column]])
    value = torch.cat([value[keep], more[row, column]])
    order = torch.sort(token, stable=True).indices
    return token[order], latent[order], value[order]
