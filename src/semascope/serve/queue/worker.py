"""One thread owns the model; clients wait for it in a fair queue.

Each client has a line of its own, and the thread takes one job from each line in turn, so that
somebody with twenty questions does not hold up somebody with one. Clicks go before answers, running
answers before new ones, and everything that may wait comes last (``Rank``). One step a second goes
to whatever has waited too long, so that nothing waits for ever.

A job emits events; when its listener has gone, ``emit`` returns True and the job should stop. A job
that returns another one continues when its turn comes again. One that returns a future no longer
needs the model, and its stream stays open until the future is done. One that returns background
work is finished; that work runs when no click and no running answer waits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from concurrent.futures import Future

from semascope.errors import SemascopeError, TooMuch
from semascope.serve.queue.jobs import BackgroundWork, Job, More, NextStep, Rank
from semascope.serve.schema.events import Event, Failed, Finished, Queued

log = logging.getLogger(__name__)
PATIENCE = {Rank.RUNNING: 1.0, Rank.ANSWER: 5.0, Rank.REST: 5.0}
"""Seconds after which a waiting step of a rank may go before others."""
SPARED = 1.0
"""Seconds between two steps that jump the queue."""
ASIDE = 16
"""Most background works that are remembered; the latest runs first."""


class Ticket:
    """One job in the queue, and the stream of its events for the one who asked."""

    def __init__(self, client: str, job: Job, rank: Rank = Rank.ANSWER) -> None:
        self.client = client
        self.job = job
        self.rank = rank
        self.since = time.monotonic()
        self._cancelled = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def cancel(self) -> None:
        """Ask the job to stop at its next token, or not to start at all."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the job any more."""
        return self._cancelled.is_set()

    def emit(self, event: Event) -> bool:
        """Send an event, from any thread; True when the job should stop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        return self.cancelled

    async def events(self) -> AsyncIterator[Event]:
        """Events as they come; leaving the loop early cancels the job."""
        try:
            while True:
                event = await self._events.get()
                yield event
                if isinstance(event, Finished | Failed):
                    return
        finally:
            self.cancel()


class ModelWorker:
    """The thread that owns the model, and its queue.

    ``per_client`` and ``in_all`` bound how many jobs may wait; past them ``submit`` raises
    ``TooMuch``.
    """

    def __init__(self, per_client: int = 4, in_all: int = 64) -> None:
        self.per_client = per_client
        self.in_all = in_all
        self._lines: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._running: Ticket | None = None
        self._stopping = False
        self._aside: deque[BackgroundWork] = deque(maxlen=ASIDE)
        self._spared = 0.0

    def submit(self, client: str, job: Job, rank: Rank = Rank.ANSWER, *, most: int = 0) -> Ticket:
        """Join the client's line. Called from the event loop.

        ``most``: how many of the client's may wait; 0 for ``per_client``. Raises TooMuch.
        """
        ticket = Ticket(client, job, rank)
        with self._wake:
            self._sweep()
            waiting = [other for line in self._lines.values() for other in line]
            if len(waiting) >= self.in_all:
                raise TooMuch("The model is busy and its queue is full: try again in a minute.")
            line = self._lines.setdefault(client, deque())
            if len(line) >= (most or self.per_client):
                raise TooMuch(
                    f"You already have {len(line)} questions waiting: let one of them finish "
                    "or cancel it first."
                )
            line.append(ticket)
            ahead = sum(other.rank <= rank for other in waiting) + (self._running is not None)
            self._start()
            self._wake.notify()
        ticket.emit(Queued(ahead=ahead))
        return ticket

    def close(self) -> None:
        """Stop after the running job, which is asked to stop too."""
        with self._wake:
            self._stopping = True
            if self._running is not None:
                self._running.cancel()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="semascope-model", daemon=True)
            self._thread.start()

    def _sweep(self) -> None:
        """Drop jobs that nobody waits for."""
        for client in list(self._lines):
            waited_for = deque(t for t in self._lines[client] if not t.cancelled)
            if waited_for:
                self._lines[client] = waited_for
            else:
                del self._lines[client]

    def _next(self) -> Ticket | BackgroundWork | None:
        """What to run now; None to stop."""
        with self._wake:
            while True:
                self._sweep()
                if self._stopping:
                    return None
                soonest = min((t.rank for line in self._lines.values() for t in line), default=None)
                if self._aside and (soonest is None or soonest >= Rank.ANSWER):
                    return self._aside.pop()
                if self._lines:
                    self._running = self._chosen()
                    return self._running
                self._wake.wait()

    def _chosen(self) -> Ticket:
        """Take the next ticket and move its client's line to the back."""
        # Of equal ranks the first line goes first, and in a line the first question.
        first = [min(line, key=lambda ticket: ticket.rank) for line in self._lines.values()]
        best, now = min(first, key=lambda ticket: ticket.rank), time.monotonic()
        late = [t for t in first if t.rank > best.rank and now - t.since > PATIENCE[t.rank]]
        if late and now - self._spared > SPARED:
            best, self._spared = min(late, key=lambda ticket: ticket.since), now
        self._lines[best.client].remove(best)
        self._lines.move_to_end(best.client)
        return best

    def _work(self) -> None:
        while (item := self._next()) is not None:
            if isinstance(item, BackgroundWork):
                self._do_aside(item)
                continue
            more = self._run(item)
            with self._wake:
                self._running = None
                if isinstance(more, Future):
                    more.add_done_callback(lambda _, to=item: to.emit(Finished()))  # type: ignore[misc]
                elif isinstance(more, BackgroundWork):
                    self._aside.append(more)
                elif more is not None:
                    self._go_on(item, more)

    def _go_on(self, ticket: Ticket, job: Job) -> None:
        """Put a job back at the front of its client's line."""
        ticket.job = job
        ticket.rank = job.rank if isinstance(job, NextStep) else ticket.rank
        ticket.since = time.monotonic()
        self._lines.setdefault(ticket.client, deque()).appendleft(ticket)

    def _do_aside(self, background: BackgroundWork) -> None:
        try:
            background.work()
        except Exception:  # nobody waits for it
            log.exception("Background work failed")

    def _run(self, ticket: Ticket) -> More:
        """Run one step; returns what is left, or None."""
        try:
            more = ticket.job(ticket.emit)
        except SemascopeError as error:
            ticket.emit(Failed(message=str(error), type=type(error).__name__))
        except Exception as error:  # the thread must outlive any job
            log.exception("A question to the model failed")
            ticket.emit(
                Failed(
                    message=f"The model stopped with {type(error).__name__}; the server's log "
                    "has the details.",
                    type="Internal",
                )
            )
        else:
            if more is None or isinstance(more, BackgroundWork):
                ticket.emit(Finished())
            return more
        return None
