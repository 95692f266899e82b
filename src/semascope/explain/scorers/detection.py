"""Detection: do an explanation's words tell, on samples never explained from, which ones fire?

A judge rates held-out samples, some on which the feature fires and some on which it is silent,
knowing the words only. The figure is the AUROC of its ratings (after Bills et al. 2023 and
Paulo et al. 2024, who use accuracy; AUROC needs no threshold and cannot be had by answering
always the same). Silent samples are of the feature's own kind: a feature of pictures is told
from pictures. Chance is .5; the control scores the words of another feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample, FeatureEvidence
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.shuffled_words import shuffled_words
from semascope.explain.text.excerpts import ExcerptCutter
from semascope.explain.types import Explanation, Judge, Score
from semascope.statistics import Floats, auroc_interval, average_precision_interval


@dataclass(frozen=True, slots=True, eq=False)
class DetectionCase:
    """One feature's held-out samples, firing ones first."""

    record: FeatureEvidence
    explanation: Explanation
    samples: tuple[EvidenceSample, ...]
    weights: Floats
    """(P,) peak of each firing sample as a share of the largest."""

    @property
    def positives(self) -> int:
        """How many fire."""
        return len(self.weights)


MOST_MISSING = 0.1
"""Share of a feature's judgements that may be missing."""


def lacking(ratings: Floats, positives: int, least: int, silent: bool = True) -> str:
    """Why judgements, firing samples first, give no figure; empty where they do."""
    told = np.isfinite(ratings)
    missing = int((~told).sum())
    enough = told[:positives].sum() >= least and (not silent or told[positives:].sum() >= least)
    if not missing or (missing <= MOST_MISSING * len(ratings) and enough):
        return ""
    return f"{missing} of {len(ratings)} judgements could not be read."


def _told(trial: DetectionCase, ratings: Floats) -> tuple[Floats, Floats, Floats]:
    """(P,) and (N,) ratings of firing and silent samples that have one, (P,) their weights."""
    p, told = trial.positives, np.isfinite(ratings)
    return ratings[:p][told[:p]], ratings[p:][told[p:]], trial.weights[told[:p]]


class DetectionScorer:
    """``detection`` (activation-weighted), ``detection_all`` (every firing sample alike, the
    weakest included), ``detection_ap`` and ``detection_shuffled``.

    ``split`` is "score"; the cascade alone looks at "explain", on the half that its explainer
    did not see.

    A judgement that is missing (NaN) is left out and counted; where more than ``MOST_MISSING`` of a
    feature's are, or too few are left, the feature has no score and ``missing`` says why.
    """

    name = "detection"

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
        """Scores of every feature with words and at least ``least`` samples of each kind."""
        pairs = zip(records, explanations, strict=True)
        made = (self.trial(r, e) for r, e in pairs if not e.abstained)
        trials = [t for t in made if t is not None]
        ratings = self._rate(trials, [t.explanation for t in trials])
        scores = [s for t, r in zip(trials, ratings, strict=True) for s in self._scores(t, r)]
        return scores + self._control(trials)

    def trial(self, record: FeatureEvidence, explanation: Explanation) -> DetectionCase | None:
        """The held-out samples, None where there are too few."""
        mine = record.split("score")
        cases = self._cutter.cases(mine)
        if min(len(cases.firing), len(cases.silent)) < self.least:
            return None
        weights = np.array([e.peak for e in cases.firing], np.float64)
        samples = (*(e.shown for e in cases.firing), *cases.silent)
        return DetectionCase(mine, explanation, samples, weights / weights.max())

    def _rate(
        self, trials: Sequence[DetectionCase], explanations: Sequence[Explanation]
    ) -> list[NDArray[np.float64]]:
        return self.judge.rate(explanations, [t.samples for t in trials])

    def _scores(self, trial: DetectionCase, ratings: Floats) -> list[Score]:
        why = lacking(ratings, trial.positives, self.least)
        if why:
            self.missing[trial.record.index] = why
            return []
        positive, negative, weights = _told(trial, ratings)
        weighted = auroc_interval(positive, negative, weights, self.seed)
        plain = auroc_interval(positive, negative, None, self.seed)
        unread, p = int(np.isnan(ratings).sum()), len(positive)
        ratings = np.concatenate([positive, negative])
        truth = np.arange(len(ratings)) < p
        precision = average_precision_interval(ratings, truth, self.seed)
        counts: dict[str, Any] = {"positives": p, "negatives": len(negative)}
        counts |= {"judge": self.judge.name} | ({"unread": unread} if unread else {})
        feature, author = trial.record.index, trial.explanation.author
        # Shown to a person, who asks which samples were missed.
        detail = counts | {"ratings": [round(float(r), 3) for r in ratings]}
        return [
            Score(feature, "detection", weighted.value, 0.5, *weighted.interval, detail, author),
            Score(feature, "detection_all", plain.value, 0.5, *plain.interval, counts, author),
            Score(
                feature,
                "detection_ap",
                precision.value,
                p / len(ratings),
                *precision.interval,
                counts,
                author,
            ),
        ]

    def _control(self, trials: Sequence[DetectionCase]) -> list[Score]:
        """The words of another feature on each feature's samples."""
        lent = shuffled_words([t.explanation.label for t in trials], self.seed).tolist()
        pairs = [(t, trials[j].explanation) for t, j in zip(trials, lent, strict=True) if j >= 0]
        found = []
        ratings = self._rate([t for t, _ in pairs], [e for _, e in pairs])
        for (trial, borrowed), rated in zip(pairs, ratings, strict=True):
            if lacking(rated, trial.positives, self.least):
                continue
            figure = auroc_interval(*_told(trial, rated), self.seed)
            detail, author = {"label": borrowed.label}, trial.explanation.author
            kind, feature = "detection_shuffled", trial.record.index
            found.append(Score(feature, kind, figure.value, 0.5, *figure.interval, detail, author))
        return found
