"""Specificity: how well do the words fit at each strength of the feature, from 0 to 3?

Grades of held-out firing samples (0 unrelated, 1 vaguely, 2 well, 3 exactly; Templeton et al.
2024), by tenth of [0, max]. A feature may mean one thing at its strongest and another below:
its histogram shows that where a mean of the top would hide it. ``consistency`` is the plain
share of samples that the judge says fit, as the multimodal-SAE paper measures with GPT-4o; its
baseline is the same judge on silent samples, which that paper left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import FeatureEvidence
from semascope.explain.scorers.detection import lacking
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.text.excerpts import ExcerptCutter
from semascope.explain.types import Explanation, Judge, Score
from semascope.statistics import Floats, mean_interval

_STEPS = np.array([0.25, 0.6, 0.95])
"""Fits from which the grades 1, 2 and 3 begin."""


def grades(fits: Floats) -> NDArray[np.int64]:
    """Fit in [0, 1] -> grade in {0, 1, 2, 3}."""
    return np.asarray(np.searchsorted(_STEPS, fits, side="right"), np.int64)


class SpecificityScorer:
    """``specificity`` 0–3 with its histogram, and ``consistency`` 0–1."""

    name = "specificity"

    def __init__(self, judge: Judge | None = None, *, least: int = 3, seed: int = 0) -> None:
        self.judge = judge or LexicalJudge()
        self.least = least
        self.seed = seed
        self.missing: dict[int, str] = {}
        """Features without a score because the judge failed, with the reason."""
        self._cutter = ExcerptCutter()

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Scores of every explained feature with enough held-out samples."""
        trials = []
        for record, explanation in zip(records, explanations, strict=True):
            cases = self._cutter.cases(record.split("score"))
            if not explanation.abstained and len(cases.firing) >= self.least:
                trials.append((record, explanation, cases.firing, cases.silent))
        samples = [[*(e.shown for e in fired), *silent] for _, _, fired, silent in trials]
        ratings = self.judge.rate([t[1] for t in trials], samples)
        found: list[Score] = []
        for (record, explanation, fired, _), rating in zip(trials, ratings, strict=True):
            strength = np.array([e.peak for e in fired])
            why = lacking(rating, len(fired), self.least, silent=False)
            if why:
                self.missing[record.index] = why
                continue
            found += self._one(record, explanation, strength, rating)
        return found

    def _one(
        self, record: FeatureEvidence, explanation: Explanation, strength: Floats, rating: Floats
    ) -> list[Score]:
        told, n = np.isfinite(rating), len(strength)
        strength, firing, quiet = strength[told[:n]], rating[:n][told[:n]], rating[n:][told[n:]]
        n = len(strength)
        graded, silent = grades(firing), grades(quiet)
        top = record.stats.get("max", float(strength.max()))
        tenth = np.minimum((10 * strength / max(top, 1e-12)).astype(int), 9)
        histogram = np.zeros((10, 4), int)
        np.add.at(histogram, (tenth, graded), 1)
        detail = {"histogram": histogram.tolist(), "judge": self.judge.name}
        base = float(silent.mean()) if len(silent) else 0.0
        a = mean_interval(graded.astype(np.float64), self.seed)
        b = mean_interval((graded >= 2).astype(np.float64), self.seed)
        says_yes = float((silent >= 2).mean()) if len(silent) else 0.0
        feature, author = record.index, explanation.author
        return [
            Score(feature, "specificity", a.value, base, *a.interval, detail, author),
            Score(feature, "consistency", b.value, says_yes, *b.interval, {"n": n}, author),
        ]
