"""The ceiling of detection: scores of explanations made from the very samples that judge them.

Held-out detection is below 1 for two reasons: the explanation may not generalise, or no explanation
of this kind separates the feature's samples, since it fires on several things. Explaining the
feature from the samples that judge it removes the first reason and leaves the second.
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
    """Mean score of explanations made from the samples that judge them; None if there are none.

    Features for which the explainer abstains are left out, as elsewhere.
    """
    other = swapper()
    words = explainer.explain([other.relabel(record) for record in records])
    values = [s.value for s in scorer.score(records, words) if s.kind == scorer.name]
    return mean_interval(np.array(values, np.float64)) if values else None
