"""The queue before the model: fair, bounded, cancellable, and alive after any failure."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future

import pytest

from semascope.errors import CausalError, TooMuch
from semascope.serve.queue import worker as queue
from semascope.serve.queue.jobs import BackgroundWork, Job, More, NextStep, Rank, alone, taken
from semascope.serve.queue.worker import ModelWorker, Ticket
from semascope.serve.schema.answers import Started
from semascope.serve.schema.events import Emit, Event, Failed, Finished, Queued


async def hear(ticket: Ticket) -> list[Event]:
    return [event async for event in ticket.events()]


def test_turns_are_taken_between_people_not_between_questions() -> None:
    """With one line for all, B would wait for all of A's questions."""

    async def play() -> list[str]:
        worker, order, gate = ModelWorker(), [], threading.Event()

        def job(name: str) -> Ticket:
            return worker.submit(name[0], lambda emit: order.append(name))

        first = worker.submit("A", lambda emit: gate.wait(10) and None)
        rest = [job(name) for name in ("A1", "A2", "A3", "B1", "B2")]
        gate.set()
        await asyncio.gather(*(hear(t) for t in [first, *rest]))
        worker.close()
        return order

    order = asyncio.run(play())
    assert order.index("B1") <= 1 and order.index("B2") <= 3
    assert [name for name in order if name[0] == "A"] == ["A1", "A2", "A3"]


def test_no_answer_crosses_to_another_person() -> None:
    async def play() -> dict[str, list[Event]]:
        worker = ModelWorker()

        def job(emit: Emit) -> None:
            for _ in range(3):
                emit(Started(side="answer"))

        tickets = {name: worker.submit(name, job) for name in "ABCDEFGH"}
        heard = await asyncio.gather(*(hear(t) for t in tickets.values()))
        worker.close()
        return dict(zip(tickets, heard, strict=True))

    for events in asyncio.run(play()).values():
        kinds = [type(e) for e in events]
        assert kinds == [Queued, Started, Started, Started, Finished]


def test_failures_are_told_and_the_thread_lives_on() -> None:
    async def play() -> list[Event]:
        worker = ModelWorker()

        def sad(emit: Emit) -> None:
            raise CausalError("Lower the strength.")

        def broken(emit: Emit) -> None:
            raise ZeroDivisionError

        heard = [await hear(worker.submit("A", job)) for job in (sad, broken, lambda emit: None)]
        worker.close()
        return [events[-1] for events in heard]

    sad, broken, fine = asyncio.run(play())
    assert isinstance(sad, Failed) and sad.message == "Lower the strength."
    assert isinstance(broken, Failed) and "ZeroDivisionError" in broken.message
    assert isinstance(fine, Finished)


def test_a_listener_that_leaves_stops_its_job() -> None:
    async def play() -> bool:
        worker, stopped = ModelWorker(), threading.Event()

        def long(emit: Emit) -> None:
            while not emit(Started(side="answer")):
                threading.Event().wait(0.005)
            stopped.set()

        events = worker.submit("A", long).events()
        async for event in events:
            if isinstance(event, Started):
                break
        await events.aclose()
        ended = await asyncio.to_thread(stopped.wait, 20)
        worker.close()
        return ended

    assert asyncio.run(play())


def test_the_queue_is_bounded_for_each_and_for_all() -> None:
    async def play() -> None:
        worker, gate = ModelWorker(per_client=2, in_all=3), threading.Event()
        started = threading.Event()

        def first(emit: Emit) -> None:
            started.set()
            gate.wait(20)

        tickets = [worker.submit("A", first)]
        await asyncio.to_thread(started.wait, 20)
        tickets += [worker.submit("A", lambda emit: None) for _ in range(2)]
        with pytest.raises(TooMuch, match="2 questions waiting"):
            worker.submit("A", lambda emit: None)
        tickets.append(worker.submit("B", lambda emit: None))
        with pytest.raises(TooMuch, match="queue is full"):
            worker.submit("C", lambda emit: None)
        gate.set()
        await asyncio.gather(*(hear(t) for t in tickets))
        worker.close()

    asyncio.run(play())


def test_eight_people_take_turns() -> None:
    """Each with three questions: no second answer before everyone has had a first."""

    async def play() -> list[str]:
        worker, order, gate = ModelWorker(), [], threading.Event()
        held = worker.submit("first", lambda emit: gate.wait(20) and None)

        def job(name: str) -> Ticket:
            return worker.submit(name, lambda emit: order.append(name))

        tickets = [job(name) for name in "ABCDEFGH" for _ in range(3)]
        gate.set()
        await asyncio.gather(*(hear(t) for t in [held, *tickets]))
        worker.close()
        return order

    order = asyncio.run(play())
    rounds = [set(order[n : n + 8]) for n in (0, 8, 16)]
    assert rounds == [set("ABCDEFGH")] * 3


def test_what_may_wait_waits_for_others() -> None:
    """A's second step comes after B's first; without turns, B would wait for all of A's."""

    async def play() -> tuple[list[str], list[Event]]:
        worker, order, gate = ModelWorker(), [], threading.Event()
        held = worker.submit("first", lambda emit: gate.wait(20) and None)

        def steps(name: str, left: int) -> Job:
            def step(emit: Emit, /) -> Job | None:
                order.append(f"{name}{left}")
                return steps(name, left - 1) if left else None

            return step

        tickets = [worker.submit(name, steps(name, 2)) for name in "AB"]
        gate.set()
        heard = await asyncio.gather(*(hear(t) for t in [*tickets, held]))
        worker.close()
        return order, heard[0]

    order, events = asyncio.run(play())
    assert order == ["A2", "B2", "A1", "B1", "A0", "B0"]
    assert [type(e) for e in events] == [Queued, Finished]


