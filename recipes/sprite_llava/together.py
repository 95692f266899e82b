"""Several processes as one: each learns from its own pictures, gradients are averaged.

    torchrun --nproc-per-node 2 -m recipes.sprite_llava.language --folder runs/sprite-llava ...

A picture and its questions are too small a job for two cores at once: two processes of one thread
each got through 1.5 pictures a second where one process of two threads got through 1.0. Knows
gradients and clocks; knows no model.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


class Team:
    """The processes that torchrun started, or this one alone."""

    def __init__(self) -> None:
        self.rank, self.size = (
            int(os.environ.get("RANK", "0")),
            int(os.environ.get("WORLD_SIZE", "1")),
        )
        if self.size > 1:
            dist.init_process_group("gloo")

    @property
    def leads(self) -> bool:
        """Whether this process saves and logs."""
        return self.rank == 0

    def average(self, parameters: list[Tensor]) -> None:
        """Make every process hold the mean of all processes' gradients; missing ones count as 0."""
        if self.size == 1:
            return
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
        )
        dist.all_reduce(flat)
        flat /= self.size
        for p, g in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = g.view_as(p)

    def clock(self, seconds: float) -> float:
        """The leader's time, so that all take the same steps and stop at the same one."""
        if self.size == 1:
            return seconds
        now = torch.tensor([seconds], dtype=torch.float64)
        dist.broadcast(now, 0)
        return float(now)
