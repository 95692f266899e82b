"""Gathering under datatrove's executors: on this machine, under Slurm, under Ray.

An executor runs one step for every rank of a world, wherever it likes, and keeps what is done in
its logging folder; ``DatatroveStep`` is the step that gathers one shard. When all ranks are done,
``DatatroveStep.merge`` ends the run. Shards may be done by several executors, some here and some
there: a shard is a function of its rank alone, and the merged files are those of one process.

A step travels to other machines by being pickled, so it holds what makes the gatherer, and not
the gatherer: the model is loaded where the work is. Knows nothing of what is gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from semascope.evidence.gathering.gatherer import Gatherer


class DatatroveStep:
    """One step of a datatrove pipeline. ``make`` is called where the shard is gathered; it must
    be picklable (a function of a module, or a ``functools.partial`` of one)."""

    name = "gather evidence"

    def __init__(self, make: Callable[[], Gatherer]) -> None:
        self.make = make

    def __call__(
        self, data: Iterable[Any] | None = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Any]:
        """Gather one shard to its end, from where it stopped; passes on what it was given."""
        yield from data or ()
        self.make().run(rank, world_size)

    def merge(self, world_size: int) -> None:
        """Put the shards together; an EvidenceError names one that is missing or not whole."""
        self.make().merge(world_size)
