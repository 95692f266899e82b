"""One thread owns the model; many people wait in a fair queue for it.

Each client has its own line, and the thread takes one job from each line in turn, so a
person with twenty questions does not hold up a person with one. A job tells its events
through ``emit``; a listener that has gone away turns ``emit`` into "stop". A job that returns
another goes on with it when its person's turn comes again, so that what may wait does not hold
others up. One that returns a future has done with the model, and its stream stays open until that
is done. Knows no model: a job is a callable.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from concurrent.futures import Future

from semascope.errors import SemascopeError, TooMuch
from semascope.serve.events import Event, Failed, Finished, Job, Later, Queued

log = logging.getLogger(__name__)


class Ticket:
    """One job in the queue, and the stream of its events for the one who asked."""

    def __init__(self, client: str, job: Job) -> None:
        self.client = client
        self.job = job
        self._cancelled = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def cancel(self) -> None:
        """Ask the job to stop at its next token, or not to start."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this any more."""
        return self._cancelled.is_set()

    def emit(self, event: Event) -> bool:
        """Hand an event over from any thread; True when the job should stop."""
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
    """The thread, and the lines before it.

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

    def submit(self, client: str, job: Job) -> Ticket:
        """Join the client's line. Called from the event loop."""
        ticket = Ticket(client, job)
        with self._wake:
            self._sweep()
            waiting = sum(len(line) for line in self._lines.values())
            if waiting >= self.in_all:
                raise TooMuch("The model is busy and its queue is full: try again in a minute.")
            line = self._lines.setdefault(client, deque())
            if len(line) >= self.per_client:
                raise TooMuch(
                    f"You already have {len(line)} questions waiting: let one of them finish "
                    "or cancel it first."
                )
            line.append(ticket)
            ahead = waiting + (self._running is not None)
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
        """Forget jobs that nobody waits for."""
        for client in list(self._lines):
            kept = deque(t for t in self._lines[client] if not t.cancelled)
            if kept:
                self._lines[client] = kept
            else:
                del self._lines[client]

    def _next(self) -> Ticket | None:
        """The first job of the line whose turn it is; its line goes to the back."""
        with self._wake:
            while True:
                self._sweep()
                if self._stopping:
                    return None
                if self._lines:
                    client, line = next(iter(self._lines.items()))
                    self._running = line.popleft()
                    self._lines.move_to_end(client)
                    return self._running
                self._wake.wait()

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            more = self._run(ticket)
            with self._wake:
                self._running = None
                if isinstance(more, Future):
                    more.add_done_callback(lambda _, to=ticket: to.emit(Finished()))  # type: ignore[misc]
                elif more is not None:
                    ticket.job = more
                    self._lines.setdefault(ticket.client, deque()).appendleft(ticket)

    def _run(self, ticket: Ticket) -> Job | Later | None:
        """One step; what is left to be done, or None."""
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
            if more is not None:
                return more
            ticket.emit(Finished())
        return None
