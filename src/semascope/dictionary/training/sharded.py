"""A TopK dictionary sharded by feature: each process holds a share of the latents.

Every process is given the same tokens and offers the values of its best latents; gathering values
alone, never indices or rows, tells each which of its own are among the k largest of all. Output,
gradients and checkpoints are those of the whole dictionary. Weights, gradients and the optimiser's
moments are a share each, which is what makes dictionaries fit that no one device holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from semascope.dictionary.architectures.topk import choose_topk
from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.forward_pass import Pass
from semascope.dictionary.kernels.sparse import Grouping, attach, decode, some_rows
from semascope.dictionary.training.distributed import ProcessGroup
from semascope.errors import DictionaryError


class _SumForward(torch.autograd.Function):
    """Sum over ranks; the gradient, the same on each, passes as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class _SumBackward(torch.autograd.Function):
    """The identity; the gradient, a part of it on each rank, is summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


class ShardedTopK(SparseCoder):
    """This rank's latents of a TopK dictionary; b_dec is on every rank.

    Trains as a ``SparseCoder`` does; to read with it, train on and load what was saved.

    Args:
        coder: the whole dictionary, of which rank r keeps rows [r F / R, (r + 1) F / R).
        capacity: candidates that each rank offers, as a multiple of its fair share k / R. Where a
            rank's offer was taken whole, it may have had more, and all offer k once again; so the
            result is always that of the whole dictionary.
    """

    def __init__(self, coder: SparseCoder, *, capacity: float = 4.0) -> None:
        nn.Module.__init__(self)
        self.ranks = ProcessGroup()
        _refuse(coder.cfg, self.ranks.size)
        self.cfg, self.name, self.site = coder.cfg, coder.name, coder.site
        self.d_in, self.width = coder.d_in, coder.width // self.ranks.size
        self.first_latent = self.width * self.ranks.rank
        self.capacity, self.bf16 = capacity, coder.bf16
        mine = slice(self.first_latent, self.first_latent + self.width)
        self.W_enc = nn.Parameter(coder.W_enc.detach()[mine].clone())  # (F / R, d)
        self.b_enc = nn.Parameter(coder.b_enc.detach()[mine].clone())  # (F / R,)
        self.W_dec = nn.Parameter(coder.W_dec.detach()[mine].clone())  # (F / R, d)
        self.b_dec = nn.Parameter(coder.b_dec.detach().clone())  # (d,)
        self.W_skip = None
        self.activation = coder.activation

    def forward(self, x: Tensor, target: Tensor | None = None, *, k: int | None = None) -> Pass:
        """(N, d), the same on every rank -> a pass with this rank's code and the whole x̂."""
        self._check(x)
        centred = self.centre(x)
        with torch.no_grad():
            values, indices, kept = self.select(centred, self.W_enc, self.b_enc, k or self.cfg.k)
        groups = Grouping(indices, self.width)
        pre_bias = _SumBackward.apply(self.b_dec)  # type: ignore[no-untyped-call]
        values = attach(centred, pre_bias, self.W_enc, self.b_enc, values, groups)
        values = values.relu() * kept
        part = decode(values, self.W_dec, groups, tangent=self.cfg.unit_norm)
        total: Tensor = _SumForward.apply(part)  # type: ignore[no-untyped-call]
        return Pass(x, x, centred, total + self.b_dec, values=values, groups=groups)

    def select(
        self, centred: Tensor, weight: Tensor, bias: Tensor, k: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(N, d) -> this rank's candidates: values, rows of ``weight``, which are in the top k."""
        ranks, share = self.ranks, len(weight)
        first = min(k, math.ceil(max(1.0, self.capacity) * k / ranks.size))
        for offer in (first, k):
            values, indices = _best(centred, weight, bias, min(offer, share), self.bf16)
            padded = F.pad(values, (0, offer - values.shape[1]), value=-torch.inf)
            everyone = ranks.every(padded)  # (N, offer) each
            least = torch.cat(everyone, dim=1).topk(k, dim=1).values[:, -1:]  # (N, 1)
            kept = values >= least
            cut = torch.stack([part.amin(1, keepdim=True) >= least for part in everyone]).any()
            if offer >= k or not bool(cut):
                break
        return values, indices, kept

    def from_some(self, centred: Tensor, latents: Tensor, k: int) -> Tensor:
        """As the whole dictionary's; ``latents`` are this rank's, ``k`` is over all ranks."""
        rows, bias = some_rows(self.W_enc, latents), self.b_enc[latents]
        with torch.no_grad():
            values, indices, kept = self.select(centred, rows, bias, k)
        if not len(latents):  # none of its own: it only hears what the others make of it
            part = torch.zeros_like(centred)
        else:
            groups = Grouping(indices, len(latents))
            values = attach(centred, None, rows, bias, values, groups).relu() * kept
            weight = some_rows(self.W_dec, latents)
            part = decode(values, weight, groups, tangent=self.cfg.unit_norm)
        total: Tensor = _SumForward.apply(part)  # type: ignore[no-untyped-call]
        return total

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every rank's part of a training state -> on the first rank, that of one process."""
        return {
            name: self.ranks.collect(t) if divided(name) else t
            for name, t in sorted(tensors.items())
        }

    def mine(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of one process -> this rank's part."""
        rows = slice(self.first_latent, self.first_latent + self.width)
        return {name: t[rows] if divided(name) else t for name, t in tensors.items()}


def divided(name: str) -> bool:
    """Whether each rank holds rows of its own of this part of a training state."""
    if name.startswith("optimizer."):
        _, _, parameter, entry = name.split(".")
        return parameter in ("0", "1", "2") and entry != "step"  # W_enc, b_enc, W_dec; not b_dec
    return name in ("silent", "dead", "coder.W_enc", "coder.b_enc", "coder.W_dec")


def shardable(config: TrainConfig) -> None:
    """DictionaryError for settings that need the whole dictionary in one place."""
    asked = {
        "clip": bool(config.clip),
        "resample": bool(config.resample),
        "prefixes": bool(config.prefixes),
        "transcode": config.transcode,
        f"optimizer {config.optimizer}": config.optimizer == "muon",
    }
    wrong = [name for name, set_ in asked.items() if set_]
    if wrong:
        raise DictionaryError(
            f"A dictionary sharded by feature cannot be trained with {', '.join(wrong)}; leave "
            "that out, or train without --shard feature."
        )


def _refuse(cfg: CoderConfig, size: int) -> None:
    plain = not (cfg.transcodes or cfg.prefixes or cfg.layer_norm)
    if cfg.architecture != "topk" or not plain or cfg.width % size:
        raise DictionaryError(
            f"A plain TopK dictionary whose width is a multiple of {size}, the number of "
            f"processes, can be sharded by feature; not {'' if plain else 'such a '}"
            f"{cfg.architecture} of {cfg.width}."
        )


def _best(
    centred: Tensor, weight: Tensor, bias: Tensor, k: int, bf16: bool
) -> tuple[Tensor, Tensor]:
    """(N, k) largest pre-activations; none where there are no rows."""
    if not k:
        none = torch.zeros((len(centred), 0), dtype=torch.int64, device=centred.device)
        return centred.new_zeros((len(centred), 0)), none
    return choose_topk(centred, weight, bias, k, bf16=bf16)
