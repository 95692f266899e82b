"""Cheap explainers first, dear ones only where the cheap words score low; and best of n.

Both choose on a third of the explain split that no competing explainer saw (``folds``), never
on the score split. Knows explainers and a scorer by protocol only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from semascope.evidence.types import FeatureEvidence
from semascope.explain.detection import DetectionScorer
from semascope.explain.folds import Folder, selection
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

    An explanation whose score cannot be taken (too few samples) counts as .5, chance. The first
    step explains anew from the whole explain split once it has won, being cheap; words of later
    steps are kept as they were given.
    """

    name = "cascade"

    def __init__(
        self, steps: Sequence[Explainer], *, scorer: Scorer | None = None, bar: float = 0.85
    ) -> None:
        self.steps = tuple(steps)
        # Held-back thirds are small: two samples of each kind must do.
        self.scorer = scorer or DetectionScorer(least=2)
        self.bar = bar
        self.saving = Saving()
        self._folder = Folder()

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order; each carries the cost of all that was asked."""
        folded = [self._folder.fold(record) for record in records]
        best: dict[int, tuple[float, Explanation]] = {}
        spent: dict[int, Cost] = {record.index: Cost() for record in records}
        left = list(range(len(records)))
        for step in self.steps:
            if not left:
                break
            made = self._ask(step, [folded[i] for i in left])
            for explanation, value in made:
                spent[explanation.feature] += explanation.cost
                if explanation.feature not in best or value > best[explanation.feature][0]:
                    best[explanation.feature] = (value, explanation)
            left = [i for i in left if best[records[i].index][0] < self.bar]
        self.saving.features += len(records)
        return self._final(records, best, spent)

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
