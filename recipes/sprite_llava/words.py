"""Step 2: the words that a patch should begin as.

The projector starts by sending each patch to input embeddings that the language model already
knows: the tokens of the thing's name (the first weighs most, so that reading starts right), with
its colour, material or feeling, and how far to each side it stands; an empty patch says how
many things there are. ``WordSpace`` makes these targets, from labels alone. It knows
embeddings and labels; it knows no pixels and no tower.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recipes.sprite_llava.targets import PatchTruth, Vocabulary
from semascope.corpus.scenes import SpritePack
from semascope.corpus.scenes.colours import NAMES as COLOURS
from semascope.corpus.scenes.language import NUMBERS, SIDES
from semascope.corpus.scenes.sprites import TEXTURES

NAME, ATTRIBUTE = 4.0, 2.0
"""Lengths of the parts; an input embedding of SmolLM2 is about 3.2 long."""
GRADED, FURTHEST = 0.75, 2.0
"""How loudly a side is said by how near a thing is to it, and by being the furthest: at 1.5 and 1
the loudest patch was the right thing's in .77 of scenes, where the tower's own head had .90."""


class WordSpace:
    """Targets in the language model's input space, (classes, d) a table."""

    def __init__(
        self, embed: Tensor, tokenize: Callable[[str], list[int]], vocabulary: Vocabulary
    ) -> None:
        self.embed, self.tokenize, self.d = embed, tokenize, embed.shape[1]
        pack = SpritePack.load()
        feelings = {s.name: s.emotion for s in pack.sprites if s.emotion}
        rows = [torch.zeros(self.d)]
        for name in vocabulary.names[1:]:
            row = self.phrase(name.removeprefix("word "), NAME)
            if name.startswith("word "):
                row = row + self.phrase("says", ATTRIBUTE)
            if name in feelings:
                row = row + self.phrase(str(feelings[name]), ATTRIBUTE)
            rows.append(row)
        self.names = torch.stack(rows)
        self.colours = torch.stack([self.phrase(c, ATTRIBUTE) for c in COLOURS])
        self.textures = torch.stack([self.phrase(t, ATTRIBUTE) for t in TEXTURES])
        self.sides = torch.stack([self.phrase(s, ATTRIBUTE) for s in SIDES])
        empty = self.phrase("empty", ATTRIBUTE)
        self.counts = torch.stack([empty + self.phrase(n, ATTRIBUTE) for n in NUMBERS])

    def phrase(self, words: str, length: float) -> Tensor:
        """(d,) first token whole, each later one two thirds of the one before; of given length."""
        ids = self.tokenize(" " + words)
        weights = torch.tensor([(2 / 3) ** i for i in range(len(ids))])
        row = (weights[:, None] * self.embed[ids]).sum(0)
        return row * (length / row.norm())

    def target(self, truth: PatchTruth) -> Tensor:
        """(P, d) what each patch of a scene should begin as."""
        name = torch.from_numpy(truth.name)
        out = self.names[name]
        colour, texture = torch.from_numpy(truth.colour), torch.from_numpy(truth.texture)
        out = out + torch.where((colour >= 0)[:, None], self.colours[colour.clamp(min=0)], 0.0)
        out = out + torch.where((texture >= 0)[:, None], self.textures[texture.clamp(min=0)], 0.0)
        # Left and top fade into right and bottom: attention finds the furthest by itself.
        place = torch.from_numpy(np.maximum(truth.place, 0))
        graded = torch.stack([1 - place[:, 0], place[:, 0], 1 - place[:, 1], place[:, 1]], 1)
        out = out + GRADED * graded @ self.sides
        # And says so, where it is the furthest: comparing is easier for what sees all of it.
        furthest = torch.from_numpy(np.maximum(truth.sides, 0))
        out = out + FURTHEST * furthest @ self.sides
        return torch.where((name == 0)[:, None], self.counts[min(truth.count, 6)], out)
