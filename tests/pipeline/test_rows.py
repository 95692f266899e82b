"""Which rows train, and which are evidence: never the same ones while there are enough."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semascope.corpus.sample import Sample, SkipReport
from semascope.errors import CorpusError
from semascope.pipeline.splits import CorpusSubset, evidence_rows, held_out_rows, training_rows

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""


class Counting:
    """A corpus of n rows, row i bad where i is a multiple of ``bad``."""

    name = "counting"

    def __init__(self, n: int, bad: int = 0) -> None:
        self.n, self.bad, self.skipped = n, bad, SkipReport()
        self.reads: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.n

    def fingerprint(self) -> str:
        return f"counting-{self.n}"

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        stop = self.n if stop is None else stop
        self.reads.append((start, stop))
        for row in range(start, stop):
            if not (self.bad and row % self.bad == 0):
                yield row, Sample(id=str(row), text=f"row {row}")


@PATIENT
@given(n=st.integers(1, 500), seed=st.integers(0, 3), samples=st.integers(1, 600))
def test_training_and_evidence_share_nothing_while_there_are_enough(
    n: int, seed: int, samples: int
) -> None:
    """A dictionary that is measured on what it was trained on flatters itself."""
    corpus = Counting(n)
    train = set(training_rows(corpus, seed).tolist())
    evidence = evidence_rows(corpus, seed, samples).tolist()
    held = set(held_out_rows(corpus, seed, samples).tolist())
    assert len(evidence) == len(set(evidence)) == min(samples, n)
    if n > 1:
        assert not train & held
    if samples <= n - len(train):
        assert not train & set(evidence)


def test_rows_depend_on_the_seed_alone() -> None:
    """A resumed run must read what the first one read."""
    rows = training_rows(Counting(1000), 3)
    assert np.array_equal(rows, training_rows(Counting(1000), 3))
    assert not np.array_equal(rows, training_rows(Counting(1000), 4))


@PATIENT
@given(st.data())
def test_a_subset_reads_its_rows_by_its_own_numbers(data: st.DataObject) -> None:
    """Row i of the subset is its i-th row, bad rows left out, whatever slice is asked for."""
    rows = data.draw(st.lists(st.integers(0, 59), unique=True, min_size=1, max_size=40))
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    subset = CorpusSubset(Counting(60, bad=7), np.array(rows))
    found = [(i, sample.id) for i, sample in subset.read(start, stop)]
    assert found == [(i, str(rows[i])) for i in range(start, stop) if rows[i] % 7]


def test_neighbours_are_read_at_once() -> None:
    """Opening a Parquet row group for every row would take minutes."""
    corpus = Counting(100)
    list(CorpusSubset(corpus, np.array([5, 6, 7, 20, 21, 3])).read())
    assert corpus.reads == [(5, 8), (20, 22), (3, 4)]


def test_an_empty_corpus_is_a_sentence() -> None:
    """Nothing to permute."""
    with pytest.raises(CorpusError, match="is empty"):
        training_rows(Counting(0), 0)


def test_a_subset_has_a_fingerprint_of_its_own() -> None:
    """Evidence of other rows must not be taken for this one's."""
    corpus = Counting(10)
    marks = {CorpusSubset(corpus, np.arange(n)).fingerprint() for n in (3, 4)}
    assert len(marks) == 2
