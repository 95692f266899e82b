"""How well could words of this kind detect at best: named from the very samples that judge them.

Held-out detection falls short for two reasons. The words may not hold beyond the samples that they
were made from; or no words of the kind tell the feature's samples apart, since it fires on several
things. Naming the feature from the samples that judge it takes the first reason away: what is left
to 1 is the second. Knows records and an explainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from semascope.evidence.types import Exemplar, FeatureEvidence, Shown, Split
from semascope.explain.stats import Figure, mean_interval
from semascope.explain.types import Explainer, Scorer

_OTHER: dict[str, Split] = {"explain": "score", "score": "explain"}


class Swapper:
    """Makes records whose splits have changed places, each sample relabelled once."""

    def __init__(self) -> None:
        self._shown: dict[tuple[int, str], Shown] = {}

    def swap(self, record: FeatureEvidence) -> FeatureEvidence:
        """What was held out is to explain from, and the other way round."""
        return FeatureEvidence(
            index=record.index,
            top=tuple(map(self._exemplar, record.top)),
            intervals=tuple(map(self._exemplar, record.intervals)),
            silent=tuple(map(self._relabel, record.silent)),
            stats=record.stats,
        )

    def _exemplar(self, exemplar: Exemplar) -> Exemplar:
        return replace(exemplar, shown=self._relabel(exemplar.shown))

    def _relabel(self, shown: Shown) -> Shown:
        key = (shown.row, shown.id)
        known = self._shown.get(key)
        if known is None:
            split = _OTHER.get(shown.split, shown.split)
            known = self._shown[key] = replace(shown, split=split)
        return known


def ceiling(
    records: Sequence[FeatureEvidence], explainer: Explainer, scorer: Scorer
) -> Figure | None:
    """Mean of the scorer's main figure where words are made from what judges them; None for none.

    Features for which the explainer then abstains are left out, as elsewhere.
    """
    swapper = Swapper()
    words = explainer.explain([swapper.swap(record) for record in records])
    values = [s.value for s in scorer.score(records, words) if s.kind == scorer.name]
    return mean_interval(np.array(values, np.float64)) if values else None
