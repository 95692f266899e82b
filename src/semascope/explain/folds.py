"""A second split inside the explain split: what a choice between explanations may look at.

Choosing the best of several explanations by their score on the score split would spend it: the
winner's score would be too good. So a third of the explain split is held back from explainers
while they compete (``fold``), and the score split is left for the end.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

from semascope.evidence.types import Exemplar, FeatureEvidence, Shown
from semascope.explain.types import Explanation, Scorer

THIRDS = 3


class Folder:
    """Makes folded records, each sample relabelled once."""

    def __init__(self) -> None:
        self._shown: dict[tuple[int, str], Shown] = {}

    def fold(self, record: FeatureEvidence) -> FeatureEvidence:
        """The explain split alone: two thirds of its samples stay, one third becomes "score".

        A sample falls on the same side for every feature.
        """
        mine = record.split("explain")
        return FeatureEvidence(
            index=record.index,
            top=tuple(self._exemplar(e) for e in mine.top),
            intervals=tuple(self._exemplar(e) for e in mine.intervals),
            silent=tuple(self._relabel(s) for s in mine.silent),
            stats=record.stats,
        )

    def _exemplar(self, exemplar: Exemplar) -> Exemplar:
        return replace(exemplar, shown=self._relabel(exemplar.shown))

    def _relabel(self, shown: Shown) -> Shown:
        if zlib.crc32(shown.id.encode()) % THIRDS:
            return shown
        key = (shown.row, shown.id)
        known = self._shown.get(key)
        if known is None:
            known = self._shown[key] = replace(shown, split="score")
        return known


def selection(
    scorer: Scorer, folded: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
) -> dict[int, float]:
    """By feature: the scorer's main figure on the third that was held back."""
    scores = scorer.score(folded, explanations)
    return {s.feature: s.value for s in scores if s.kind == scorer.name}
