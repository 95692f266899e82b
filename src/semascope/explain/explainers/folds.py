"""A second split inside the explain split: what a choice between explanations may look at.

Choosing the best of several explanations by their score on the score split would spend it: the
winner's score would be too good. So a third of the explain split is held back from explainers
while they compete (``fold``), and the score split is left for the end.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence, Split
from semascope.explain.types import Explanation, Scorer

THIRDS = 3


class Relabeller:
    """Moves samples between the splits by a rule that sees the sample alone.

    A sample falls on the same side for every feature, and is relabelled once.
    """

    def __init__(self, rule: Callable[[EvidenceSample], Split]) -> None:
        self._rule = rule
        self._shown: dict[tuple[int, str], EvidenceSample] = {}

    def relabel(self, record: FeatureEvidence) -> FeatureEvidence:
        """The record with every sample on the side that the rule says."""
        return FeatureEvidence(
            index=record.index,
            top=tuple(map(self._exemplar, record.top)),
            intervals=tuple(map(self._exemplar, record.intervals)),
            silent=tuple(map(self._sample, record.silent)),
            stats=record.stats,
        )

    def _exemplar(self, exemplar: Exemplar) -> Exemplar:
        return replace(exemplar, shown=self._sample(exemplar.shown))

    def _sample(self, shown: EvidenceSample) -> EvidenceSample:
        split = self._rule(shown)
        if split == shown.split:
            return shown
        key = (shown.row, shown.id)
        known = self._shown.get(key)
        if known is None:
            known = self._shown[key] = replace(shown, split=split)
        return known


class FoldMaker(Relabeller):
    """Makes folded records."""

    def __init__(self) -> None:
        super().__init__(_third)

    def fold(self, record: FeatureEvidence) -> FeatureEvidence:
        """The explain split alone: two thirds of its samples stay, one third becomes "score"."""
        return self.relabel(record.split("explain"))


def _third(shown: EvidenceSample) -> Split:
    return shown.split if zlib.crc32(shown.id.encode()) % THIRDS else "score"


def swapper() -> Relabeller:
    """What was held out is to explain from, and the other way round."""
    return Relabeller(lambda shown: "explain" if shown.split == "score" else "score")


def selection(
    scorer: Scorer, folded: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
) -> dict[int, float]:
    """By feature: the scorer's main figure on the third that was held back."""
    scores = scorer.score(folded, explanations)
    return {s.feature: s.value for s in scores if s.kind == scorer.name}
