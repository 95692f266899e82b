"""What is known of every feature of one dictionary so far: counts, sums, kept entries, sketches.

Memory is O(width × (top + CELLS · draws + SKETCH)), whatever the length of the corpus. A tally
is updated batch by batch, saved as arrays, and merged with another: both give what one pass
over all the rows gives, to the bit. Knows no sample and no model.

**Co-firing.** The tokens where a feature fires are sketched by the SKETCH smallest of their
hashes (bottom-k sketch, Cohen and Kaplan 2007). The hashes are the same for all features, so
two sketches estimate how much the two sets of tokens overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.gathering import exact_sums
from semascope.evidence.gathering.bounded_entries import Entries, Ranked, rank_in_group
from semascope.evidence.gathering.hashing import mix

KINDS = 6
"""Number of values of ``subject.Kind``."""
BINS = 64
"""Bins of the log-histogram: two to an octave, 2^−16 to 2^16; the ends hold what lies beyond."""
SKETCH = 64
HASH_BITS = 42
"""Of a token's hash in a sketch: with a feature's number below 2^22 it fills 64 bits."""
_NEVER = np.iinfo(np.uint64).max


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """h pairs (token, feature) of one batch where the feature fires, in token order."""

    feature: NDArray[np.int64]
    value: NDArray[np.float32]
    sample: NDArray[np.int64]
    """Which sample of the batch."""
    position: NDArray[np.int32]
    """Which token of the sample, padding not counted."""
    kind: NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class SampleRows:
    """The s samples of a batch."""

    row: NDArray[np.int64]
    content: NDArray[np.uint64]
    picture: NDArray[np.uint64]


@dataclass(slots=True, eq=False)
class Peaks:
    """p pairs (sample, feature) of one batch, by sample, then feature."""

    sample: NDArray[np.int64]
    entries: Entries


@dataclass(slots=True, eq=False)
class FeatureTally:
    """All of it for one dictionary. ``FeatureTally.new`` makes an empty one."""

    width: int
    top: int
    draws: int
    seed: int
    fired: NDArray[np.int64]
    """(width, KINDS) tokens on which it fired."""
    samples: NDArray[np.int64]
    """(width,) samples on which it fired."""
    total: NDArray[np.int64]
    """(width, LANES) sum of activations, exact."""
    squares: NDArray[np.int64]
    """(width, LANES) sum of squares, exact."""
    maximum: NDArray[np.float32]
    """(width,)"""
    histogram: NDArray[np.int64]
    """(width, BINS) tokens by log2 of the activation."""
    kept: Entries
    sketch: NDArray[np.uint64]
    """(width, SKETCH) smallest token hashes, rising; padded with the largest integer."""
    waiting: list[Entries] = field(default_factory=list)
    marks: list[NDArray[np.uint64]] = field(default_factory=list)
    """(m,) feature and token hash in one number, waiting to enter the sketches."""
    weakest: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    highest: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, 0), np.uint64))

    @classmethod
    def new(cls, width: int, *, top: int, draws: int, seed: int) -> FeatureTally:
        """Nothing seen yet."""
        tally = cls(
            width=width,
            top=top,
            draws=draws,
            seed=seed,
            fired=np.zeros((width, KINDS), np.int64),
            samples=np.zeros(width, np.int64),
            total=exact_sums.zeros(width),
            squares=exact_sums.zeros(width),
            maximum=np.zeros(width, np.float32),
            histogram=np.zeros((width, BINS), np.int64),
            kept=Entries.empty(),
            sketch=np.full((width, SKETCH), _NEVER, np.uint64),
        )
        tally.settle()
        return tally

    def update(self, hits: Hits, rows: SampleRows) -> Peaks:
        """Take in one batch; returns the sample-level peaks, for those who keep them."""
        self._count(hits)
        peaks = _peaks(hits, rows, self.width)
        entries = peaks.entries
        np.add.at(self.samples, entries.feature, 1)
        before = np.frexp(self.maximum)[1]
        np.maximum.at(self.maximum, entries.feature, entries.peak)
        self.highest[np.frexp(self.maximum)[1] != before] = _NEVER  # their cells have changed
        self._offer(entries)
        self._mark(hits, rows)
        return peaks

    def _count(self, hits: Hits) -> None:
        np.add.at(self.fired.reshape(-1), hits.feature * KINDS + hits.kind, 1)
        bins = np.floor(2 * np.log2(hits.value)).astype(np.int64) + BINS // 2
        np.add.at(self.histogram.reshape(-1), hits.feature * BINS + np.clip(bins, 0, BINS - 1), 1)
        exact = hits.value.astype(np.float64)
        exact_sums.add(self.total, hits.feature, exact)
        exact_sums.add(self.squares, hits.feature, exact * exact)

    def _offer(self, entries: Entries) -> None:
        """Put aside the entries that may be kept; settle when many wait."""
        strong = entries.peak >= self.weakest[entries.feature]
        top = np.ldexp(1.0, np.frexp(self.maximum[entries.feature].astype(np.float64))[1])
        cell = np.floor(entries.peak.astype(np.float64) * self.highest.shape[1] / top)
        bound = self.highest[entries.feature, cell.astype(np.int64)]
        chosen = np.flatnonzero(strong | (mix(entries.key, self.seed) <= bound))
        if len(chosen):
            self.waiting.append(entries.take(chosen))
        if sum(len(e) for e in self.waiting) > max(1 << 16, len(self.kept) // 2):
            self.settle()

    def _mark(self, hits: Hits, rows: SampleRows) -> None:
        place = mix(hits.position.astype(np.uint64), self.seed + 1)
        token = mix(rows.content[hits.sample] ^ place) >> np.uint64(64 - HASH_BITS)
        new = np.flatnonzero(token < self.sketch[hits.feature, -1])
        if len(new):
            self.marks.append(_marked(hits.feature[new], token[new]))
        if sum(len(m) for m in self.marks) > max(1 << 18, 16 * self.width):
            self._settle_marks()

    def settle(self) -> None:
        """Let what waits in, and drop what neither rule keeps."""
        joined = Entries.join([self.kept, *self.waiting])
        ranked = Ranked(joined, self.maximum, self.seed)
        self.weakest, self.highest = ranked.thresholds(self.top, self.draws)
        self.kept = joined.take(ranked.kept(self.top, self.draws))
        self.waiting.clear()
        self._settle_marks()

    def _settle_marks(self) -> None:
        if not self.marks:
            return
        old, place = np.nonzero(self.sketch != _NEVER)
        marks = np.concatenate([*self.marks, _marked(old, self.sketch[old, place])])
        marks.sort()
        once = np.ones(len(marks), bool)
        once[1:] = marks[1:] != marks[:-1]
        marks = marks[once]
        feature = (marks >> np.uint64(HASH_BITS)).astype(np.int64)
        token = marks & np.uint64((1 << HASH_BITS) - 1)
        rank = rank_in_group(feature)
        few = rank < SKETCH
        self.sketch[feature[few], rank[few]] = token[few]
        self.marks.clear()

    def merge(self, other: FeatureTally) -> None:
        """Take in another tally of the same dictionary over other rows."""
        for name in ("fired", "samples", "total", "squares", "histogram"):
            getattr(self, name).__iadd__(getattr(other, name))
        exact_sums.carry(self.total)
        exact_sums.carry(self.squares)
        np.maximum(self.maximum, other.maximum, out=self.maximum)
        other.settle()
        self.waiting.append(other.kept)
        feature, place = np.nonzero(other.sketch != _NEVER)
        self.marks.append(_marked(feature, other.sketch[feature, place]))
        self.settle()

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """For a file; settles first."""
        self.settle()
        names = ("fired", "samples", "total", "squares", "maximum", "histogram", "sketch")
        counts = {name: getattr(self, name) for name in names}
        return counts | {f"kept.{k}": v for k, v in self.kept.arrays().items()}

    @classmethod
    def of(
        cls, arrays: Mapping[str, NDArray[np.generic]], *, top: int, draws: int, seed: int
    ) -> FeatureTally:
        """From ``arrays``."""
        kept = Entries.of({k[5:]: v for k, v in arrays.items() if k.startswith("kept.")})
        plain = {k: v.copy() for k, v in arrays.items() if not k.startswith("kept.")}
        width = len(plain["samples"])
        tally = cls(width=width, top=top, draws=draws, seed=seed, kept=kept, **plain)  # type: ignore[arg-type]
        tally.settle()
        return tally


def _marked(feature: NDArray[np.int64], token: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (feature.astype(np.uint64) << np.uint64(HASH_BITS)) | token


def _peaks(hits: Hits, rows: SampleRows, width: int) -> Peaks:
    """Group hits by (sample, feature)."""
    pair = hits.sample * width + hits.feature
    order = np.argsort(pair, kind="stable")
    sorted_pair = pair[order]
    first = np.ones(len(order), bool)
    first[1:] = sorted_pair[1:] != sorted_pair[:-1]
    starts = np.flatnonzero(first)
    sample, feature = np.divmod(sorted_pair[starts], width)
    value = hits.value[order]
    peak = np.maximum.reduceat(value, starts) if len(starts) else value
    count = np.diff(np.append(starts, len(order)))
    seen = (hits.kind[order] >= 3) & (value == np.repeat(peak, count))
    on_picture = np.logical_or.reduceat(seen, starts) if len(starts) else seen
    entries = Entries(
        feature=feature,
        key=np.where(on_picture, rows.picture[sample], rows.content[sample]),
        row=rows.row[sample],
        peak=peak,
        count=count,
        position=hits.position[order],
        value=value,
    )
    return Peaks(sample, entries)
