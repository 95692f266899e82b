"""Cheap explainers first, dear ones only where the cheap words score low; and best of n.

Both choose on a third of the explain split that no competing explainer saw (``folds``), never
on the score split. Knows explainers and a scorer by protocol only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from semascope.evidence.types import FeatureEvidence
from semascope.explain.explainers.folds import FoldMaker, selection
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.types import Cost, Explainer, Explanation, Scorer


@dataclass(slots=True)
class Saving:
    """What a cascade asked and kept."""

    features: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    """Features put to each explainer."""
    kept: Counter[str] = field(default_factory=Counter)
    """Features whose final words are its."""
    cost: dict[str, Cost] = field(default_factory=dict)

    def share(self, name: str) -> float:
        """Of all features, the share that this explainer was asked about."""
        return self.asked[name] / max(self.features, 1)


class Cascade:
    """``steps``, cheapest first; the next is asked where the best score so far is below ``bar``.

    Of all features at most the share ``most`` is put to any later step, the worst off first. An
    explanation whose score cannot be taken (too few samples) counts as .5, chance. The first step
    explains anew from the whole explain split once it has won, being cheap; words of later steps
    are kept as they were given.
    """

    name = "cascade"

    def __init__(
        self,
        steps: Sequence[Explainer],
        *,
        scorer: Scorer | None = None,
        bar: float = 0.85,
        most: float = 1.0,
    ) -> None:
        self.steps = tuple(steps)
        # Held-back thirds are small: two samples of each kind must do.
        self.scorer = scorer or DetectionScorer(least=2)
        self.bar = bar
        self.most = most
        self.saving = Saving()
        self._folder = FoldMaker()
        self._asked = [0] * len(self.steps)

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order; each carries the cost of all that was asked."""
        folded = [self._folder.fold(record) for record in records]
        best: dict[int, tuple[float, Explanation]] = {}
        spent: dict[int, Cost] = {record.index: Cost() for record in records}
        replies: dict[int, dict[str, str]] = {record.index: {} for record in records}
        for number, step in enumerate(self.steps):
            scores = {feature: value for feature, (value, _) in best.items()}
            asked = self.onward(number, scores) if number else list(spent)
            if not asked:
                continue
            self._asked[number] += len(asked)
            made = self._ask(step, [r for r in folded if r.index in set(asked)])
            for explanation, value in made:
                spent[explanation.feature] += explanation.cost
                replies[explanation.feature] |= explanation.replies
                if explanation.feature not in best or value > best[explanation.feature][0]:
                    best[explanation.feature] = (value, explanation)
        self.saving.features += len(records)
        final = self._final(records, best, spent)
        return [_with_replies(words, replies[words.feature]) for words in final]

    def onward(self, number: int, scores: Mapping[int, float]) -> list[int]:
        """The features that are put to step ``number``, of some with their best scores so far.

        Those below the bar, the worst first; of all that were ever explained no more than the
        share ``most``.
        """
        low = sorted((f for f, score in scores.items() if score < self.bar), key=scores.__getitem__)
        seen = self.saving.features + len(scores)
        return low[: max(0, math.floor(self.most * seen + 1e-9) - self._asked[number])]

    def _ask(
        self, step: Explainer, records: Sequence[FeatureEvidence]
    ) -> list[tuple[Explanation, float]]:
        made = step.explain(records)
        self.saving.asked[step.name] += len(records)
        total = sum((e.cost for e in made), Cost())
        self.saving.cost[step.name] = self.saving.cost.get(step.name, Cost()) + total
        values = selection(self.scorer, records, made)
        return [(e, 0.0 if e.abstained else values.get(e.feature, 0.5)) for e in made]

    def _final(
        self,
        records: Sequence[FeatureEvidence],
        best: dict[int, tuple[float, Explanation]],
        spent: dict[int, Cost],
    ) -> list[Explanation]:
        first = self.steps[0]
        again = [r for r in records if best[r.index][1].author == first.name]
        anew = {e.feature: e for e in first.explain(again)} if again else {}
        final = []
        for record in records:
            words = anew.get(record.index, best[record.index][1])
            if not words.abstained:
                self.saving.kept[words.author] += 1
            final.append(replace(words, cost=spent[record.index]))
        return final


def _with_replies(words: Explanation, replies: Mapping[str, str]) -> Explanation:
    """The words with what came of every question; an abstention tells the failures too."""
    failures = [f"{who}: {why}" for who, why in replies.items() if why and why != words.description]
    description = words.description
    if words.abstained and failures:
        description = " ".join((description, *failures)).strip()
    return replace(words, description=description, replies=dict(replies))


class BestOf:
    """Asks all of ``explainers`` about every record and keeps the words that score best.

    For best of n of one LMM, give it n times with other seeds.
    """

    name = "best_of"

    def __init__(self, explainers: Sequence[Explainer], *, scorer: Scorer | None = None) -> None:
        # A bar above any score makes a cascade that always asks on.
        self._cascade = Cascade(explainers, scorer=scorer, bar=float("inf"))

    @property
    def steps(self) -> tuple[Explainer, ...]:
        """Who is asked."""
        return self._cascade.steps

    @property
    def saving(self) -> Saving:
        """What was asked and kept."""
        return self._cascade.saving

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order."""
        return self._cascade.explain(records)
