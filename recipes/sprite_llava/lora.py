"""Low-rank deltas on a language model's linear layers (Hu et al., 2021): train, save, merge."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LowRank(nn.Module):
    """W x + up(down(x)); W stays as it was."""

    def __init__(self, base: nn.Linear, rank: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = base.weight
        self.scale = scale
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)  # once, where products are in bfloat16
        return F.linear(x, self.weight) + self.scale * F.linear(F.linear(x, self.down), self.up)

    def delta(self) -> Tensor:
        """(out, in) what to add to W."""
        return self.scale * self.up @ self.down


def attach(model: nn.Module, rank: int, scale: float = 1.0) -> dict[str, LowRank]:
    """Freeze the model, put a delta on every target layer; returns them by module path."""
    model.requires_grad_(False)
    found: dict[str, LowRank] = {}
    for path, module in list(model.named_modules()):
        if path.rsplit(".", 1)[-1] in TARGETS and isinstance(module, nn.Linear):
            parent = model.get_submodule(path.rsplit(".", 1)[0])
            found[path] = LowRank(module, rank, scale)
            setattr(parent, path.rsplit(".", 1)[-1], found[path])
    return found


def halve(deltas: dict[str, LowRank]) -> None:
    """Keep the frozen weights in bfloat16, for products under autocast."""
    for module in deltas.values():
        module.weight = nn.Parameter(module.weight.bfloat16(), requires_grad=False)


def state(deltas: dict[str, LowRank]) -> dict[str, Tensor]:
    """Only what was trained."""
    return {f"{p}.{k}": getattr(m, k).detach() for p, m in deltas.items() for k in ("down", "up")}


def restore(deltas: dict[str, LowRank], tensors: dict[str, Tensor]) -> None:
    """Put saved deltas back."""
    with torch.no_grad():
        for path, module in deltas.items():
            module.down.copy_(tensors[f"{path}.down"])
            module.up.copy_(tensors[f"{path}.up"])
