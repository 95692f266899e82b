"""What a feature is judged by: firing and silent samples of its own kind, texts in excerpts.

A long text holds most common words by chance, so texts are cut on a fixed grid of tokens and
the piece in which the feature fired stands for the whole (Paulo et al. 2024 cut pieces of 32).
The grid is the same for every feature: a piece is read once, and where in its piece a feature
fires says nothing. Pictures stay whole. Knows records; knows no words.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence
from semascope.explain.text.exemplar_terms import Mode, distinct, mode_of, overall
from semascope.subject.types import Kind

PIECE = 32
"""Tokens of one piece."""


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """One record of one split, ready to be told apart."""

    mode: Mode
    firing: list[Exemplar]
    """Strongest first; texts cut to the piece that holds the peak."""
    silent: list[EvidenceSample]
    """Of the feature's own kind: a picture is told from pictures, a text from texts, else every
    picture feature would look well explained by "a picture"."""


class ExcerptCutter:
    """Makes cases; every piece is cut once."""

    def __init__(self, piece: int = PIECE) -> None:
        self.piece = piece
        self._pieces: dict[tuple[int, str, int], EvidenceSample] = {}

    def cases(self, record: FeatureEvidence) -> Cases:
        """Cases of a record that was restricted to one split."""
        exemplars = distinct(record)
        modes = [mode_of(e) for e in exemplars]
        mode = overall((m, e.peak) for m, e in zip(modes, exemplars, strict=True))
        firing = [
            self._around(e) if m == "text" else e for m, e in zip(modes, exemplars, strict=True)
        ]
        return Cases(mode, firing, self.silent(record.silent, mode))

    def silent(self, samples: Iterable[EvidenceSample], mode: Mode) -> list[EvidenceSample]:
        """Those of the kind, texts cut to a piece that is chosen by the sample alone."""
        found = []
        for shown in samples:
            if shown.media and mode in ("picture", "both"):
                found.append(shown)
            elif mode in ("text", "both"):
                piece = self._some(shown)
                if piece is not None:
                    found.append(piece)
        return found

    def _around(self, exemplar: Exemplar) -> Exemplar:
        number = int(exemplar.activations.argmax()) // self.piece
        heat = exemplar.activations[number * self.piece : (number + 1) * self.piece]
        return Exemplar(self._piece(exemplar.shown, number), heat, exemplar.interval)

    def _some(self, shown: EvidenceSample) -> EvidenceSample | None:
        """A piece with text in it; None for a sample without."""
        starts = np.arange(0, len(shown.tokens), self.piece)
        text = np.add.reduceat(shown.kinds == Kind.TEXT, starts) if len(starts) else starts
        full = np.flatnonzero(text >= max(1, min(self.piece // 4, int(text.max(initial=0)))))
        if not len(full):
            return None
        return self._piece(shown, int(full[zlib.crc32(shown.id.encode()) % len(full)]))

    def _piece(self, shown: EvidenceSample, number: int) -> EvidenceSample:
        key = (shown.row, shown.id, number)
        known = self._pieces.get(key)
        if known is None:
            cut = slice(number * self.piece, (number + 1) * self.piece)
            known = self._pieces[key] = EvidenceSample(
                row=shown.row,
                id=f"{shown.id}@{cut.start}",
                tokens=shown.tokens[cut],
                kinds=shown.kinds[cut],
                rects=shown.rects[cut],
                image=shown.image[cut],
                # Without its picture: the words beside it are no part of the excerpt.
                media=(),
                sizes=(),
                split=shown.split,
            )
        return known
