"""Base of all readers of rows: bad rows are counted, logged and skipped.

A reader subclasses ``RowCorpus`` and defines the number of rows, a fingerprint, and how a row
becomes a ``Sample``; a row that cannot be read raises ``BadRow`` with its reason.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from semascope.corpus.sample import Corpus, Sample, SkipReport
from semascope.errors import CorpusError

logger = logging.getLogger(__name__)

SMALL = 1 << 20
"""Largest file in bytes whose content is part of the fingerprint, not its modification time."""
FEW = 1000
"""Most files whose contents are read for the fingerprint."""


class BadRow(Exception):
    """A row cannot be read; the message is the reason, the same for all such rows."""


class RowCorpus(ABC):
    """A corpus whose rows are made one at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._warned: set[str] = set()
        self._bad: set[int] = set()
        self._seen: set[int] = set()
        self._skipped = SkipReport()

    @property
    def skipped(self) -> SkipReport:
        """Report of what was skipped; each row is counted once."""
        return self._skipped

    @skipped.setter
    def skipped(self, report: SkipReport) -> None:
        self._skipped, self._bad, self._seen = report, set(), set()

    def fresh(self, row: int) -> bool:
        """Whether a row is new to the report, so that it is counted once."""
        new = row not in self._seen
        self._seen.add(row)
        return new

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes when any row would."""

    @abstractmethod
    def sample(self, row: int) -> Sample:
        """The row's sample; BadRow if it cannot be read."""

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        """Yield ``(row, sample)`` for the rows [start, stop); bad rows are counted and skipped."""
        for row in span(self, start, stop):
            try:
                sample = self.sample(row)
            except BadRow as reason:
                self._skip(row, str(reason))
            else:
                yield row, sample

    def label(self, row: int) -> str:
        """Name of a row in the log."""
        return f"row {row}"

    def _skip(self, row: int, reason: str) -> None:
        if row in self._bad:
            return
        self._bad.add(row)
        label = self.label(row)
        self.skipped.add(label, reason)
        level = logging.DEBUG if reason in self._warned else logging.WARNING
        self._warned.add(reason)
        note = "" if level == logging.DEBUG else " (others are counted, not named)"
        logger.log(level, "%s: %s skipped: %s%s", self.name, label, reason, note)


def span(corpus: Corpus, start: int, stop: int | None) -> range:
    """The rows of [start, stop) that exist; CorpusError if a bound is negative."""
    if start < 0 or (stop is not None and stop < 0):
        raise CorpusError(f"Rows are counted from 0; [{start}, {stop}) is no range of rows.")
    return range(start, len(corpus) if stop is None else min(stop, len(corpus)))


def exists(name: str | Path) -> bool:
    """Whether a file or folder exists; False for names that no file can have."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


class FirstRows(RowCorpus):
    """The first ``n`` rows of a corpus."""

    def __init__(self, corpus: Corpus, n: int) -> None:
        self.corpus, self.n = corpus, n
        super().__init__(corpus.name)

    @property
    def skipped(self) -> SkipReport:
        """The report of the underlying corpus."""
        return self.corpus.skipped

    @skipped.setter
    def skipped(self, report: SkipReport) -> None:
        self.corpus.skipped = report

    def __len__(self) -> int:
        return min(self.n, len(self.corpus))

    def fingerprint(self) -> str:
        """Hash of the corpus's fingerprint and n."""
        return digest([self.corpus.fingerprint(), str(self.n)])

    def sample(self, row: int) -> Sample:
        """One row of the corpus."""
        for _, sample in self.corpus.read(row, row + 1):
            return sample
        raise BadRow("skipped")

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        """Rows of the corpus, below n."""
        rows = span(self, start, stop)
        yield from self.corpus.read(rows.start, max(rows.stop, rows.start))


def digest(parts: Iterable[str | bytes]) -> str:
    """SHA-256 over parts, each with its length, as 32 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:32]


def files_digest(root: Path, files: Iterable[Path]) -> str:
    """Hash of files: names and sizes, then content (small files, when few) or time of change.

    A file above one MiB, or one among more than a thousand, is identified by size and modification
    time: an edit that keeps both goes unnoticed, and a copy with another time counts as new.
    """
    listed = list(files)
    parts: list[str | bytes] = []
    for path in listed:
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        parts.append(name)
        try:
            stat = path.stat()
            small = stat.st_size <= SMALL and len(listed) <= FEW
            mark = hashlib.sha256(path.read_bytes()).digest() if small else str(stat.st_mtime_ns)
            parts += [str(stat.st_size), mark]
        except (OSError, ValueError):
            parts.append("missing")
    return digest(parts)
