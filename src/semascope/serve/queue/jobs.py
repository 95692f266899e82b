"""Jobs for the model, of one step or several, and their priorities.

A job is a callable that emits events.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeAlias

from semascope.serve.schema.events import Emit

Later = Future[None]
"""Work that goes on without the model and emits its own events; it never fails."""


class Rank(IntEnum):
    """Priority of a waiting job; the lowest number goes first."""

    CLICK = 0
    """A few forward passes that somebody waits for at the page."""
    RUNNING = 1
    """The next token of an answer that has begun."""
    ANSWER = 2
    """An answer, or anything else that is long."""
    REST = 3
    """What remains when the main result was sent."""


class Job(Protocol):
    """Work for the model, in one step or several."""

    def __call__(self, emit: Emit, /) -> More:
        """Do one step and return what is left.

        A returned job runs when its turn comes again, after other people's. A returned future no
        longer needs the model, but still emits events.
        """
        ...


@dataclass(frozen=True, slots=True)
class NextStep:
    """The next step of a job and its priority."""

    job: Job
    rank: Rank

    def __call__(self, emit: Emit, /) -> More:
        return self.job(emit)


@dataclass(frozen=True, slots=True)
class BackgroundWork:
    """The stream is finished. ``work`` makes later questions quicker; it runs when the model is
    idle, before another answer begins."""

    work: Callable[[], object]


More: TypeAlias = Job | Later | BackgroundWork | None
"""What is left after a step."""


def taken(steps: Generator[None, None, More]) -> More:
    """Run a generator up to its next pause; the rest is returned as the next step."""
    try:
        next(steps)
    except StopIteration as done:
        more: More = done.value
        return more
    return NextStep(lambda _: taken(steps), Rank.RUNNING)


def alone(more: More) -> More:
    """The same steps without background work, for clients that will not click on the answer."""
    if more is None or isinstance(more, Future):
        return more
    if isinstance(more, BackgroundWork):
        return None
    job, rank = more, more.rank if isinstance(more, NextStep) else Rank.RUNNING
    return NextStep(lambda emit: alone(job(emit)), rank)
