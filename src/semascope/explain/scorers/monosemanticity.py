"""Monosemanticity: how alike are the samples that a feature fires on, weighted by how strongly?

The score of Pach et al. (2025), mean cosine over pairs weighted by both activations, in closed
form. Σ_{i<j} a_i a_j cos(e_i, e_j) = (‖Eᵀa‖² − Σ a²)/2 for unit rows e, and the same without the
cosines is ((Σa)² − Σ a²)/2, so

    MS = (‖Eᵀa‖² − Σ a²) / ((Σ a)² − Σ a²)

costs one product instead of all pairs. It needs vectors of the samples from another encoder,
and no words at all. Its chance level is the mean cosine of any two samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from semascope.evidence.types import EvidenceSample, FeatureEvidence
from semascope.explain.text.exemplar_terms import distinct
from semascope.explain.types import Explanation, Score
from semascope.statistics import Floats, percentiles, resample_counts

Vectors = Callable[[Sequence[EvidenceSample]], NDArray[np.float32]]
"""(n, d) vectors of samples, from an encoder that is not the subject."""


def unit(vectors: NDArray[np.floating]) -> Floats:
    """Rows of length 1; a zero row stays zero."""
    rows = np.asarray(vectors, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def monosemanticity(
    vectors: NDArray[np.floating], activations: NDArray[np.floating] | sparse.sparray
) -> Floats:
    """(n, d) vectors and (n, F) activations ≥ 0, dense or sparse -> (F,) scores.

    NaN for a feature that fires on fewer than two samples: it has no pair.
    """
    e = unit(vectors)
    a = activations if sparse.issparse(activations) else np.asarray(activations, np.float64)
    pooled = np.asarray(a.T @ e)  # (F, d)
    squares = np.asarray((a * a).sum(axis=0)).ravel()
    total = np.asarray(a.sum(axis=0)).ravel()
    pairs = total**2 - squares
    # Summing floats leaves a crumb where the true number of pairs is nought.
    alone = pairs <= 1e-9 * np.maximum(total**2, 1e-300)
    value = ((pooled**2).sum(1) - squares) / np.where(alone, 1.0, pairs)
    return np.asarray(np.where(alone, np.nan, value))


class MonosemanticityScorer:
    """``monosemanticity`` over held-out exemplars; scored whether there are words or not."""

    name = "monosemanticity"

    def __init__(self, vectors: Vectors, *, seed: int = 0) -> None:
        self.vectors = vectors
        self.seed = seed

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Scores of every feature with two held-out exemplars or more."""
        scores: list[Score] = []
        for record, explanation in zip(records, explanations, strict=True):
            mine = record.split("score")
            exemplars = distinct(mine)
            if len(exemplars) < 2:
                continue
            e = unit(self.vectors([x.shown for x in exemplars]))
            weights = np.array([x.peak for x in exemplars], np.float64)
            value = float(monosemanticity(e, weights[:, None])[0])
            # Samples drawn twice count as more weight, never as a pair with themselves.
            values = monosemanticity(e, (resample_counts(len(weights), self.seed) * weights).T)
            low, high = percentiles(values[np.isfinite(values)])
            base = self._chance([*(x.shown for x in exemplars), *mine.silent])
            detail = {"samples": len(exemplars)}
            author = explanation.author
            scores.append(Score(record.index, self.name, value, base, low, high, detail, author))
        return scores

    def _chance(self, samples: Sequence[EvidenceSample]) -> float:
        """Mean cosine of two samples of any kind."""
        e = unit(self.vectors(samples))
        return float(monosemanticity(e, np.ones((len(e), 1)))[0])
