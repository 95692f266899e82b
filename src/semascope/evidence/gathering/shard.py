"""One shard of a gathering: a run over some rows that may be killed at any moment and resumed.

A shard's folder holds ``state.json`` (what it is, how far it came, which files are its own),
one safetensors file a dictionary, and parts of shown samples. A checkpoint writes new files
beside the old ones, then ``state.json``; files that no state names are leftovers of a kill and
are removed. Knows nothing of other shards.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.atlas.media import Media
from semascope.corpus.sample import Corpus
from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.gathering.options import EvidenceOptions, same
from semascope.evidence.gathering.reader import EvidenceReader, ReadBatch, batches, chunks
from semascope.evidence.gathering.tally import KINDS, FeatureTally
from semascope.evidence.store import samples as shown
from semascope.evidence.store.all_activations import PART_BYTES, ShardParts
from semascope.evidence.store.files import mapped, only_writer, write_arrays, write_json
from semascope.subject.protocols import ActivationSource

log = logging.getLogger(__name__)
Progress = Callable[[int, int, str], None]
EVERY = 1024
"""Rows between two checkpoints."""
PENDING_BYTES = 256 << 20
"""A checkpoint comes sooner when samples that wait to be stored hold this much."""


@dataclass(slots=True)
class Shard:
    """Rows [start, stop) of a gathering, in one folder."""

    folder: Path
    identity: Mapping[str, Any]
    start: int
    stop: int
    options: EvidenceOptions
    widths: Mapping[str, int]
    media: Media
    store: bool = False
    """Whether every activation is kept, not exemplars alone."""
    next: int = 0
    """First row that is not yet in the state."""
    tokens: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """By dictionary: (KINDS,) tokens looked at."""
    skipped: int = 0
    tallies: dict[str, FeatureTally] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    pending: list[shown.PendingSample] = field(default_factory=list)
    saves: int = 0
    full: dict[str, ShardParts] = field(default_factory=dict)
    full_parts: dict[str, list[str]] = field(default_factory=dict)
    """By dictionary: files of every activation, in row order."""

    def __post_init__(self) -> None:
        self.next = self.start
        o = self.options
        for key, width in self.widths.items():
            self.tokens[key] = np.zeros(KINDS, np.int64)
            self.tallies[key] = FeatureTally.new(
                width, top=o.top, draws=o.per_interval, seed=o.seed
            )
            if self.store:
                self.full[key], self.full_parts[key] = ShardParts(), []

    def run(
        self,
        subject: ActivationSource,
        corpus: Corpus,
        dictionaries: Mapping[str, Dictionary],
        progress: Progress | None = None,
        every: int = EVERY,
    ) -> None:
        """Read what is not yet read; every row of the shard is in the state at the end."""
        with only_writer(self.folder):
            self.load()
            if self.next >= self.stop:
                return
            reader = EvidenceReader(subject, dictionaries, self.options)
            last = self.next
            for chunk in chunks(corpus, self.next, self.stop, self.options.chunk):
                read = sum(self._take(reader, batch) for batch in self._batches(chunk))
                size = min(self.options.chunk, self.stop - self.next)
                self.skipped += size - read
                self.next += size
                if progress:
                    most = max(int(tokens.sum()) for tokens in self.tokens.values())
                    note = f"{most:,} tokens"
                    progress(self.next - self.start, self.stop - self.start, note)
                self._write_full(PART_BYTES)
                heavy = sum(p.nbytes for p in self.pending) > PENDING_BYTES
                if self.next - last >= every or heavy:
                    self.save()
                    last = self.next
            self.save()

    def _batches(self, chunk: list[Any]) -> Any:
        return batches(chunk, self.options.batch_size)

    def _take(self, reader: EvidenceReader, samples: list[Any]) -> int:
        reads = reader(samples)
        for read in reads:
            for key, tokens in read.tokens.items():
                self.tokens[key] += tokens
            self._tally(read)
        return sum(len(read.samples) for read in reads)

    def _tally(self, read: ReadBatch) -> None:
        fired: dict[str, list[NDArray[np.int32]]] = {}
        for key, tally in self.tallies.items():
            if self.store:
                self.full[key].add(read.hits[key], read.rows)
            peaks = tally.update(read.hits[key], read.rows)
            edges = np.searchsorted(peaks.sample, np.arange(1, len(read.samples)))
            features = peaks.entries.feature.astype(np.int32)
            fired[key] = np.split(features, edges)
        for i, (row, sample) in enumerate(read.samples):
            mine = {key: lists[i] for key, lists in fired.items()}
            self.pending.append(
                shown.PendingSample(row, sample, read.names[i], read.batch.maps[i], mine)
            )

    def _write_full(self, least: int = 0) -> None:
        """Write every activation that waits, where it is so many bytes or more."""
        for number, (key, waiting) in enumerate(self.full.items()):
            if waiting.nbytes < max(least, 1):
                continue
            name = f"every-{number}-{len(self.full_parts[key]):06d}.parquet"
            if waiting.write(self.folder / name):
                self.full_parts[key].append(name)

    def referenced(self) -> NDArray[np.int64]:
        """(n,) rows, rising, of samples that some feature keeps; settle the tallies first."""
        return np.unique(np.concatenate([t.kept.row for t in self.tallies.values()]))

    def save(self) -> None:
        """A checkpoint: all new files, then the state that names them."""
        self.saves += 1
        self._write_full()
        arrays = {key: tally.arrays() for key, tally in self.tallies.items()}
        rows = self.referenced()
        new = [p for p in self.pending if np.isin(p.row, rows)]
        if new:
            name = f"shown-{self.saves:06d}.arrow"
            records = [shown.record(p, self.media) for p in sorted(new, key=lambda p: p.row)]
            shown.write(self.folder / name, records, self.widths)
            self.parts.append(name)
        files = {}
        for number, (key, columns) in enumerate(arrays.items()):
            files[key] = f"tally-{self.saves:06d}-{number}.safetensors"
            write_arrays(self.folder / files[key], columns)
        state = {
            "identity": self.identity,
            "start": self.start,
            "stop": self.stop,
            "next": self.next,
            "saves": self.saves,
            "skipped": self.skipped,
            "tokens": {key: tokens.tolist() for key, tokens in self.tokens.items()},
            "tallies": files,
            "parts": self.parts,
            "full": self.full_parts,
        }
        write_json(self.folder / "state.json", state)
        self.pending.clear()
        self._sweep({*files.values(), *self._data(), "state.json", ".lock"})

    def _data(self) -> list[str]:
        """The files that hold samples and activations."""
        return [*self.parts, *(name for names in self.full_parts.values() for name in names)]

    def _sweep(self, mine: set[str]) -> None:
        """Remove what an earlier checkpoint, or a killed one, left."""
        for path in self.folder.iterdir():
            if path.name not in mine and path.is_file():
                path.unlink(missing_ok=True)

    def load(self) -> bool:
        """Take up the state in the folder, if there is one; an EvidenceError if it is another's."""
        path = self.folder / "state.json"
        if not path.is_file():
            return False
        try:
            state = json.loads(path.read_text())
            found = state["identity"], state["start"], state["stop"]
        except (ValueError, KeyError) as error:
            raise EvidenceError(f"{path} is damaged; delete its folder.") from error
        same(found[0], self.identity, self.folder)
        if found[1:] != (self.start, self.stop):
            raise EvidenceError(f"{self.folder} holds other rows of this run; delete that folder.")
        self.next, self.saves, self.skipped = state["next"], state["saves"], state["skipped"]
        told = state["tokens"]  # one list for all in states of old
        told = told if isinstance(told, dict) else dict.fromkeys(self.widths, told)
        self.tokens = {key: np.array(tokens, np.int64) for key, tokens in told.items()}
        self.parts = list(state["parts"])
        self.full_parts = {key: list(names) for key, names in state.get("full", {}).items()}
        o = self.options
        for key, name in state["tallies"].items():
            self.tallies[key] = FeatureTally.of(
                mapped(self.folder / name), top=o.top, draws=o.per_interval, seed=o.seed
            )
        self._sweep({*state["tallies"].values(), *self._data(), "state.json", ".lock"})
        return True

    def check_whole(self) -> None:
        """An EvidenceError where rows are missing, or a file that the state names."""
        if self.next < self.stop:
            raise EvidenceError(
                f"The shard in {self.folder} stopped at row {self.next} of {self.stop}; "
                "run it again to finish it."
            )
        for name in self._data():
            if not (self.folder / name).is_file():
                raise EvidenceError(f"{self.folder / name} is missing; run that shard anew.")
