"""Told apart: do a feature's words fit its exemplars better than its nearest neighbours' words do?

Detection asks whether the words tell active samples from silent ones; features that share a label
("number") all pass. Here every held-out exemplar of a feature is assigned to one of six
explanations: the feature's own and those of its five nearest features. The figure is the share
that is assigned to its own. Chance is one in six, or one in n + 1 where only n neighbours have
words. The control shuffles the six explanations, once for each feature. Samples are those of
detection, texts cut to 32 tokens without a mark of where the feature is active; shorter pieces
would change the figure little, since neighbours mostly fire on the same tokens.

Ratings have to be comparable from one explanation to the next, since the largest wins. Those of
``LexicalJudge`` are: 1 means that what the words name is in the sample, whatever they name. The
nearness in meaning that its word vectors add, at most .2, is larger for some labels than for others
on any sample. Explanations with equal ratings share the exemplar, so that of two features with the
same words each gets half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample, FeatureEvidence
from semascope.explain.scorers.detection import MOST_MISSING
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.text.excerpts import ExcerptCutter
from semascope.explain.types import Explanation, Judge, Score
from semascope.statistics import Floats, mean_interval

Neighbours = Callable[[int], Sequence[Explanation]]
"""The explanations of a feature's nearest features, nearest first; none that abstained."""
NEIGHBOURS = 5
TIE = 1e-9
"""Ratings that differ by less are equal."""


@runtime_checkable
class Chooser(Protocol):
    """Says which of several explanations fits a sample best, without seeing any activation."""

    @property
    def name(self) -> str:
        """Who chooses."""
        ...

    def choose(
        self,
        candidates: Sequence[Sequence[Explanation]],
        samples: Sequence[Sequence[EvidenceSample]],
    ) -> list[Floats]:
        """For each group of k candidates, (n, k) shares of each of its n samples.

        Rows add up to 1; a row is NaN where the answer could not be read.
        """
        ...


class LargestRating:
    """Chooses the explanation that a judge rates highest; equal ratings share the sample."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @property
    def name(self) -> str:
        """The judge."""
        return self.judge.name

    def choose(
        self,
        candidates: Sequence[Sequence[Explanation]],
        samples: Sequence[Sequence[EvidenceSample]],
    ) -> list[Floats]:
        """Shares by rating, (n, k) for each group; all groups are rated in one call."""
        explanations = [e for group in candidates for e in group]
        repeated = [s for g, s in zip(candidates, samples, strict=True) for _ in g]
        ratings = iter(self.judge.rate(explanations, repeated))
        return [shares(np.stack([next(ratings) for _ in group], axis=1)) for group in candidates]


def shares(ratings: Floats) -> Floats:
    """(n, k) ratings to shares: 1 for the largest of a row, split evenly among equals.

    A row with a rating that is missing (NaN) is NaN.
    """
    largest = ratings >= ratings.max(axis=1, keepdims=True) - TIE
    split = largest / np.maximum(largest.sum(axis=1, keepdims=True), 1)
    return np.where(np.isfinite(ratings).all(axis=1, keepdims=True), split, np.nan)


class ToldApartScorer:
    """``told_apart`` and ``told_apart_shuffled``: accuracy among a feature's nearest features.

    ``most`` exemplars of each feature are judged, spread evenly over its strengths. Features
    without a neighbour that has words, or with fewer than ``least`` exemplars, have no score.
    """

    name = "told_apart"

    def __init__(
        self,
        neighbours: Neighbours,
        chooser: Chooser | None = None,
        *,
        least: int = 3,
        most: int = 16,
        seed: int = 0,
    ) -> None:
        self.neighbours = neighbours
        self.chooser = chooser or LargestRating(LexicalJudge())
        self.least = least
        self.most = most
        self.seed = seed
        self.missing: dict[int, str] = {}
        """Features without a score because the judge failed, with the reason."""
        self._cutter = ExcerptCutter()

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Both scores of every explained feature with neighbours and enough exemplars."""
        candidates, samples = [], []
        for record, explanation in zip(records, explanations, strict=True):
            if explanation.abstained:
                continue
            nearest = list(self.neighbours(record.index))[:NEIGHBOURS]
            exemplars = self._exemplars(record)
            if nearest and len(exemplars) >= self.least:
                candidates.append([explanation, *nearest])
                samples.append(exemplars)
        assigned = self.chooser.choose(candidates, samples) if candidates else []
        return [
            score
            for group, some in zip(candidates, assigned, strict=True)
            for score in self._scores(group, some)
        ]

    def _exemplars(self, record: FeatureEvidence) -> list[EvidenceSample]:
        """Held-out exemplars, texts cut to the piece with the peak; spread from strong to weak."""
        active = self._cutter.cases(record.split("score")).firing
        if len(active) > self.most:
            places = np.linspace(0, len(active) - 1, self.most).round().astype(int)
            active = [active[place] for place in places]
        return [exemplar.shown for exemplar in active]

    def _scores(self, group: Sequence[Explanation], assigned: Floats) -> list[Score]:
        """``group``: the feature's own explanation first; ``assigned``: (n, k) shares."""
        own, k = group[0], len(group)
        read = assigned[np.isfinite(assigned[:, 0])]
        unread = len(assigned) - len(read)
        if unread > MOST_MISSING * len(assigned) or len(read) < self.least:
            self.missing[own.feature] = f"{unread} of {len(assigned)} choices could not be read."
            return []
        lent = int(np.random.default_rng((self.seed, own.feature)).integers(k))
        detail: dict[str, Any] = {
            "judge": self.chooser.name,
            "exemplars": len(read),
            "among": [explanation.feature for explanation in group],
            "assigned": [round(float(share), 3) for share in read.mean(axis=0)],
        }
        return [
            self._figure("told_apart", own, read[:, 0], k, detail),
            self._figure(
                "told_apart_shuffled", own, read[:, lent], k, {"words_of": group[lent].feature}
            ),
        ]

    def _figure(
        self, kind: str, own: Explanation, shares: Floats, k: int, detail: dict[str, Any]
    ) -> Score:
        figure = mean_interval(np.asarray(shares, np.float64), self.seed)
        return Score(own.feature, kind, figure.value, 1.0 / k, *figure.interval, detail, own.author)


def nearest_explained(
    by_direction: NDArray[np.int32],
    by_firing: NDArray[np.int32],
    explanations: dict[int, Explanation],
) -> Neighbours:
    """Neighbours from (width, n) tables of nearest features, by direction and by co-firing.

    The two lists are merged by rank, directions first; −1 pads a row. Features without words are
    left out, so the nearest explained feature may be the fourth in a list.
    """

    def of(feature: int) -> list[Explanation]:
        merged = np.stack([by_direction[feature], by_firing[feature]], axis=1).ravel().tolist()
        order = dict.fromkeys(int(index) for index in merged if index >= 0 and index != feature)
        return [explanations[index] for index in order if index in explanations][:NEIGHBOURS]

    return of
