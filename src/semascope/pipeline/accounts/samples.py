"""What a stage has read and what it left out, counted block by block and kept over kills.

Every block of rows writes a line when it has been read; a block that is read again, by a run that
was killed and resumed, replaces its line, so that nothing is counted twice. At the end the lines
are summed, put into the stage's figures, and removed. Knows samples, batches and the report of a
corpus.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from semascope.corpus.sample import Corpus, Sample, SkipReport
from semascope.errors import SubjectError
from semascope.files import disk_guard
from semascope.subject.protocols import ActivationSource
from semascope.subject.types import Batch, Kind

Tally = dict[str, Any]
"""Counts by name; a name may hold counts of its own."""


class SampleAccount:
    """The lines of one stage.

    Args:
        folder: where they are kept; made when the first is written.
        stage: whose they are. Each process writes a file of its own.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.stage = folder, stage

    def note(self, block: str, tally: Tally) -> None:
        """Keep what was read of a block."""
        path = self.folder / f"{self.stage}-{os.getpid()}.jsonl"
        with disk_guard(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"block": block, "tally": tally}) + "\n")

    def total(self, report: SkipReport | None = None) -> Tally:
        """The sum over blocks, with what ``report`` says of the corpus as a whole."""
        blocks: dict[str, Tally] = {}
        for path in self._files():
            for line in path.read_text("utf-8").splitlines():
                try:
                    kept = json.loads(line)
                except ValueError:  # the last line of a process that was killed while writing
                    continue
                blocks[kept["block"]] = kept["tally"]
        out: Tally = {}
        for tally in blocks.values():
            add(out, tally)
        if report is not None:
            add(out, told(report))
            out["layout"] = list(report.layout)
        return out

    def forget(self) -> None:
        """Remove the lines."""
        for path in self._files():
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        found = self.folder.glob(f"{self.stage}-*.jsonl") if self.folder.is_dir() else ()
        return sorted(found, key=lambda path: path.stat().st_mtime)


def add(total: Tally, tally: Mapping[str, Any]) -> None:
    """Add counts to counts, in place."""
    for name, value in tally.items():
        if isinstance(value, Mapping):
            add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def of_samples(rows: int, samples: Sequence[Sample]) -> Tally:
    """What lies in samples that were read of so many rows."""
    return {
        "rows": rows,
        "samples": len(samples),
        "pictures": sum(len(sample.images) for sample in samples),
        "videos": sum(len(sample.videos) for sample in samples),
        "frames": sum(len(video.frames) for sample in samples for video in sample.videos),
    }


def of_batches(batches: Iterable[Batch]) -> Tally:
    """Tokens by kind that the model reads, and those of words that were cut."""
    tokens: Counter[str] = Counter()
    cut = [map_.cut for batch in batches for map_ in _counted(batch, tokens)]
    return {
        "tokens": dict(tokens),
        "cut_tokens": sum(cut),
        "cut_samples": sum(number > 0 for number in cut),
    }


def _counted(batch: Batch, tokens: Counter[str]) -> Iterator[Any]:
    for map_ in batch.maps:
        for kind in Kind:
            number = int((map_.kinds == kind).sum())
            if number and kind != Kind.PAD:
                tokens[kind.name.lower()] += number
        yield map_


def told(report: SkipReport) -> Tally:
    """What a report counts."""
    return {
        "skipped": dict(report.reasons),
        "refused": dict(report.refused),
        "columns": {role: dict(columns) for role, columns in report.used.items()},
        "unused": dict(report.unused),
        "left": dict(report.left),
    }


class CountedCorpus:
    """A corpus whose reading is counted, a block a range that is asked for."""

    def __init__(self, corpus: Corpus, account: SampleAccount) -> None:
        self.corpus, self.account, self.name = corpus, account, corpus.name

    @property
    def skipped(self) -> SkipReport:
        """The corpus's own report."""
        return self.corpus.skipped

    @skipped.setter
    def skipped(self, report: SkipReport) -> None:
        self.corpus.skipped = report

    def __len__(self) -> int:
        return len(self.corpus)

    def fingerprint(self) -> str:
        """The corpus's own."""
        return self.corpus.fingerprint()

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Sample]]:
        """As the corpus reads, in one go."""
        stop = len(self) if stop is None else min(stop, len(self))
        with_rows, report = apart(self.corpus, start, stop)
        samples = [sample for _, sample in with_rows]
        tally = of_samples(max(0, stop - start), samples) | told(report)
        self.account.note(f"rows {start} {stop}", tally)
        yield from with_rows


def apart(corpus: Corpus, start: int, stop: int) -> tuple[list[tuple[int, Sample]], SkipReport]:
    """Rows [start, stop) with a report of them alone."""
    before, report = corpus.skipped, SkipReport()
    corpus.skipped = report
    try:
        return list(corpus.read(start, stop)), report
    finally:
        corpus.skipped = before


class CountingSubject:
    """A subject whose encoding is counted; in all else the subject."""

    def __init__(self, subject: ActivationSource, account: SampleAccount) -> None:
        self.subject, self.account = subject, account

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def encode(self, samples: Sequence[Sample], **more: Any) -> Batch:
        """As the subject's own; a single sample that it refuses is counted."""
        samples = list(samples)
        block = "encoded " + "\n".join(sample.id for sample in samples)
        try:
            batch: Batch = self.subject.encode(samples, **more)
        except SubjectError as error:
            if len(samples) == 1:
                report = SkipReport()
                report.refuse(samples[0].id, str(error))
                self.account.note(block, {"refused": dict(report.refused)})
            raise
        self.account.note(block, of_batches([batch]))
        return batch
