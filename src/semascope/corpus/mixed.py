"""Several corpora as one, interleaved by weight.

Row order: the i-th row of a part with weight w stands at (i + ½) / w, and all rows are sorted by
that. So any prefix holds the parts in the ratio of their weights, until the shortest is used up,
and no row is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.sample import Corpus, Sample, SkipReport
from semascope.corpus.tabular.base import digest, span
from semascope.errors import CorpusError


class Mixed:
    """A corpus made of corpora; sample ids begin with the part's name.

    If parts share a name, as two folders called images do, the second is ``images~2`` in ids.
    """

    def __init__(self, parts: Sequence[Corpus], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(parts) if weights is None else list(weights)
        if not parts or len(weights) != len(parts) or not all(w > 0 for w in weights):
            raise CorpusError("A mixed corpus needs parts, and a weight above zero for each.")
        self.parts, self.weights = list(parts), weights
        self.names = _unique([part.name for part in parts])
        self.name = "+".join(part.name for part in parts)
        report = SkipReport()
        for part in self.parts:
            report.merge(part.skipped)
        self.skipped = report
        self._part, self._row = _order([len(part) for part in parts], weights)

    @property
    def skipped(self) -> SkipReport:
        """One report for all parts."""
        return self._skipped

    @skipped.setter
    def skipped(self, report: SkipReport) -> None:
        self._skipped = report
        for part in self.parts:
            part.skipped = report

    def __len__(self) -> int:
        return len(self._part)

    def fingerprint(self) -> str:
        """Hash of the parts' fingerprints and weights."""
        return digest([*(part.fingerprint() for part in self.parts), repr(self.weights)])

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        """Rows of the parts in turn; each part is read in one sweep."""
        rows = span(self, start, stop)
        which = self._part[rows.start : rows.stop]
        inner = self._row[rows.start : rows.stop]
        sweeps = [_Sweep(part, inner[which == k]) for k, part in enumerate(self.parts)]
        for row, k, inner_row in zip(rows, which, inner, strict=True):
            sample = sweeps[k].at(int(inner_row))
            if sample is not None:
                yield row, replace(sample, id=f"{self.names[k]}/{sample.id}")


def _unique(names: Sequence[str]) -> list[str]:
    """The names, made unique: repeated ones are numbered from the second on."""
    out: list[str] = []
    for name in names:
        number, unlike = 1, name
        while unlike in out:
            number += 1
            unlike = f"{name}~{number}"
        out.append(unlike)
    return out


class _Sweep:
    """Reads a part's rows of a contiguous range in order; None for a skipped row."""

    def __init__(self, part: Corpus, rows: NDArray[np.int64]) -> None:
        bounds = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        self.rows = part.read(*bounds)
        self.next: tuple[int, Sample] | None = None

    def at(self, row: int) -> Sample | None:
        if self.next is None or self.next[0] < row:
            self.next = next(self.rows, None)
        return self.next[1] if self.next is not None and self.next[0] == row else None


def _order(
    lengths: Sequence[int], weights: Sequence[float]
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """For each row: its part, and its row there."""
    stand = [(np.arange(n) + 0.5) / w for n, w in zip(lengths, weights, strict=True)]
    part = np.repeat(np.arange(len(lengths), dtype=np.int16), lengths)
    row = np.concatenate([np.arange(n, dtype=np.int64) for n in lengths])
    order = np.argsort(np.concatenate(stand), kind="stable")
    return part[order], row[order]
