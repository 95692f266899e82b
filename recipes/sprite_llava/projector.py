"""LLaVA's projector, and how it learns to say each patch in the language model's own words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.sprite_llava.targets import PatchTruth
from recipes.sprite_llava.words import WordSpace


class Projector(nn.Module):
    """LLaVA's two layers."""

    def __init__(self, width: int, d: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:  # (…, width) -> (…, d)
        return self.linear_2(F.gelu(self.linear_1(x)))


class Naming(nn.Module):
    """Which name a patch's words are, once all else that they say is taken away.

    A mean of embeddings is what a plain regression tends to when it is in doubt; a softmax over
    the names makes it choose, and shapes the tower's last layer for what the projector can say.
    The softmax is over distances, not angles: by angles the right name came first in .82 of
    patches while what was said lay at a cosine of .81 from its goal, and a language model that
    read ideal tokens right in .97 of scenes (what is on the left) and .96 (words) read these in
    .77 and .36. What is nearest here is nearest because it is near.
    """

    names: Tensor
    offset: Tensor

    def __init__(self, names: Tensor, near: float = 0.125) -> None:
        """``names`` (classes, d), 0 for nothing; ``near`` weighs the squared distance to the goal,
        beside the softmax."""
        super().__init__()
        self.near = near
        self.register_buffer("names", names[1:], persistent=False)
        self.register_buffer("offset", names[1:].pow(2).sum(-1) / 2, persistent=False)
        self.sharpness = nn.Parameter(torch.tensor(1.0))

    def forward(self, said: Tensor) -> Tensor:  # (N, d) -> (N, names) logits; name 1 is column 0
        return (said @ self.names.T - self.offset) * self.sharpness.abs()

    def loss(self, said: Tensor, goal: Tensor, name: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of what N patches say, (N, d) against (N, d) words and (N,) names (0: nothing
        there), the share of things whose name lies nearest and how alike their words are."""
        thing = name > 0
        wanted = name[thing] - 1
        rest = goal[thing] - self.names[wanted]
        logits = self(said[thing] - rest)
        weight = torch.where(thing, 1.0, 0.3)
        off = ((said - goal).pow(2).sum(-1) * weight).sum() / weight.sum()
        right = (logits.detach().argmax(-1) == wanted).float().mean()
        alike = F.cosine_similarity(said.detach()[thing], goal[thing], dim=-1).mean()
        loss = F.cross_entropy(logits, wanted) + self.near * off
        return loss, {"nearest": float(right), "alike": float(alike)}


class Telling(nn.Module):
    """What else a patch must say aloud: colour, material, sides, and how many where it is empty.

    The softmax over names pulls what is said towards one name and away from all else that might
    be said with it: colours that the tower knew in .99 of patches were read right in .80. Each
    kind of word is therefore its own small classifier, by the embeddings that the reader knows.
    """

    def __init__(self, words: WordSpace) -> None:
        super().__init__()
        tables = {
            "colour": words.colours,
            "texture": words.textures,
            "sides": words.sides,
            "count": words.counts,
        }
        for name, table in tables.items():
            directions = F.normalize(table - table.mean(0), dim=-1)
            self.register_buffer(name, directions, persistent=False)
        self.scale = nn.ParameterDict({k: nn.Parameter(torch.tensor(2.0)) for k in tables})
        self.least = nn.Parameter(torch.full((4,), 2.0))

    def logits(self, said: Tensor, of: str) -> Tensor:
        """(N, classes) for what N patches say, (N, d)."""
        directions = getattr(self, of)
        return (said @ directions.T) * self.scale[of]

    def loss(self, said: Tensor, truth: Sequence[PatchTruth]) -> tuple[Tensor, dict[str, float]]:
        """Summed loss of (N, d) said by the patches of some scenes, and how often it is right."""
        sides = torch.from_numpy(np.concatenate([t.sides for t in truth]))
        thing = sides[:, 0] >= 0
        counts = np.concatenate([np.full(len(t.name), min(t.count, 6)) for t in truth])
        goals = {
            "colour": torch.from_numpy(np.concatenate([t.colour for t in truth])),
            "texture": torch.from_numpy(np.concatenate([t.texture for t in truth])),
            "count": torch.from_numpy(np.where(thing.numpy(), -1, counts)),
        }
        aloud = self.logits(said[thing], "sides") - self.least
        loss = 2.0 * F.binary_cross_entropy_with_logits(aloud, sides[thing])
        stats: dict[str, float] = {}
        for name, goal in goals.items():
            some = goal >= 0
            if bool(some.any()):
                logits = self.logits(said[some], name)
                loss = loss + 0.5 * F.cross_entropy(logits, goal[some])
                right = (logits.detach().argmax(-1) == goal[some]).float().mean()
                stats[f"said {name}"] = float(right)
        both = ((aloud.detach() > 0) & (sides[thing] > 0.5)).sum()
        either = ((aloud.detach() > 0) | (sides[thing] > 0.5)).sum().clamp(min=1)
        return loss, {**stats, "said sides": float(both / either)}
