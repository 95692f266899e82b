"""Muon (Jordan et al., 2024): momentum whose matrix updates are made orthogonal.

torch ships one that works in bfloat16 alone, which a processor without bfloat16 units emulates
slowly: this one works in either.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_STEPS = ((3.4445, -4.7750, 2.0315),) * 5
"""The quintic of the reference implementation: singular values end between .7 and 1.2."""


def orthogonal(matrices: Tensor) -> Tensor:
    """(n, r, c) each matrix with its singular values sent near 1 (Newton-Schulz)."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for a, b, c in _STEPS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices alone; an update's root mean square is .2, so that AdamW's rates fit."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        half: bool = False,
    ) -> None:
        """``half``: make updates orthogonal in bfloat16."""
        self.dtype = torch.bfloat16 if half else torch.float32
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; matrices of one shape go together."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, some in shapes.items():
                for p in some:
                    kept = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    kept.lerp_(p.grad, 1 - group["momentum"])
                ahead = [p.grad.lerp(self.state[p]["momentum"], group["momentum"]) for p in some]
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for p, update in zip(
                    some, orthogonal(torch.stack(ahead).to(self.dtype)), strict=True
                ):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)