def test_what_needs_the_model_no_more_holds_nobody_up() -> None:
    """One that goes on elsewhere: others have the model, its events still come, then the end."""

    async def play() -> tuple[list[Event], list[Event]]:
        worker, later = ModelWorker(), Future[None]()
        first = worker.submit("A", lambda emit: later)
        other = await hear(worker.submit("B", lambda emit: None))
        first.emit(Started(side="answer"))
        later.set_result(None)
        heard = await hear(first)
        worker.close()
        return heard, other

    heard, other = asyncio.run(play())
    assert [type(e) for e in other] == [Queued, Finished]
    assert [type(e) for e in heard] == [Queued, Started, Finished]


def stepping(order: list[str], name: str, rank: Rank, left: int) -> Job:
    """A job of some steps, those after the first of a rank of their own."""

    def step(emit: Emit, /) -> More:
        order.append(f"{name}{left}")
        return NextStep(stepping(order, name, rank, left - 1), rank) if left else None

    return step


def test_words_come_before_anybodys_effects() -> None:
    """B asks while A's effects wait: without ranks, B waits for one of them, or for all."""

    async def play() -> list[str]:
        worker, order, tickets = ModelWorker(), [], []
        held, told = threading.Event(), threading.Event()

        def asks(emit: Emit, /) -> More:
            order.append("A2")

            def first(emit: Emit, /) -> More:
                told.set()
                held.wait(20)
                order.append("A1")
                return NextStep(stepping(order, "A", Rank.REST, 0), Rank.REST)

            return NextStep(first, Rank.REST)

        tickets.append(worker.submit("A", asks, Rank.CLICK))
        await asyncio.to_thread(told.wait, 20)
        late = stepping(order, "B", Rank.REST, 1)
        tickets.append(worker.submit("C", lambda emit: order.append("C"), Rank.ANSWER))
        tickets.append(worker.submit("B", late, Rank.CLICK))
        held.set()
        await asyncio.gather(*(hear(t) for t in tickets))
        worker.close()
        return order

    assert asyncio.run(play()) == ["A2", "A1", "B1", "C", "A0", "B0"]


def test_a_click_is_done_between_two_tokens_of_an_answer() -> None:
    """And an answer that has begun ends, and is made ready to be asked about, before another."""

    async def play() -> list[str]:
        worker, order, begun, clicked = ModelWorker(), [], threading.Event(), threading.Event()

        def answer(name: str) -> Generator[None, None, More]:
            for n in range(3):
                order.append(f"{name}{n}")
                begun.set()
                clicked.wait(20)
                yield
            return BackgroundWork(lambda: order.append("aside"))

        tickets = [worker.submit(name, lambda _, n=name: taken(answer(n))) for name in "AB"]
        await asyncio.to_thread(begun.wait, 20)
        tickets.append(worker.submit("C", lambda emit: order.append("click"), Rank.CLICK))
        clicked.set()
        await asyncio.gather(*(hear(t) for t in tickets))
        until = time.monotonic() + 20
        while order.count("aside") < 2 and time.monotonic() < until:
            await asyncio.sleep(0.005)
        worker.close()
        return order

    order = asyncio.run(play())
    assert order == ["A0", "click", "A1", "A2", "aside", "B0", "B1", "B2", "aside"]


def test_nothing_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clicks that never end, and an effect whose patience is over."""
    monkeypatch.setattr(queue, "PATIENCE", dict.fromkeys(queue.PATIENCE, 0.0))
    monkeypatch.setattr(queue, "SPARED", 0.0)

    async def play() -> list[str]:
        worker, order = ModelWorker(), []

        def click(emit: Emit, /) -> More:
            order.append("click")
            return None if "A0" in order or len(order) > 1_000 else click

        tickets = [
            worker.submit("A", stepping(order, "A", Rank.REST, 2), Rank.CLICK),
            worker.submit("B", click, Rank.CLICK),
        ]
        await asyncio.gather(*(hear(t) for t in tickets))
        worker.close()
        return order

    order = asyncio.run(play())
    assert [name for name in order if name != "click"] == ["A2", "A1", "A0"]
    assert len(order) < 1_000


def test_what_is_left_aside_may_fail_and_is_dropped_by_those_who_want_none() -> None:
    async def play() -> tuple[list[list[Event]], list[str]]:
        worker, done = ModelWorker(), []
        failed = threading.Event()

        def broken() -> None:
            failed.set()
            raise ZeroDivisionError

        def answer() -> Generator[None, None, More]:
            yield
            return BackgroundWork(lambda: done.append("aside"))

        heard = [
            await hear(worker.submit("A", lambda emit: BackgroundWork(broken))),
            await hear(worker.submit("A", lambda emit: alone(taken(answer())))),
        ]
        await asyncio.to_thread(failed.wait, 20)
        heard.append(await hear(worker.submit("A", lambda emit: None)))
        worker.close()
        return heard, done

    heard, done = asyncio.run(play())
    assert [[type(e) for e in events] for events in heard] == [[Queued, Finished]] * 3
    assert not done
