"""Scenes for practice: what a learner finds hard, drawn more often than readers will meet it.

A tower meets one word in two scenes and one face in three; it learns to read from pages of
words, several times as many words a scene. A language model meets one question about a feeling
in five pictures; from scenes with one face, one in each. Held-out scenes are never drawn here:
all of this is the training split, and the model card is measured on scenes as they usually are.
"""

from __future__ import annotations

import numpy as np

from semascope.corpus.scenes import SpritePack
from semascope.corpus.scenes.compose import COUNTS, KINDS, Composer, Scene, SceneItem

CROWDED = (0.03, 0.11, 0.12, 0.14, 0.2, 0.2, 0.2)
"""More things a scene than readers will meet: each scene costs the same and teaches more names."""
MIXED = (0.62, 0.14, 0.06, 0.18)
"""More shapes and words than readers will meet: they are harder than pictures."""


class Pages(Composer):
    """Several words in one scene."""

    panel_share = 0.0

    def _fits(self, thing: SceneItem, things: list[SceneItem], wanted: int) -> bool:
        return all(t.name != thing.name for t in things)


class Crowd(Composer):
    """Faces and people among little else."""

    panel_share = 0.0

    def _sprite(self, rng: np.random.Generator, category: str | None = None) -> SceneItem:
        return super()._sprite(rng, "face" if rng.random() < 0.8 else category)


class OneWord(Composer):
    """One word, with other things or alone."""

    panel_share = 0.0

    def _thing(self, rng: np.random.Generator) -> SceneItem:
        thing = super()._thing(rng)
        while thing.word is None and rng.random() < 0.4:
            thing = super()._thing(rng)
        return thing

    def _fits(self, thing: SceneItem, things: list[SceneItem], wanted: int) -> bool:
        return (bool(things) or thing.word is not None) and super()._fits(thing, things, wanted)


class OneFeeling(Composer):
    """One thing that feels something, with others or alone."""

    panel_share = 0.0

    def __init__(self, pack: SpritePack) -> None:
        super().__init__(pack)
        self.felt = [s for s in pack.sprites if s.emotion]

    def _thing(self, rng: np.random.Generator) -> SceneItem:
        if rng.random() < 0.6:
            return super()._thing(rng)
        s = self.felt[rng.integers(len(self.felt))]
        return SceneItem(s.name, s.category, s.article, s, s.colour, emotion=s.emotion)

    def _fits(self, thing: SceneItem, things: list[SceneItem], wanted: int) -> bool:
        first = not things
        return first == (thing.emotion is not None) and super()._fits(thing, things, wanted)


class Maps(Composer):
    """Flags in a grid."""

    panel_share = 1.0


class Practice:
    """Scenes from several composers, each with its share, deterministic by seed and row."""

    def __init__(self, seed: int, parts: list[tuple[float, Composer]]) -> None:
        self.seed = seed
        self.shares = np.cumsum([share for share, _ in parts])
        self.composers = [composer for _, composer in parts]

    def scene(self, row: int) -> Scene:
        """One row."""
        rng = np.random.default_rng((self.seed, row))
        which = int(np.searchsorted(self.shares, rng.random() * self.shares[-1]))
        return self.composers[which].scene(rng)


def for_tower(pack: SpritePack, seed: int) -> Practice:
    """Crowded scenes, pages of words, shapes and faces."""
    some = (0.0, 0.05, 0.1, 0.15, 0.2, 0.2, 0.3)
    return Practice(
        seed,
        [
            (0.56, Composer(pack, counts=CROWDED, kinds=MIXED)),
            (0.24, Pages(pack, counts=some, kinds=(0.0, 0.0, 0.0, 1.0))),
            (0.10, Crowd(pack, counts=some, kinds=(0.9, 0.1, 0.0, 0.0))),
            (0.10, Composer(pack, counts=some, kinds=(0.1, 0.6, 0.3, 0.0))),
        ],
    )


def for_reader(pack: SpritePack, seed: int, counts: tuple[float, ...] = COUNTS) -> Practice:
    """Scenes as usual (or as full as ``counts`` says), more words, feelings and maps."""
    return Practice(
        seed,
        [
            (0.60, Composer(pack, counts=counts, kinds=KINDS)),
            (0.12, OneWord(pack)),
            (0.08, OneFeeling(pack)),
            (0.20, Maps(pack)),
        ],
    )
