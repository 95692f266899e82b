"""Clicks on tokens over the page's own queue: alone, eight at one instant, eight people reading.

* *plain*: nothing is kept from the click before, so that each runs forward and backward.
* *kept*: the forward pass is held, as it is once an answer was written and nobody waited.
* *page*: eight people for a while; each asks, reads the answer for 2 to 6 s, clicks a token of it,
  reads, clicks another, and asks the next question after four clicks. Half of them show a picture.
  Effects are measured and the answers are written in between, as on the page, and a click ends what
  is left of the one before it.

Every figure is beside one forward and one backward pass of the same conversation, measured alone.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from semascope.causal.attribution.pass_cache import PassCache
from semascope.causal.attribution.watched_run import run_for
from semascope.monitor.conversation import token_target
from semascope.serve.explorer.why import TokenExplainer
from semascope.serve.queue.jobs import Rank, taken
from semascope.serve.queue.worker import ModelWorker, Ticket
from semascope.serve.schema.answers import Token
from semascope.serve.schema.explanations import Clustered
from semascope.serve.schema.requests import ChatAsk, FollowedAsk, WhyAsk

USERS = 8
CLICKS = 4
"""Of a person on one answer, before the next question."""
READS = (2.0, 6.0)
"""Seconds."""
WORDS = 24
"""Tokens of an answer at most."""
QUESTION = "Which number is bigger, 9.9 or 9.11? Think of dates, of chapters, and of sums of money."
OTHERS = (
    "What is in the picture, and where does it stand?",
    "How many things are there? Count them one after the other, and say what each of them is.",
    "Why do the leaves of a tree turn red and yellow in autumn, and which of them stay green?",
    "Name three towns by the sea, and say of each one what people there live by.",
    "What colour is it?",
    "A train leaves at nine and takes two hours and a half. When does it arrive?",
    "Tell me a short story about a dog that finds a letter on the road.",
    "Describe it to somebody who cannot see it, beginning with what is largest.",
)


def asking(text: str, picture: str = "") -> ChatAsk:
    """A question, as the page puts it."""
    said = {"role": "user", "text": text, "pictures": [picture] if picture else []}
    return ChatAsk.model_validate({"messages": [said], "max_new_tokens": WORDS})


def picture(name: str) -> Image.Image:
    """A drawing of its own for each name."""
    draw = np.random.default_rng(int(name, 16))
    image = Image.new("RGB", (224, 224), tuple(draw.integers(0, 255, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for left, top, wide, high, *colour in draw.integers(20, 120, (4, 7)).tolist():
        pen.ellipse((left, top, left + wide, top + high), fill=tuple(2 * c for c in colour))
    return image


def click(ask: ChatAsk, answer: Sequence[int], effects: int = 0) -> WhyAsk:
    """A click on the last of these tokens."""
    said = {name: getattr(ask, name) for name in ChatAsk.model_fields}
    return WhyAsk(**said, answer=list(answer), clusters=True, effects=effects, limit=24)


def alone(explainer: TokenExplainer, ask: ChatAsk, answer: Sequence[int], repeats: int) -> float:
    """Median seconds of one forward and one backward pass of a conversation."""
    followed = FollowedAsk(**click(ask, answer).model_dump(include=set(FollowedAsk.model_fields)))
    asked = explainer.session.conversation(followed)
    known, target = list(asked.steerable.dictionaries.values()), token_target(asked)
    subject, seconds = asked.steerable.subject, []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        run_for(subject, asked.batch, known, target, {})
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


def keep(explainer: TokenExplainer, holder: PassCache | None) -> None:
    """Have clicks begin with what this holds; with none, each runs by itself."""
    vars(explainer.session)["pass_cache"] = holder


def clicks(explainer: TokenExplainer, repeats: int, seconds: float) -> dict[str, Any]:
    """Seconds from click to clusters, for one person and for eight, in every situation."""
    ask, answer = asking(QUESTION).model_copy(update={"prefill": "The bigger number is"}), (5, 9)
    keep(explainer, None)
    plain = alone(explainer, ask, answer, max(3, repeats // 4))
    asked = explainer.session.conversation(click(ask, answer))
    record: dict[str, Any] = {"tokens": asked.total, "seconds_forward_backward": plain}
    rows: list[dict[str, Any]] = []
    one = [click(ask, answer)]
    asyncio.run(_rounds(explainer, one, 1))  # the first loads what is loaded once
    for users, asks in ((1, one), (USERS, one * USERS)):
        taken = asyncio.run(_rounds(explainer, asks, max(1, repeats // users)))
        p50, p95 = _percentiles(taken)
        record |= {
            f"seconds_click_to_clusters_p50_{users}_users": p50,
            f"seconds_click_to_clusters_p95_{users}_users": p95,
            f"click_to_forward_backward_p50_{users}_users": p50 / plain,
            f"click_to_forward_backward_p95_{users}_users": p95 / plain,
        }
        when = "one person" if users == 1 else "eight click at one instant"
        rows.append(_row(f"{when}, nothing kept", taken, [t / plain for t in taken]))
    rows += _kept(explainer, repeats)
    row, about = _page(explainer, seconds)
    title = "From a click to clusters, in seconds and beside one forward and one backward pass"
    return record | about | {"tables": {"clicks": (title, [*rows, row])}}


def _kept(explainer: TokenExplainer, repeats: int) -> list[dict[str, Any]]:
    """One person and eight at one instant, each at a conversation of their own that is held."""
    holder = PassCache()
    own = [asking(text, f"{n:016x}" if n % 2 else "") for n, text in enumerate(OTHERS)]
    asks = [click(ask, range(40, 60)) for ask in own]
    for ask in asks:
        vars(explainer.session)["pass_cache"] = holder
        explainer.session.conversation(ask).cached_pass()
    keep(explainer, None)
    single = [alone(explainer, ask, ask.answer, 3) for ask in asks]
    keep(explainer, holder)
    rows = []
    for when, users in (("one person", 1), ("eight click at one instant", USERS)):
        seconds: list[float] = []
        ratios: list[float] = []
        for turn in range(max(1, repeats // users)):
            part = [(turn + n) % USERS for n in range(users)]
            taken = asyncio.run(_rounds(explainer, [asks[n] for n in part], 1))
            seconds += taken
            ratios += [t / single[n] for t, n in zip(taken, part, strict=True)]
        rows.append(_row(f"{when}, passes kept", seconds, ratios))
    keep(explainer, None)
    return rows


def _row(when: str, taken: Sequence[float], ratios: Sequence[float]) -> dict[str, Any]:
    p50, p95 = _percentiles(taken)
    r50, r95 = _percentiles(ratios)
    return {
        "who clicks": when, "clicks": len(taken), "seconds, p50": p50, "seconds, p95": p95,
        "× forward + backward, p50": r50, "× forward + backward, p95": r95,
    }  # fmt: skip


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    return float(np.percentile(values, 50)), float(np.percentile(values, 95))


async def _rounds(explainer: TokenExplainer, asks: Sequence[WhyAsk], rounds: int) -> list[float]:
    """Seconds of every click, all of a round at one instant."""
    worker, taken = ModelWorker(), []
    for _ in range(rounds):
        begun = time.perf_counter()
        tickets = [_click(worker, explainer, str(n), ask) for n, ask in enumerate(asks)]
        taken += await asyncio.gather(*(_clustered(ticket, begun) for ticket in tickets))
    worker.close()
    return taken


def _click(worker: ModelWorker, explainer: TokenExplainer, client: str, ask: WhyAsk) -> Ticket:
    return worker.submit(client, lambda emit: explainer.why(ask, emit), Rank.CLICK)


async def _clustered(ticket: Ticket, begun: float) -> float:
    """Seconds until the clusters come; the job runs to its end all the same."""
    taken = float("nan")
    async for event in ticket.events():
        if isinstance(event, Clustered):
            taken = time.perf_counter() - begun
            assert event.clusters, event.note
    return taken


@dataclass(slots=True)
class _Person:
    """Somebody at the page: asks, reads, clicks."""

    worker: ModelWorker
    explainer: TokenExplainer
    number: int
    until: float
    taken: list[tuple[ChatAsk, tuple[int, ...], float]] = field(default_factory=list)
    """Conversation, its answer, seconds of one click on it."""
    answers: int = 0

    async def stay(self) -> None:
        """Until the time is over."""
        draw = np.random.default_rng(self.number)
        await asyncio.sleep(float(draw.uniform(0, READS[1])))
        while time.perf_counter() < self.until:
            ask = self._question(self.answers)
            answer = await self._answer(ask)
            self.answers += 1
            rest: asyncio.Task[float] | None = None
            for at in draw.integers(0, len(answer), CLICKS).tolist():
                await asyncio.sleep(float(draw.uniform(*READS)))
                if rest is not None:
                    rest.cancel()
                if time.perf_counter() >= self.until:
                    return
                seconds, rest = await self._why(click(ask, answer[: at + 1], effects=8))
                self.taken.append((ask, answer, seconds))

    def _question(self, asked: int) -> ChatAsk:
        """Nobody's but this person's."""
        text = f"{OTHERS[(self.number + asked) % len(OTHERS)]} I am {self.number} and {asked}."
        return asking(text, f"{100 * self.number + asked:016x}" if self.number % 2 else "")

    async def _answer(self, ask: ChatAsk) -> tuple[int, ...]:
        session = self.explainer.session
        ticket = self.worker.submit(str(self.number), lambda emit: taken(session.chat(ask, emit)))
        return tuple([e.id async for e in ticket.events() if isinstance(e, Token)])

    async def _why(self, ask: WhyAsk) -> tuple[float, asyncio.Task[float]]:
        """Seconds until the clusters, and what still comes."""
        begun = time.perf_counter()
        events = _click(self.worker, self.explainer, str(self.number), ask).events()
        async for event in events:
            if isinstance(event, Clustered):
                break

        async def rest() -> float:
            async for _ in events:
                pass
            return 0.0

        return time.perf_counter() - begun, asyncio.create_task(rest())


def _page(explainer: TokenExplainer, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Eight people reading: a row of the table, and the same for the record."""
    keep(explainer, PassCache())

    async def play() -> list[_Person]:
        worker, until = ModelWorker(), time.perf_counter() + seconds
        people = [_Person(worker, explainer, n, until) for n in range(USERS)]
        await asyncio.gather(*(person.stay() for person in people))
        await asyncio.to_thread(worker.close)
        return people

    people = asyncio.run(play())
    holder = explainer.session.pass_cache
    keep(explainer, None)
    known: dict[str, float] = {}
    taken = [one for person in people for one in person.taken]
    for ask, answer, _ in taken:
        name = ask.model_dump_json()
        if name not in known:
            known[name] = alone(explainer, ask, answer, 3)
    waited = [s for *_, s in taken]
    ratios = [s / known[ask.model_dump_json()] for ask, _, s in taken]
    about: dict[str, Any] = {
        "page_answers": sum(person.answers for person in people),
        "page_megabytes_kept": holder.size / 1e6,
    }
    for name, values in (
        ("seconds_click_to_clusters", waited),
        ("click_to_forward_backward", ratios),
    ):
        p50, p95 = _percentiles(values)
        about |= {f"{name}_p50_8_at_the_page": p50, f"{name}_p95_8_at_the_page": p95}
    return _row("eight people at the page", waited, ratios), about
