"""Several processes, one dictionary: how they meet, sum, and pass tensors and words around.

Under ``torchrun`` each process calls ``ProcessGroup.join()``; alone, every method is the identity,
so that what stands on it is written once. Knows tensors only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(days=1)
"""One process may load a model or measure while others wait; torchrun ends all when one fails."""


class ProcessGroup:
    """The processes that train together; by default this one alone."""

    def __init__(self) -> None:
        active = dist.is_available() and dist.is_initialized()
        self.size = dist.get_world_size() if active else 1
        self.rank = dist.get_rank() if active else 0

    @classmethod
    def alone(cls) -> ProcessGroup:
        """This process as if there were no other."""
        self = cls()
        self.size, self.rank = 1, 0
        return self

    @classmethod
    def join(cls, device: torch.device | str = "auto") -> ProcessGroup:
        """Join the group that torchrun's environment names, where there is one.

        NCCL with a GPU a process, gloo on a CPU. ``auto`` takes a GPU where there is one.
        """
        if "WORLD_SIZE" in os.environ and not dist.is_initialized():
            kind = str(device).split(":", maxsplit=1)[0]
            cuda = kind == "cuda" or (kind == "auto" and torch.cuda.is_available())
            if cuda:
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
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

    def total(self, tensor: Tensor) -> Tensor:
        """A tensor's sum over ranks; the tensor itself may be changed."""
        self.sum(tensor)
        return tensor

    def largest(self, tensor: Tensor) -> None:
        """Replace a tensor by its elementwise maximum over ranks."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)

    def largest_of(self, number: int) -> int:
        """The largest of the ranks' numbers."""
        found = torch.tensor(number, device=self._home())
        self.largest(found)
        return int(found)

    def broadcast(self, *tensors: Tensor) -> None:
        """Replace each tensor by the first rank's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def told(self, value: Any) -> Any:
        """The first rank's value, whatever it is."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def every(self, tensor: Tensor) -> list[Tensor]:
        """Each rank's tensor, all of one shape."""
        if self.size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor.contiguous())
        return found

    def rows(self, tensor: Tensor) -> Tensor:
        """(n, …) of each rank, n its own -> (Σ n, …), in the order of ranks."""
        if self.size == 1:
            return tensor
        mine = torch.tensor(len(tensor), device=self._home())
        lengths = [int(n) for n in self.every(mine)]
        return torch.cat(self._padded(tensor, lengths))

    def exchange(self, mine: Sequence[Tensor], lengths: Sequence[int]) -> list[Tensor]:
        """Parts dealt in turn, part i made by rank i mod R -> all of them, in order.

        ``lengths`` are the rows of every part, which each rank knows.
        """
        if self.size == 1:
            return list(mine)
        dealt = [list(lengths[rank :: self.size]) for rank in range(self.size)]
        sample = mine[0] if mine else None
        shape = (
            [] if sample is None else [sample.shape[1], str(sample.dtype).removeprefix("torch.")]
        )
        width, dtype = self.told(shape)  # the first rank has a part where anyone has
        if sample is None:
            sample = torch.empty((0, width), dtype=getattr(torch, dtype), device=self._home())
        whole = self._padded(torch.cat([*mine, sample[:0]]), [sum(part) for part in dealt])
        split = [torch.split(rows, part) for rows, part in zip(whole, dealt, strict=True)]
        return [split[i % self.size][i // self.size] for i in range(len(lengths))]

    def collect(self, tensor: Tensor) -> Tensor:
        """(n, …) of each rank -> (R n, …) on the first rank's CPU; nothing on the others."""
        if self.size == 1:
            return tensor
        sent = tensor.contiguous()
        sent = sent.to(torch.uint8) if sent.dtype == torch.bool else sent
        parts = [torch.empty_like(sent) for _ in range(self.size)] if self.first else None
        dist.gather(sent, parts, dst=0)
        if parts is None:
            return tensor[:0].cpu()
        return torch.cat([part.cpu() for part in parts]).to(tensor.dtype)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            dist.barrier()

    def _padded(self, tensor: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Each rank's rows, of whatever number."""
        room = tensor.new_zeros((max(lengths), *tensor.shape[1:]))
        room[: len(tensor)] = tensor
        return [rows[:n] for rows, n in zip(self.every(room), lengths, strict=True)]

    def _home(self) -> torch.device:
        """Where this group's small tensors live."""
        nccl = self.size > 1 and dist.get_backend() == "nccl"
        return torch.device("cuda" if nccl else "cpu")
