"""How common is a term? Shares over samples of the corpus, read once and kept.

The same whoever asks and whatever was asked before, so that one ``TermFrequency`` may serve every
namer of a run, in any order. Knows samples; knows no feature.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample
from semascope.explain.explainers.term_contrast import incidence
from semascope.explain.text.documents import DocumentLibrary
from semascope.explain.text.excerpts import ExcerptCutter
from semascope.explain.text.exemplar_terms import Mode, terms_of


class TermFrequency:
    """Samples that say how common a word is, with the library in which they are read."""

    def __init__(
        self, samples: Iterable[EvidenceSample], library: DocumentLibrary | None = None
    ) -> None:
        self.library = library or DocumentLibrary()
        self.cutter = ExcerptCutter()
        self._samples = list(samples)
        self._shares: dict[Mode, NDArray[np.float64]] = {}

    def shares(self, mode: Mode, width: int) -> NDArray[np.float64]:
        """(width,) share of the samples of this kind that have each term of the library."""
        known = self._shares.get(mode)
        if known is None:
            known = self._shares[mode] = shares(self._samples, mode, self.library, self.cutter)
        # Terms that were numbered later are in no sample of the background.
        return np.pad(known, (0, max(0, width - len(known))))[:width]


def shares(
    samples: Iterable[EvidenceSample], mode: Mode, library: DocumentLibrary, cutter: ExcerptCutter
) -> NDArray[np.float64]:
    """(terms,) share of the samples of one kind that have each term."""
    docs = library.docs(cutter.silent(samples, mode))
    counts = incidence([terms_of(doc, mode) for doc in docs], len(library)).sum(axis=0)
    return np.asarray(counts, np.float64).ravel() / max(len(docs), 1)
