"""What the evidence must be, found by keeping everything: slow and plain."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from evidence_fakes import FakeDictionary, FakeSubject, ListCorpus

from semascope.evidence.gathering.hashing import content_hash, mix
from semascope.subject.types import Kind

LEFT_OUT = (Kind.PAD, Kind.SPECIAL, Kind.NEWLINE)


@dataclass
class Seen:
    """One feature, all of it."""

    values: list[float] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    peaks: dict[int, float] = field(default_factory=dict)
    """By row."""
    keys: dict[int, int] = field(default_factory=dict)
    """By row: what counts as the same content."""

    def distinct(self) -> list[tuple[float, int, int]]:
        """(peak, key, row) of every content: its strongest row, the first of equals."""
        best: dict[int, tuple[float, int]] = {}
        for row, peak in sorted(self.peaks.items()):
            key = self.keys[row]
            if key not in best or peak > best[key][0]:
                best[key] = (peak, row)
        return [(peak, key, row) for key, (peak, row) in best.items()]

    def top(self, n: int, seed: int) -> list[tuple[int, float]]:
        """(row, peak), strongest first; equals in order of priority."""
        found = self.distinct()
        found.sort(key=lambda e: (-e[0], priority(e[1], seed)))
        return [(row, peak) for peak, _, row in found[:n]]


def priority(key: int, seed: int) -> int:
    """The order of draws."""
    return int(mix(np.array([key], np.uint64), seed)[0])


def look(corpus: ListCorpus, dictionary: FakeDictionary, batch_size: int) -> dict[int, Seen]:
    """Every activation of every feature, one sample at a time but for the batch's rounding."""
    subject, out = FakeSubject(), defaultdict(Seen)
    for row, sample in corpus.read():
        batch = subject.encode([sample])
        x = subject.run(batch, [dictionary.site])[dictionary.site][0]
        m = batch.maps[0]
        codes = dictionary.encode(x)
        name = content_hash(sample)
        for t in range(1, len(m)):  # the first token is left out
            if m.kinds[t] in LEFT_OUT:
                continue
            pairs = zip(codes.values[t].tolist(), codes.indices[t].tolist(), strict=True)
            for value, feature in pairs:
                if value <= 0:
                    continue
                seen = out[feature]
                seen.values.append(value)
                seen.kinds.append(int(m.kinds[t]))
                old = seen.peaks.get(row, 0.0)
                on_picture = m.kinds[t] >= Kind.IMAGE
                if value > old or (value == old and on_picture):
                    seen.keys[row] = name.picture if on_picture else name.content
                seen.peaks[row] = max(old, value)
    return out
