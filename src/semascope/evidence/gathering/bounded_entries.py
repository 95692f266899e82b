"""Rows of (feature, sample, peak) with the activations behind each: kept bounded, merged exactly.

An entry says that one feature fired on one sample. Of all entries, those are kept that are
among the N strongest samples of their feature, or among the n of lowest priority in their
cell of the feature's range. Both rules depend on the set of entries alone, so pruning early,
pruning late, and merging shards in any order all end with the same entries.

**Cells.** The ten intervals of [0, max] are wanted, but max is known only at the end. Let M be
the power of two just above the max so far. [0, M) is cut into ``CELLS`` equal cells, and each
holds its n entries of lowest priority, a uniform draw. When max passes M, M doubles and cells
merge in pairs: the n lowest of two cells' n lowest are the n lowest of their union, so the draw
stays exact. At the end an interval is made of whole cells and of two cut ones: of a cut cell
that is full, only entries below its own highest priority are known completely, so the interval
takes entries below that bound alone. The draw is uniform, and at most n; it may be a little
fewer than n.

**Duplicates.** Entries of one feature with the same key are the same thing seen twice; the
strongest stands for all. Knows numbers only: no sample, no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.gathering.hashing import mix

CELLS = 40
_COLUMNS = ("feature", "key", "row", "peak", "count", "position", "value")


@dataclass(slots=True, eq=False)
class Entries:
    """n entries, column by column."""

    feature: NDArray[np.int64]
    """(n,)"""
    key: NDArray[np.uint64]
    """(n,) what counts as the same content."""
    row: NDArray[np.int64]
    """(n,) row of the sample in the corpus."""
    peak: NDArray[np.float32]
    """(n,) the sample's largest activation."""
    count: NDArray[np.int64]
    """(n,) how many tokens fired."""
    position: NDArray[np.int32]
    """(Σ count,) which tokens, entry after entry."""
    value: NDArray[np.float32]
    """(Σ count,) how strongly."""

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(int(getattr(self, name).nbytes) for name in _COLUMNS)

    def take(self, chosen: NDArray[np.int64]) -> Entries:
        """The entries at ``chosen``, in that order."""
        flat = ragged(np.cumsum(self.count) - self.count, self.count, chosen)
        return Entries(
            self.feature[chosen],
            self.key[chosen],
            self.row[chosen],
            self.peak[chosen],
            self.count[chosen],
            self.position[flat],
            self.value[flat],
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """For a file."""
        return {name: getattr(self, name) for name in _COLUMNS}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Entries:
        """From ``arrays``."""
        return cls(**{name: arrays[name] for name in _COLUMNS})  # type: ignore[arg-type]

    @classmethod
    def join(cls, parts: Sequence[Entries]) -> Entries:
        """All entries of several tables."""
        if len(parts) == 1:
            return parts[0]
        return cls.of({n: np.concatenate([getattr(p, n) for p in parts]) for n in _COLUMNS})

    @classmethod
    def empty(cls) -> Entries:
        """No entries."""
        i, u = np.zeros(0, np.int64), np.zeros(0, np.uint64)
        f, p = np.zeros(0, np.float32), np.zeros(0, np.int32)
        return cls(i, u, i, f, i, p, f)


def ragged(
    starts: NDArray[np.int64], counts: NDArray[np.int64], chosen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(n,) places in the flat columns of the chosen entries' runs, one after the other."""
    n = counts[chosen]
    ends = np.cumsum(n)
    offset = np.repeat(starts[chosen] - (ends - n), n)
    return offset + np.arange(int(ends[-1]) if len(ends) else 0)


def rank_in_group(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) sorted group numbers -> (n,) 0, 1, 2… anew in each group."""
    n = len(group)
    place = np.arange(n)
    first = np.ones(n, bool)
    first[1:] = group[1:] != group[:-1]
    return place - np.maximum.accumulate(np.where(first, place, 0))


def _packed(group: NDArray[np.int64], low: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(n,) one number that sorts by group, then by a number below 2^32."""
    return (group.astype(np.uint64) << np.uint64(32)) | low


def sorted_by(first: NDArray[np.uint64], *others: NDArray[Any]) -> NDArray[np.int64]:
    """(n,) places in order of ``first``, then of the others in turn.

    One quick sort of whole numbers, and a slow one of the ties alone: a fifth of the time of
    sorting by all columns.
    """
    order = np.argsort(first)
    ranked = first[order]
    tied = np.zeros(len(order), bool)
    tied[1:] = ranked[1:] == ranked[:-1]
    tied[:-1] |= tied[1:].copy()
    slots = np.flatnonzero(tied)
    if len(slots):
        among = order[slots]
        keys = [column[among] for column in (*reversed(others), first)]
        order[slots] = among[np.lexsort(keys)]
    return order


def ceiling(peak: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) the power of two strictly above each; 1 for 0."""
    return np.ldexp(1.0, np.frexp(peak.astype(np.float64))[1])


def cell_of(peak: NDArray[np.float32], top: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) peaks and the ceilings of their features -> (n,) cells 0…CELLS−1."""
    return np.floor(peak.astype(np.float64) * CELLS / top).astype(np.int64)


class Ranked:
    """A table brought into one order, with the rank of every entry under both rules.

    The order is (feature, priority, peak falling, row): a function of the set of entries, in
    which all entries of one feature with one key stand together, the strongest first.
    """

    def __init__(self, entries: Entries, maximum: NDArray[np.float32], seed: int) -> None:
        priority = mix(entries.key, seed)
        high = priority >> np.uint64(32)
        order = sorted_by(_packed(entries.feature, high), priority, -entries.peak, entries.row)
        feature, key = entries.feature[order], entries.key[order]
        cell = cell_of(entries.peak[order], ceiling(maximum)[feature])
        new = np.ones(len(order), bool)
        new[1:] = (feature[1:] != feature[:-1]) | (key[1:] != key[:-1])
        fresh = new.copy()  # first of its key in its cell; cells fall as peaks fall
        fresh[1:] |= cell[1:] != cell[:-1]
        self.width = len(maximum)
        self.order, self.feature, self.cell = order, feature, cell
        self.priority, self.peak = priority[order], entries.peak[order]
        place = np.arange(len(order))
        # Positive floats sort as their bits do.
        weakness = (~self.peak.view(np.uint32)).astype(np.uint64)
        self.strength = self._rank(new, sorted_by(_packed(feature, weakness), place), feature)
        group = feature * CELLS + cell
        self.draw = self._rank(fresh, np.argsort(_packed(group, place.astype(np.uint64))), group)

    @staticmethod
    def _rank(
        valid: NDArray[np.bool_], order: NDArray[np.int64], group: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """(n,) rank of each valid entry in its group; a huge number for the others."""
        rank = np.full(len(group), np.iinfo(np.int64).max)
        order = order[valid[order]]
        rank[order] = rank_in_group(group[order])
        return rank

    def kept(self, top: int, draws: int) -> NDArray[np.int64]:
        """(n,) places, in the table given, of the entries that one of the rules keeps."""
        return self.order[(self.strength < top) | (self.draw < draws)]

    def thresholds(self, top: int, draws: int) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
        """What a newcomer must reach: (width,) peak, and (width, CELLS) priority not to pass."""
        weakest = np.zeros(self.width, np.float32)
        last = self.strength == top - 1
        weakest[self.feature[last]] = self.peak[last]
        highest = np.full((self.width, CELLS), np.iinfo(np.uint64).max, np.uint64)
        full = self.draw == draws - 1
        highest[self.feature[full], self.cell[full]] = self.priority[full]
        return weakest, highest

    def intervals(
        self, maximum: NDArray[np.float32], draws: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A uniform draw of at most ``draws`` from each tenth of [0, max] of every feature.

        Returns (m,) places in the table given and (m,) tenths, by feature, then tenth.
        """
        bound = self._complete_below(maximum, draws)
        chosen = np.flatnonzero(self.draw < draws)
        feature, peak = self.feature[chosen], self.peak[chosen].astype(np.float64)
        tenth = np.minimum(np.floor(peak * 10 / maximum[feature]), 9).astype(np.int64)
        group = feature * 10 + tenth
        inside = self.priority[chosen] <= bound.reshape(-1)[group]
        chosen, group = chosen[inside], group[inside]
        order = np.argsort(group, kind="stable")
        chosen, group = chosen[order], group[order]
        once = np.ones(len(chosen), bool)
        once[1:] = (group[1:] != group[:-1]) | (
            self.priority[chosen][1:] != self.priority[chosen][:-1]
        )
        chosen, group = chosen[once], group[once]
        few = rank_in_group(group) < draws
        return self.order[chosen[few]], group[few] % 10

    def _complete_below(self, maximum: NDArray[np.float32], draws: int) -> NDArray[np.uint64]:
        """(width, 10) priority up to which every entry of the tenth is in the table."""
        _, highest = self.thresholds(1, draws)
        edges = np.arange(11) / 10 * maximum.astype(np.float64)[:, None]  # (width, 11)
        cells = np.floor(edges * CELLS / ceiling(maximum)[:, None]).astype(np.int64)
        at_edge = np.take_along_axis(highest, np.minimum(cells, CELLS - 1), axis=1)
        at_edge[:, [0, 10]] = np.iinfo(np.uint64).max  # nothing lies beyond: no cell is cut
        return np.minimum(at_edge[:, :-1], at_edge[:, 1:])
