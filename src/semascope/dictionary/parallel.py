"""Several processes, one dictionary: data parallel sums, and a dictionary sharded by feature.

Under ``torchrun`` each process calls ``Ranks.join()``; alone, every method is the identity, so the
trainer is written once. ``ShardedTopK`` holds a share of the latents on each rank; which of them
are among the k largest of all is found by gathering values only, never indices or rows.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.sparse import Grouping, attach, decode, select_topk
from semascope.errors import DictionaryError


class Ranks:
    """The processes that train together; by default this one alone."""

    def __init__(self) -> None:
        active = dist.is_available() and dist.is_initialized()
        self.size = dist.get_world_size() if active else 1
        self.rank = dist.get_rank() if active else 0

    @classmethod
    def join(cls, device: torch.device | str = "cpu") -> Ranks:
        """Join the group that torchrun's environment names, where there is one."""
        if "WORLD_SIZE" in os.environ and not dist.is_initialized():
            cuda = torch.device(device).type == "cuda"
            dist.init_process_group("nccl" if cuda else "gloo")
        return cls()

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def sum(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over ranks."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def largest(self, tensor: Tensor) -> None:
        """Replace a tensor by its elementwise maximum over ranks."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)

    def broadcast(self, *tensors: Tensor) -> None:
        """Replace each tensor by the first rank's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            dist.barrier()


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


class ShardedTopK(nn.Module):
    """This rank's latents of a TopK dictionary; b_dec is on every rank.

    Args:
        coder: the whole dictionary, of which rank r keeps rows [r F / R, (r + 1) F / R).
        capacity: candidates that each rank offers, as a multiple of its fair share k / R. Where a
            rank's offer was taken whole, it may have had more, and all offer k once again; so the
            result is always that of the whole dictionary.
    """

    def __init__(self, coder: SparseCoder, *, capacity: float = 4.0) -> None:
        super().__init__()
        ranks = Ranks()
        if coder.cfg.architecture != "topk" or coder.width % ranks.size:
            raise DictionaryError(
                f"A TopK dictionary whose width is a multiple of {ranks.size} can be sharded, "
                f"not {coder.cfg.architecture} of {coder.width}."
            )
        self.cfg = coder.cfg
        share = coder.width // ranks.size
        self.first_latent = share * ranks.rank
        mine = slice(self.first_latent, self.first_latent + share)
        self.W_enc = nn.Parameter(coder.W_enc.detach()[mine].clone())  # (F / R, d)
        self.b_enc = nn.Parameter(coder.b_enc.detach()[mine].clone())  # (F / R,)
        self.W_dec = nn.Parameter(coder.W_dec.detach()[mine].clone())  # (F / R, d)
        self.b_dec = nn.Parameter(coder.b_dec.detach().clone())  # (d,)
        self.offer = min(coder.k, share, max(1, round(capacity * coder.k / ranks.size)))

    def select(self, centred: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, d) -> this rank's candidates: values, local latents, whether each is in the top k."""
        share = len(self.W_enc)
        for offer in (self.offer, min(self.cfg.k, share)):
            values, indices = select_topk(centred, self.W_enc, self.b_enc, offer)
            everyone = [torch.empty_like(values) for _ in range(Ranks().size)]
            dist.all_gather(everyone, values.contiguous())
            every = torch.cat(everyone, dim=1)  # (N, R · offer)
            k = min(self.cfg.k, every.shape[1])
            least = every.topk(k, dim=1).values[:, -1:]  # (N, 1)
            kept = values >= least
            cut = torch.stack([part.amin(1, keepdim=True) >= least for part in everyone]).any()
            if offer >= min(self.cfg.k, share) or not bool(cut):
                break
        return values, indices, kept

    def forward(self, x: Tensor) -> Tensor:
        """(N, d), the same on every rank -> (N, d) reconstruction, the same on every rank."""
        centred = x - self.b_dec.detach()
        with torch.no_grad():
            values, indices, kept = self.select(centred)
        groups = Grouping(indices, len(self.W_enc))
        pre_bias = _SumBackward.apply(self.b_dec)  # type: ignore[no-untyped-call]
        values = attach(centred, pre_bias, self.W_enc, self.b_enc, values, groups)
        part = decode(values.relu() * kept, self.W_dec, groups, tangent=self.cfg.unit_norm)
        total: Tensor = _SumForward.apply(part)  # type: ignore[no-untyped-call]
        return total + self.b_dec
