"""Two pairs of eyes for the language model: ideal ones from the truth, and the trained tower's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel

from recipes.sprite_llava.projector import Projector
from recipes.sprite_llava.targets import Vocabulary, patch_truth
from recipes.sprite_llava.tower import READ, features, pixels, vision_config
from recipes.sprite_llava.words import WordSpace
from semascope.corpus.scenes import SpritePack
from semascope.corpus.scenes.compose import Scene


class Oracle:
    """Picture tokens from the truth, with mistakes, and with little background."""

    def __init__(self, words: WordSpace, vocabulary: Vocabulary, rng: np.random.Generator) -> None:
        self.words, self.vocabulary, self.rng = words, vocabulary, rng
        pack_ = SpritePack.load()
        kinds: dict[str, list[int]] = {}
        for s in pack_.sprites:
            kinds.setdefault(s.category, []).append(vocabulary.sprite[s.name])
        self.alike = {c: np.array(group) for group in kinds.values() for c in group}

    def see(self, scene: Scene) -> tuple[Tensor, list[int]]:
        """(P, d) tokens and which patches they are, P between 6 and 64."""
        truth, rng = patch_truth(scene, self.vocabulary), self.rng
        wrong = (truth.name > 0) & (rng.random(len(truth.name)) < 0.10)
        name = truth.name.copy()
        for i in np.flatnonzero(wrong):
            group = self.alike.get(int(name[i]))
            name[i] = rng.choice(group) if group is not None and rng.random() < 0.7 else 0
        rows = self.words.target(replace(truth, name=name))
        rows = rows * torch.from_numpy(rng.uniform(0.7, 1.1, (len(rows), 1)).astype(np.float32))
        rows = rows + torch.from_numpy(rng.normal(0, 0.045, rows.shape).astype(np.float32))
        keep = truth.name > 0
        if rng.random() < 0.85:
            share = rng.uniform(0.05, 0.4)
            empty = rng.random(len(keep)) < share
            empty[rng.integers(len(keep))] = True
            thin = rng.random(len(keep)) < rng.uniform(0.4, 1.0)
            first = np.zeros(len(keep), bool)
            first[np.unique(truth.name, return_index=True)[1]] = True
            keep = (keep & (thin | first)) | (~keep & empty)
        else:
            keep = np.ones(len(keep), bool)
        return rows[torch.from_numpy(keep)], np.flatnonzero(keep).tolist()


class Eyes(nn.Module):
    """The trained tower through the projector."""

    def __init__(self, folder: Path, d: int) -> None:
        super().__init__()
        self.path = folder / "tower.pt"
        self.tower = CLIPVisionModel(vision_config())
        self.projector = Projector(READ * self.tower.config.hidden_size, d)
        self.read = 0.0
        self.refresh()
        self.tower.requires_grad_(False).eval()

    def refresh(self) -> None:
        """Take up what step 1 has learned since, where it still runs on another core: what the
        projector says stays words, so better eyes need no other reader."""
        if self.path.stat().st_mtime != self.read:
            self.read = self.path.stat().st_mtime
            kept = torch.load(self.path, weights_only=True)
            self.tower.load_state_dict(kept["tower"])
            self.projector.load_state_dict(kept["projector"])

    def see(self, scenes: list[Scene]) -> Tensor:
        """(B, 64, d)."""
        with torch.no_grad():
            seen = features(self.tower, pixels([np.asarray(s.image) for s in scenes]))
        return self.projector(seen)
