"""Clusters named by an LMM: two to five words, and their coherence from 1 to 7.

Transluce's Monitor (Choi et al. 2024) asks a model for both. They replace the label and the figure
of ``clusters``, which need no server. The server's text is not trusted: it is parsed, stripped of
markup, bounded in length, and only ever shown as plain text.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semascope.explain.llm import parse_answer, prompts
from semascope.explain.llm.async_map import async_map

if TYPE_CHECKING:
    import openai

    from semascope.explain.llm.client import LMM

MOST_LINES = 24
"""Descriptions of a cluster that are shown to the LMM, those of the strongest features."""
LONGEST_LINE = 240
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "coherence": {"type": "number"}},
    "required": ["label", "coherence"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ClusterName:
    """The name that an LMM gave one cluster."""

    cluster: int
    """Index of the cluster in the list."""
    label: str = ""
    """Empty if there is none."""
    coherence: float | None = None
    """1 to 7, if the LMM gave it."""
    note: str = ""
    """Why there is no name."""


@dataclass(slots=True)
class ClusterNamer:
    """Names clusters. Thread-safe.

    Args:
        lmm: the server, with its cache of replies.
        most: most questions to the server, cached replies not counted; 0 sets no limit.
    """

    lmm: LMM
    most: int = 0
    _spent: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def author(self) -> str:
        """Author of the names, as the atlas records it."""
        return f"lmm:{self.lmm.model}"

    @property
    def spent(self) -> int:
        """Questions that the server has answered."""
        return self._spent

    def name(self, groups: Sequence[Sequence[str]], emit: Callable[[ClusterName], bool]) -> None:
        """Name groups of descriptions; ``emit`` gets each name, and stops by returning True.

        Blocks: call it in a thread without an event loop.

        Raises:
            ServerUnreachable: the server does not answer.
            ExplainError: see the client.
        """
        asyncio.run(self._all(groups, emit))

    async def _all(
        self, groups: Sequence[Sequence[str]], emit: Callable[[ClusterName], bool]
    ) -> None:
        async with self.lmm.connect() as client:
            names = async_map(
                enumerate(groups), lambda one: self._one(client, *one), limit=self.lmm.concurrency
            )
            async for name in names:
                if emit(name):
                    await names.aclose()  # type: ignore[attr-defined]  # cancels what is under way
                    return

    async def _one(
        self, client: openai.AsyncOpenAI, number: int, descriptions: Sequence[str]
    ) -> ClusterName:
        if not self._take_question():
            note = f"The budget of {self.most} questions to {self.lmm.model} is spent."
            return ClusterName(number, note=note)
        try:
            reply = await self.lmm.ask(client, question(descriptions), SCHEMA, usable=_usable)
        except BaseException:
            self._return_question()
            raise
        if reply.cached:
            self._return_question()
        if reply.failure:
            return ClusterName(number, note=parse_answer.plain(reply.failure))
        return read(number, reply.text)

    def _take_question(self) -> bool:
        """Take one question from the budget; False if none is left."""
        with self._lock:
            if self.most and self._spent >= self.most:
                return False
            self._spent += 1
            return True

    def _return_question(self) -> None:
        """Give back a question that cost nothing."""
        with self._lock:
            self._spent -= 1


def question(descriptions: Sequence[str]) -> list[dict[str, Any]]:
    """Chat messages that ask for the name of some descriptions, quoted as data."""
    lines = "\n".join(
        f"- {parse_answer.plain(d)[:LONGEST_LINE]}" for d in descriptions[:MOST_LINES]
    )
    return [{"role": "user", "content": prompts.load("cluster").fill(lines=lines)}]


def read(number: int, text: str) -> ClusterName:
    """The name in an answer, or a note if it has none that can be used."""
    try:
        answer = parse_answer.parse(text, ("label",))
        label = parse_answer.name_of(answer)
    except parse_answer.UnreadableError as error:
        return ClusterName(number, note=parse_answer.plain(error))
    if not any(c.isalnum() for c in label):
        return ClusterName(number, note="The model gave no name.")
    return ClusterName(number, label, _coherence(answer.get("coherence")))


def _coherence(value: Any) -> float | None:
    """1 to 7, also from "6.5" or "6/7"; None for anything else."""
    figure = parse_answer.number(value)
    if figure is None or figure[1] not in (0.0, 7.0):
        return None
    return min(max(figure[0], 1.0), 7.0)


def _usable(text: str) -> bool:
    return bool(read(0, text).label)
