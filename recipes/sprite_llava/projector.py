"""LLaVA's projector, and how it learns to say each patch in the language model's own words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Projector(nn.Module):
    """LLaVA's two layers."""

    def __init__(self, width: int, d: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:  # (…, width) -> (…, d)
        return self.linear_2(F.gelu(self.linear_1(x)))


class Naming(nn.Module):
    """Which name lies nearest to a patch's words: the projector as its own classifier.

    A mean of embeddings is what a plain regression tends to when it is in doubt; a softmax over
    the names makes it choose, and shapes the tower's last layer for what the projector can say.
    """

    table: Tensor
    centre: Tensor

    def __init__(self, names: Tensor) -> None:
        super().__init__()
        centre = names[1:].mean(0)
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("table", F.normalize(names[1:] - centre, dim=-1), persistent=False)
        self.scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, said: Tensor) -> Tensor:  # (N, d) -> (N, names) logits; name 1 is column 0
        near = F.normalize(said - self.centre, dim=-1) @ self.table.T
        return near * self.scale.exp()

    def loss(self, said: Tensor, goal: Tensor, name: Tensor) -> tuple[Tensor, float]:
        """Loss of what N patches say, (N, d) against (N, d) words and (N,) names (0: nothing
        there), and the share of things whose name lies nearest."""
        thing = name > 0
        logits = self(said[thing])
        wanted = name[thing] - 1
        off = 1 - F.cosine_similarity(said, goal, dim=-1) + (said - goal).pow(2).sum(-1) / 16
        weight = torch.where(thing, 1.0, 0.3)
        words = (off * weight).sum() / weight.sum()
        right = (logits.detach().argmax(-1) == wanted).float().mean()
        return F.cross_entropy(logits, wanted) + words, float(right)
