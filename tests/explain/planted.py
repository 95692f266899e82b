"""Evidence made by hand: features planted to be right, wrong or half right about a concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence, Split
from semascope.subject.types import Kind

GRID = 8
PATCH = 16
NAMES = (
    "mango",
    "banana",
    "french fries",
    "violin",
    "cat",
    "red circle",
    "flag of Bolivia",
    "tent",
    "bat",
    "piano",
    "glass of water",
    "umbrella",
)
VERBS = ["walked", "spoke", "listened", "wandered", "returned", "vanished", "waited", "remembered"]
NOUNS = ["harbour", "garden", "letter", "captain", "winter", "candle", "orchard", "silence"]


def rects() -> NDArray[np.float32]:
    """(64, 4) of an 8 × 8 grid on a 128-px picture."""
    y, x = np.divmod(np.arange(GRID * GRID), GRID)
    return (np.stack([x, y, x + 1, y + 1], 1) * PATCH).astype(np.float32)


def picture(
    row: int, names: Sequence[str], rng: np.random.Generator, split: Split
) -> EvidenceSample:
    """A scene: each thing a block of 2 × 2 patches; caption names all; 2 template tokens first."""
    n = GRID * GRID
    cells = rng.permutation(16)[: len(names)]
    objects = []
    for name, cell in zip(names, cells.tolist(), strict=True):
        r, c = divmod(cell, 4)
        grid = np.zeros((GRID, GRID), np.float16)
        grid[2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = 1
        share = np.concatenate([np.zeros(2, np.float16), grid.ravel()])
        colour = "red" if name.startswith("red ") else None
        objects.append(
            {"name": name, "category": "thing", "colour": colour, "texture": None, "emotion": None,
             "word": None, "box": [0, 0, 1, 1], "patches": share}
        )  # fmt: skip
    caption = " and ".join(f"a {name}" for name in names) + " on a plain background"
    nowhere = np.full((2, 4), np.nan, np.float32)
    return EvidenceSample(
        row=row,
        id=f"scene/{row}",
        tokens=("<s>", "user", *["<image>"] * n),
        kinds=np.array([Kind.SPECIAL, Kind.SPECIAL, *[Kind.IMAGE] * n], np.int8),
        rects=np.concatenate([nowhere, rects()]),
        image=np.array([-1, -1, *[0] * n], np.int16),
        media=(f"{row:064x}",),
        sizes=((128, 128),),
        split=split,
        truth={"caption": caption, "background": "plain grey", "objects": objects},
    )


def text(row: int, tokens: Sequence[str], split: Split) -> EvidenceSample:
    """A document of text tokens after one template token."""
    n = len(tokens)
    return EvidenceSample(
        row=row,
        id=f"text/{row}",
        tokens=("<s>", *tokens),
        kinds=np.array([Kind.SPECIAL, *[Kind.TEXT] * n], np.int8),
        rects=np.full((n + 1, 4), np.nan, np.float32),
        image=np.full(n + 1, -1, np.int16),
        media=(),
        sizes=(),
        split=split,
    )


def on_object(shown: EvidenceSample, name: str, strength: float = 1.0) -> Exemplar:
    """Fires on the patches of the named thing alone."""
    share = next(o["patches"] for o in shown.truth["objects"] if o["name"] == name)
    return Exemplar(shown, (np.asarray(share, np.float32) * strength))


def on_tokens(shown: EvidenceSample, token: str, strength: float = 1.0) -> Exemplar:
    """Fires on every token that reads so."""
    hits = np.array([t == token for t in shown.tokens], np.float32)
    return Exemplar(shown, hits * strength)


@dataclass
class World:
    """A corpus in which every thing and word is somewhere, and features about them."""

    seed: int = 0
    n: int = 400
    rng: np.random.Generator = field(init=False)
    scenes: list[EvidenceSample] = field(init=False)
    texts: list[EvidenceSample] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.scenes = [self._scene(row) for row in range(self.n)]
        self.texts = [self._text(self.n + row) for row in range(self.n)]

    def _split(self, row: int) -> Split:
        return "score" if row % 2 else "explain"

    def _scene(self, row: int) -> EvidenceSample:
        count = int(self.rng.integers(1, 5))
        names = [NAMES[i] for i in self.rng.permutation(len(NAMES))[:count]]
        return picture(row, names, self.rng, self._split(row))

    def _text(self, row: int) -> EvidenceSample:
        tokens = []
        for _ in range(5):
            noun, verb = self.rng.choice(NOUNS), self.rng.choice(VERBS)
            tokens += [" The", f" {noun}", f" {verb}", " from", " the", " old", " house", "."]
            if self.rng.random() < 0.15:
                tokens += [" It", " cost", f" {self.rng.integers(1, 99)}.{self.rng.integers(9)}"]
        return text(row, tokens, self._split(row))

    def scenes_with(self, name: str, there: bool = True) -> list[EvidenceSample]:
        """Scenes that hold the thing, or do not."""
        return [
            s for s in self.scenes if (name in [o["name"] for o in s.truth["objects"]]) == there
        ]

    def texts_with(self, token: str, there: bool = True) -> list[EvidenceSample]:
        """Texts with the token, or without."""
        return [s for s in self.texts if (token in s.tokens) == there]

    def sees(self, index: int, name: str, *, top: int = 24, silent: int = 24) -> FeatureEvidence:
        """A feature that fires on one thing in pictures, exactly."""
        fired = [
            on_object(s, name, float(a))
            for s, a in zip(self.scenes_with(name)[:top], np.linspace(5, 2, top), strict=False)
        ]
        return evidence(index, fired, self.scenes_with(name, there=False)[:silent])

    def reads(self, index: int, token: str, *, top: int = 24, silent: int = 24) -> FeatureEvidence:
        """A feature that fires on one token of texts, exactly."""
        fired = [on_tokens(s, token, 3.0) for s in self.texts_with(token)[:top]]
        return evidence(index, fired, self.texts_with(token, there=False)[:silent])

    def noise(self, index: int, *, top: int = 24) -> FeatureEvidence:
        """A feature that fires anywhere on any picture."""
        chosen = self.rng.permutation(len(self.scenes))
        fired = []
        for i in chosen[:top]:
            shown = self.scenes[int(i)]
            heat = (self.rng.random(len(shown.tokens)) > 0.9) * (shown.kinds == Kind.IMAGE)
            heat[5] = 1.0
            fired.append(Exemplar(shown, heat.astype(np.float32)))
        silent = [self.scenes[int(i)] for i in chosen[top : 2 * top]]
        return evidence(index, fired, silent)

    def half(self, index: int, name: str, *, top: int = 24) -> FeatureEvidence:
        """A feature that fires on the thing in half of its samples, anywhere in the others."""
        right = self.sees(index, name, top=top // 2)
        wrong = self.noise(index, top=top // 2)
        return evidence(index, [*right.top, *wrong.top], [*right.silent, *wrong.silent])


def evidence(
    index: int, fired: Sequence[Exemplar], silent: Sequence[EvidenceSample], **stats: float
) -> FeatureEvidence:
    """A record, strongest first."""
    ordered = tuple(sorted(fired, key=lambda e: -e.peak))
    peak = ordered[0].peak if ordered else 0.0
    return FeatureEvidence(index, ordered, (), tuple(silent), {"max": peak, **stats})
