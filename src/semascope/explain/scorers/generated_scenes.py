"""Scenes of whatever a label names, drawn fresh: a thing, a kind, a colour, a feeling, a word.

For asking whether a feature fires where its words say that it should (``sensitivity``), and what
the model itself can name. The pictures are in no corpus that was read. Knows the scene generator
and words; knows no model.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from semascope.corpus.sample import Sample, SceneTruth, Turn
from semascope.corpus.scenes import SpritePack
from semascope.corpus.scenes.colours import NAMES as COLOURS
from semascope.corpus.scenes.compose import Composer, SceneItem
from semascope.corpus.scenes.language import caption
from semascope.corpus.scenes.sprites import SHAPES, TEXTURES
from semascope.explain.text import terms

Maker = Callable[[np.random.Generator], SceneItem]
ASK = "What is in the picture?"
COUNTS = (0.0, 0.45, 0.35, 0.2)
"""How many things stand in a drawn scene, the wanted one included: 0, 1, 2, 3."""


class _Wanted(Composer):
    """Scenes whose first thing is the wanted one."""

    def __init__(self, pack: SpritePack, maker: Maker, size: tuple[int, int]) -> None:
        super().__init__(pack, split="train", size=size, counts=COUNTS)
        self._maker = maker
        self._fresh = True

    def _things(self, rng: np.random.Generator) -> list[SceneItem]:
        self._fresh = True
        return super()._things(rng)

    def _panel(self, rng: np.random.Generator) -> list[SceneItem]:
        return self._things(rng)  # a map of flags shows nothing that was asked for

    def _thing(self, rng: np.random.Generator) -> SceneItem:
        if not self._fresh:
            return super()._thing(rng)
        self._fresh = False
        return self._maker(rng)


class SceneGenerator:
    """``draw(label, n, seed)``, as ``SensitivityScorer`` wants it."""

    def __init__(self, size: int = 128, *, ask: str = ASK) -> None:
        self.size = (size, size)
        self.ask = ask

    def __call__(self, label: str, n: int, seed: int) -> list[Sample]:
        """n scenes that hold what the label names; none where it cannot be drawn.

        Of alternatives ("mango or apple") each gets its turn.
        """
        makers = [m for phrase in terms.alternatives(label) if (m := maker(phrase)) is not None]
        makers += [_word(q.upper()) for q in terms.quoted(label) if q.upper() in _words()]
        return [self._draw(label, makers[i % len(makers)], i, seed) for i in range(n) if makers]

    def _draw(self, label: str, make: Maker, row: int, seed: int) -> Sample:
        key = zlib.crc32(label.encode())
        rng = np.random.default_rng((seed, key, row))
        scene = _Wanted(SpritePack.load(), make, self.size).scene(rng)
        truth = SceneTruth(tuple(scene.objects), scene.background, caption(scene.things))
        turn = Turn("user", self.ask, images=1)
        return Sample(
            id=f"drawn-{seed}-{key:08x}-{row}",
            turns=(turn,),
            images=(scene.image,),
            truth=truth,
            source="drawn",
        )


@lru_cache(maxsize=4096)
def maker(phrase: tuple[str, ...]) -> Maker | None:
    """What draws the thing that some stems name; None where nothing does."""
    asked = frozenset(phrase)
    if phrase and phrase[0] == "word" and len(phrase) == 2:
        return _word(phrase[1].upper()) if phrase[1].upper() in _words() else None
    sprites = [s for s in SpritePack.load().sprites if asked == _stems(s.name)]
    sprites = sprites or [
        s
        for s in SpritePack.load().sprites
        if asked == _stems(s.category) or (s.emotion and asked == _telling(s.emotion))
    ]
    sprites = sprites or [s for s in SpritePack.load().sprites if asked < _stems(s.name)]
    if sprites:
        return _sprite([s.index for s in sprites])
    return _shape(asked)


def _sprite(indices: Sequence[int]) -> Maker:
    def make(rng: np.random.Generator) -> SceneItem:
        s = SpritePack.load().sprites[indices[int(rng.integers(len(indices)))]]
        return SceneItem(s.name, s.category, s.article, s, s.colour, emotion=s.emotion)

    return make


def _shape(asked: frozenset[str]) -> Maker | None:
    """A shape by its name, colour or texture, whatever of these the words hold."""
    shapes = [s for s in SHAPES if terms.stem(s) in asked]
    colours = [c for c in COLOURS if c in asked]
    textures = [t for t in TEXTURES if t in asked]
    known = {*map(terms.stem, shapes), *colours, *textures, "shape"}
    if not (shapes or colours or textures) or asked - known:
        return None

    def make(rng: np.random.Generator) -> SceneItem:
        name = shapes[0] if shapes else str(rng.choice(SHAPES[:4]))
        if textures:
            return SceneItem(name, "shape", "a", texture=textures[0])
        colour = colours[0] if colours else str(rng.choice(COLOURS))
        return SceneItem(name, "shape", "a", colour=colour)

    return make


def _word(word: str) -> Maker:
    thing = SceneItem(f"word {word}", "word", "the", word=word)

    def make(rng: np.random.Generator) -> SceneItem:
        return replace(thing, colour=str(rng.choice(COLOURS)))

    return make


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    return frozenset(SpritePack.load().words)


@lru_cache(maxsize=8192)
def _stems(text: str) -> frozenset[str]:
    return frozenset(terms.stem(text[a:b]) for a, b in terms.spans(text))


@lru_cache(maxsize=256)
def _telling(text: str) -> frozenset[str]:
    """Without stop words: a label "in love" is read back as ("love",)."""
    return frozenset(s for s in _stems(text) if terms.says_something(s))
