"""Do a label and the samples agree in meaning? Cosines in sentence-vector space.

A word may set firing samples apart by luck; one that also lies, among sentence vectors, where the
firing captions lie and the silent ones do not has two witnesses. Knows texts and vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semascope.explain.types import Embedder

Direction = NDArray[np.float64]


class EmbeddingAgreement:
    """Sentence vectors, each text's made once."""

    def __init__(self, embed: Embedder) -> None:
        self.embed = embed
        self._known: dict[str, NDArray[np.float32]] = {}

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) unit rows."""
        fresh = sorted({t for t in texts if t not in self._known})
        if fresh:
            self._known.update(zip(fresh, self.embed(fresh), strict=True))
        return np.stack([self._known[t] for t in texts])

    def direction(
        self, firing: Sequence[str], weights: Sequence[float], silent: Sequence[str]
    ) -> Direction | None:
        """(d,) from the silent samples to the firing ones, of unit length; None without either."""
        if not firing or not silent:
            return None
        here = np.average(self.vectors(firing), axis=0, weights=np.asarray(weights, np.float64))
        away = here - self.vectors(silent).mean(0)
        length = float(np.linalg.norm(away))
        return away / length if length > 1e-9 else None

    def agreement(self, labels: Sequence[str], direction: Direction) -> NDArray[np.float64]:
        """(n,) cosine of each label with the direction, 0 where they point apart."""
        return np.asarray((self.vectors(labels) @ direction).clip(0.0, 1.0), np.float64)
