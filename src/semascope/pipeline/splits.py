"""Which rows of a corpus train a dictionary, and which are its evidence.

One order of all rows, drawn from the seed: its first four fifths train, the rest is held out.
Fresh evidence is taken from the held-out end; where more is asked for than was held out (a small
corpus), it reaches back into the training rows. The order moves small blocks of neighbours, not
single rows, so that files are not opened anew for every row.

Unless fresh samples are asked for, evidence is taken from the rows that training reads first: what
a feature responds to is the same question there, and the model need not run again (``memory``).
Words are judged on samples that their explainer was not shown, and FVU on held-out rows, either
way.

It knows numbers of rows, and the protocol of a corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.sample import Corpus, Sample, SkipReport
from semascope.errors import CorpusError

TRAINING = 0.8
"""Share of the rows that train."""
BLOCK = 8
"""Neighbours that stay together."""


def training_rows(corpus: Corpus, seed: int) -> NDArray[np.int64]:
    """(n,) rows that train, in the order of training."""
    rows = _permuted(corpus, seed)
    return rows[: max(1, int(len(rows) * TRAINING))]


def read_rows(corpus: Corpus, seed: int, samples: int) -> NDArray[np.int64]:
    """(samples,) rows of evidence that training reads first of all, ascending."""
    return np.sort(_permuted(corpus, seed)[:samples])


def evidence_rows(corpus: Corpus, seed: int, samples: int) -> NDArray[np.int64]:
    """(samples,) fresh rows of evidence, ascending; held-out ones first of all."""
    rows = _permuted(corpus, seed)
    return np.sort(rows[len(rows) - min(samples, len(rows)) :])


def held_out_rows(corpus: Corpus, seed: int, samples: int) -> NDArray[np.int64]:
    """(samples,) rows that no training read, for measuring; the nearest to the training rows."""
    rows = _permuted(corpus, seed)
    first = max(1, int(len(rows) * TRAINING))
    held = rows[first:] if len(rows) > first else rows
    return held[:samples]


def _permuted(corpus: Corpus, seed: int) -> NDArray[np.int64]:
    if not len(corpus):
        raise CorpusError(f"The corpus {corpus.name} is empty. Name another --corpus.")
    blocks = np.random.default_rng([seed, 0x5EED]).permutation(-(-len(corpus) // BLOCK))
    rows = (blocks[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
    return rows[rows < len(corpus)]


class CorpusSubset:
    """Some rows of a corpus, as a corpus: row i is the i-th of them."""

    def __init__(self, corpus: Corpus, rows: NDArray[np.int64]) -> None:
        self.corpus, self.rows = corpus, rows
        self.name = f"{corpus.name}[{len(rows)}]"

    @property
    def skipped(self) -> SkipReport:
        """The corpus's own report."""
        return self.corpus.skipped

    @skipped.setter
    def skipped(self, report: SkipReport) -> None:
        self.corpus.skipped = report

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self) -> str:
        """Of the corpus and of the rows."""
        seen = hashlib.sha256(self.corpus.fingerprint().encode())
        seen.update(self.rows.tobytes())
        return seen.hexdigest()[:16]

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        """``(i, sample)`` of the rows numbered [start, stop) here; neighbours are read at once."""
        stop = len(self.rows) if stop is None else min(stop, len(self.rows))
        first = start
        for i in range(start + 1, stop + 1):
            if i < stop and self.rows[i] == self.rows[i - 1] + 1:
                continue
            if i > first:
                low, high = int(self.rows[first]), int(self.rows[i - 1]) + 1
                for row, sample in self.corpus.read(low, high):
                    yield first + row - low, sample
            first = i
