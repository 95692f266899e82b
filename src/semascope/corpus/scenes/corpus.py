"""Scenes as a corpus: row i of a seed and split is always the same picture and the same words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from semascope.corpus.sample import Sample, SceneTruth, SkipReport, Turn
from semascope.corpus.scenes.compose import COUNTS, KINDS, Composer, Scene
from semascope.corpus.scenes.language import QuestionWriter, caption
from semascope.corpus.scenes.sprites import DATA, SpritePack
from semascope.errors import CorpusError

SPLITS = ("train", "heldout", "styles")
"""Training scenes; scenes with pairs never seen together; sprites by other artists, words in
a typeface that no training scene uses."""


class SceneCorpus:
    """``n`` scenes drawn on demand.

    ``turns`` says what stands beside the picture: 'caption' (describe it, and the answer),
    'questions' (every question with its answer), or 'none' (the picture alone).
    """

    def __init__(
        self,
        n: int,
        seed: int = 0,
        split: str = "train",
        size: int | tuple[int, int] = 128,
        turns: str = "caption",
        counts: tuple[float, ...] = COUNTS,
        kinds: tuple[float, ...] = KINDS,
    ) -> None:
        if split not in SPLITS:
            raise CorpusError(f"Scenes have no split {split!r}; take one of {', '.join(SPLITS)}.")
        if turns not in ("caption", "questions", "none"):
            raise CorpusError(f"turns must be caption, questions or none, not {turns!r}.")
        self.n, self.seed, self.split, self.turns, self.counts = n, seed, split, turns, counts
        self.kinds = kinds
        self.size = (size, size) if isinstance(size, int) else size
        if min(self.size) < 16:
            raise CorpusError(
                f"A scene of {self.size[0]} × {self.size[1]} has no room; take 16 or more."
            )
        self.name = f"scenes:{split}"
        self.skipped = SkipReport()

    def __len__(self) -> int:
        return self.n

    @cached_property
    def _parts(self) -> tuple[Composer, QuestionWriter]:
        pack = SpritePack.load()
        return Composer(pack, self.split, self.size, self.counts, self.kinds), QuestionWriter(pack)

    def fingerprint(self) -> str:
        """Hash of the sprite pack and of every option; the number of rows is not part of a row."""
        pack = hashlib.sha256((DATA / "sprites.json").read_bytes()).hexdigest()[:16]
        options = (self.seed, self.split, self.size, self.turns, self.counts, self.kinds, self.n)
        text = f"scenes-1|{pack}|{options}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def scene(self, row: int) -> tuple[Scene, SceneTruth]:
        """Draw one row with its ground truth."""
        composer, asker = self._parts
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), row))
        scene = composer.scene(rng)
        truth = SceneTruth(
            tuple(scene.objects),
            scene.background,
            caption(scene.things),
            asker.questions(scene, rng),
        )
        return scene, truth

    def sample(self, row: int) -> Sample:
        """One row as a sample."""
        scene, truth = self.scene(row)
        return Sample(
            id=f"{self.split}-{self.seed}-{row}",
            turns=self._turns(truth),
            images=(scene.image,),
            truth=truth,
            source=self.name,
        )

    def _turns(self, truth: SceneTruth) -> tuple[Turn, ...]:
        if self.turns == "none":
            return (Turn("user", "", images=1),)
        asked = truth.questions[:1] if self.turns == "caption" else truth.questions
        turns: list[Turn] = []
        for i, q in enumerate(asked):
            turns += [Turn("user", q.text, images=int(i == 0)), Turn("assistant", q.answer)]
        return tuple(turns)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        """Rows [start, stop) in order; no scene is ever bad."""
        for row in range(start, min(self.n, self.n if stop is None else stop)):
            yield row, self.sample(row)
