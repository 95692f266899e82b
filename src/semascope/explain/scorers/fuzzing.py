"""Fuzzing: do the words fit the very region that fired, and not another of the same sample?

Detection asks which samples fire; fuzzing (Paulo et al. 2024) asks where. Firing regions of
held-out exemplars against silent regions of the same samples, of the same number of tokens and
as compact, so that neither content of the rest, nor size, nor shape gives the answer away.
AUROC of a region judge's fits; chance is .5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semascope.evidence.types import FeatureEvidence
from semascope.explain.scorers.regions import RegionJudge, ScoredRegion, WordRegions, pair
from semascope.explain.shuffled_words import shuffled_words
from semascope.explain.text.exemplar_terms import distinct
from semascope.explain.types import Explanation, Score
from semascope.statistics import auroc_interval


class FuzzingScorer:
    """``fuzzing`` and ``fuzzing_shuffled``, of text or of pictures as the judge can tell."""

    name = "fuzzing"

    def __init__(
        self, judge: RegionJudge | None = None, *, least: int = 3, most: int = 16, seed: int = 0
    ) -> None:
        self.judge = judge or WordRegions()
        self.least = least
        self.most = most
        self.seed = seed

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Scores of every explained feature with enough regions that the judge can tell."""
        trials = [
            (record.index, explanation, self._regions(record))
            for record, explanation in zip(records, explanations, strict=True)
            if not explanation.abstained
        ]
        lent = shuffled_words([e.label for _, e, _ in trials], self.seed).tolist() if trials else []
        found = []
        for (feature, own, regions), j in zip(trials, lent, strict=True):
            found += self._one("fuzzing", feature, own, own.author, regions)
            if j >= 0:
                found += self._one("fuzzing_shuffled", feature, trials[j][1], own.author, regions)
        return found

    def _regions(self, record: FeatureEvidence) -> list[tuple[ScoredRegion, ScoredRegion]]:
        exemplars = distinct(record.split("score"))[: self.most]
        rng = np.random.default_rng((self.seed, record.index))
        pairs = (pair(exemplar, rng) for exemplar in exemplars)
        return [p for p in pairs if p is not None]

    def _one(
        self,
        kind: str,
        feature: int,
        explanation: Explanation,
        author: str,
        regions: list[tuple[ScoredRegion, ScoredRegion]],
    ) -> list[Score]:
        fits = self.judge.fit(explanation, [r for both in regions for r in both])
        firing, silent = fits[0::2], fits[1::2]
        told = np.isfinite(firing) & np.isfinite(silent)
        if int(told.sum()) < self.least:
            return []
        figure = auroc_interval(firing[told], silent[told], None, self.seed)
        detail = {"regions": int(told.sum()), "judge": self.judge.name}
        return [Score(feature, kind, figure.value, 0.5, *figure.interval, detail, author)]
