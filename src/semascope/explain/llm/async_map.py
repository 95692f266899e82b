"""Many slow calls at once: a bounded number under way, results in order, one shared back-off.

When a server says that it is busy, every caller waits, not only the one that was told: a
thousand clients that each back off alone are still a thousand clients. Knows nothing of what
the work is.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class TransientError(Exception):
    """Work that may well succeed later: busy, timed out, cut off. Never shown to a user as is."""

    def __init__(
        self, message: str, retry_after: float | None = None, *, gone: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the other side asked for."""
        self.gone = gone
        """Whether the other side is away, rather than unable to do this piece of work."""


def seconds_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds that a 429 or 503 asks for, given as a number or as a date; None for neither."""
    millis, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        seconds = float(millis) / 1000 if millis is not None else float(value or "nan")
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value or "").timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


@dataclass(slots=True)
class Backoff:
    """When the next call may start; shared by all calls to one server."""

    first: float = 0.5
    factor: float = 2.0
    longest: float = 60.0
    most_asked: float = 600.0
    """Seconds that a server may ask for; more ends the work."""
    attempts: int = 6
    """Tries of one call, the first included."""
    waits: int = 0
    """How often everybody was held."""
    _delay: float = field(default=0.0, repr=False)
    _until: float = field(default=0.0, repr=False)

    async def ready(self) -> None:
        """Wait until calls are allowed again."""
        while (left := self._until - time.monotonic()) > 0:
            # A little apart, so that the waiting do not all return in one instant.
            await asyncio.sleep(left * random.uniform(1.0, 1.25))

    def failed(self, retry_after: float | None) -> None:
        """Hold everybody, longer each time, or as long as the server asks."""
        now = time.monotonic()
        if retry_after is None and now < self._until:
            return  # a call of the same wave; once is enough
        self._delay = min(max(self._delay * self.factor, self.first), self.longest)
        pause = self._delay if retry_after is None else min(retry_after, self.most_asked)
        self._until = max(self._until, now + pause)
        self.waits += 1

    def succeeded(self) -> None:
        """The server is well again."""
        self._delay = 0.0

    async def run(self, work: Callable[[], Awaitable[R]]) -> R:
        """Do the work, again after each TransientError, at most ``attempts`` times in all."""
        for attempt in range(self.attempts):
            await self.ready()
            try:
                result = await work()
            except TransientError as error:
                if attempt == self.attempts - 1:
                    raise
                if (error.retry_after or 0.0) > self.most_asked:
                    why = f"{error}; it asks to wait {error.retry_after:,.0f} s"
                    raise TransientError(why, error.retry_after, gone=True) from error
                self.failed(error.retry_after)
            else:
                self.succeeded()
                return result
        raise ValueError("attempts must be at least 1.")


async def async_map(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], *, limit: int = 16
) -> AsyncIterator[R]:
    """Results of ``work`` in the order of ``items``, at most ``limit`` under way.

    Items are drawn as they are needed, so an endless source is fine. When one fails the others
    are cancelled and its error is raised at its place in the order.
    """
    source = iter(items)
    under_way: deque[asyncio.Task[R]] = deque()

    async def one(item: T) -> R:
        return await work(item)

    def refill() -> None:
        while len(under_way) < limit:
            try:
                item = next(source)
            except StopIteration:
                return
            under_way.append(asyncio.create_task(one(item)))

    try:
        refill()
        while under_way:
            # Finished tasks behind a slow first one hold their place: memory stays bounded.
            result = await under_way[0]
            under_way.popleft()
            refill()
            yield result
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
