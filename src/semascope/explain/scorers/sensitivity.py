"""Sensitivity: does the feature fire where the words say that it should?

All other scores start from samples that fired. Here the words come first: scenes of the
described thing are drawn, scenes of other features' things beside them, and the feature's
activation must tell them apart. AUROC; chance is .5. Drawing and running the subject are the
caller's: this module knows labels and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.sample import Sample
from semascope.evidence.types import FeatureEvidence
from semascope.explain.text import terms
from semascope.explain.types import Explanation, Score
from semascope.statistics import auroc_interval

Draw = Callable[[str, int, int], Sequence[Sample]]
"""``draw(label, n, seed)``: n samples of the thing, none where it cannot be drawn."""
Peaks = Callable[[Sequence[Sample], Sequence[int]], NDArray[np.floating]]
"""``peaks(samples, features)``: (n, F) largest activation of each feature on each sample."""


class SensitivityScorer:
    """``sensitivity`` of every explained feature whose label can be drawn."""

    name = "sensitivity"

    def __init__(self, draw: Draw, peaks: Peaks, *, each: int = 8, seed: int = 0) -> None:
        self.draw = draw
        self.peaks = peaks
        self.each = each
        self.seed = seed

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """One run of the subject for the whole batch: each label's scenes are drawn once."""
        said = [e for e in explanations if not e.abstained]
        labels = sorted({e.label for e in said})
        drawn = {label: list(self.draw(label, self.each, self.seed)) for label in labels}
        samples = [s for label in labels for s in drawn[label]]
        if not samples:
            return []
        owner = np.repeat(np.arange(len(labels)), [len(drawn[label]) for label in labels])
        activations = np.asarray(self.peaks(samples, [e.feature for e in said]), np.float64)
        found = []
        for column, explanation in enumerate(said):
            strangers = [i for i, other in enumerate(labels) if _apart(explanation.label, other)]
            mine = owner == labels.index(explanation.label)
            others = np.isin(owner, strangers)
            if mine.sum() < 2 or others.sum() < 2:
                continue
            heat = activations[:, column]
            figure = auroc_interval(heat[mine], heat[others], None, self.seed)
            detail = {
                "drawn": int(mine.sum()),
                "others": int(others.sum()),
                "fired": float((heat[mine] > 0).mean()),
                "fired_others": float((heat[others] > 0).mean()),
            }
            value = (figure.value, 0.5, figure.low, figure.high)
            found.append(Score(explanation.feature, self.name, *value, detail, explanation.author))
        return found


def _apart(label: str, other: str) -> bool:
    """Whether two labels share no word: "mango or apple" says nothing against "mango"."""
    mine = {stem for phrase in terms.alternatives(label) for stem in phrase}
    theirs = {stem for phrase in terms.alternatives(other) for stem in phrase}
    return not mine & theirs
