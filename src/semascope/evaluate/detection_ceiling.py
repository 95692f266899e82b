"""How well could words of this kind detect at best: named from the very samples that judge them.

Held-out detection falls short for two reasons. The words may not hold beyond the samples that they
were made from; or no words of the kind tell the feature's samples apart, since it fires on several
things. Naming the feature from the samples that judge it takes the first reason away: what is left
to 1 is the second. Knows records and an explainer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semascope.evidence.types import FeatureEvidence
from semascope.explain.explainers.folds import swapper
from semascope.explain.types import Explainer, Scorer
from semascope.statistics import Figure, mean_interval


def ceiling(
    records: Sequence[FeatureEvidence], explainer: Explainer, scorer: Scorer
) -> Figure | None:
    """Mean of the scorer's main figure where words are made from what judges them; None for none.

    Features for which the explainer then abstains are left out, as elsewhere.
    """
    other = swapper()
    words = explainer.explain([other.relabel(record) for record in records])
    values = [s.value for s in scorer.score(records, words) if s.kind == scorer.name]
    return mean_interval(np.array(values, np.float64)) if values else None
