"""What the model is asked to do: jobs of one step or several, and what goes before what.

Knows no model: a job is a callable that tells its events.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeAlias

from semascope.serve.schema.events import Emit

Later = Future[None]
"""Work that goes on without the model and tells its own events; it never fails."""


class Rank(IntEnum):
    """What the model does first, of all that waits for it."""

    CLICK = 0
    """A few passes, for which somebody looks at the page."""
    RUNNING = 1
    """The next token of an answer that has begun."""
    ANSWER = 2
    """An answer, and whatever else is long."""
    REST = 3
    """What is left when the words are told."""


class Job(Protocol):
    """Something to be done by the model, in one step or several."""

    def __call__(self, emit: Emit, /) -> More:
        """Do a step; a job that is returned is done when its turn comes again, after other
        people's. A future that is returned needs the model no more: its events still come."""
        ...


@dataclass(frozen=True, slots=True)
class NextStep:
    """A step that is left, and how soon it is to be done."""

    job: Job
    rank: Rank

    def __call__(self, emit: Emit, /) -> More:
        return self.job(emit)


@dataclass(frozen=True, slots=True)
class BackgroundWork:
    """All is told; ``work`` makes later questions quicker, and is done before another answer
    begins."""

    work: Callable[[], object]


More: TypeAlias = Job | Later | BackgroundWork | None
"""What a step leaves to be done."""


def taken(steps: Generator[None, None, More]) -> More:
    """A step of work that pauses wherever others may come first, and the rest of it."""
    try:
        next(steps)
    except StopIteration as done:
        more: More = done.value
        return more
    return NextStep(lambda _: taken(steps), Rank.RUNNING)


def alone(more: More) -> More:
    """The same steps, with nothing left aside: for those who will not ask about the answer."""
    if more is None or isinstance(more, Future):
        return more
    if isinstance(more, BackgroundWork):
        return None
    job, rank = more, more.rank if isinstance(more, NextStep) else Rank.RUNNING
    return NextStep(lambda emit: alone(job(emit)), rank)
