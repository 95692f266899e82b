"""A chooser that asks an LMM: which of these descriptions fits the sample best?

One question for each sample, where rating every description would take six. The descriptions come
in an order drawn for each sample, since models prefer the first of a list. An answer that cannot
be read, twice, is NaN: it is counted with its reason, and is never a choice.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import openai
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample
from semascope.explain.llm import parse_answer, prompts, reply_text
from semascope.explain.llm.async_map import async_map
from semascope.explain.llm.messages import sample_parts
from semascope.explain.scorers.lmm_judge import LMMJudge
from semascope.explain.types import Explanation
from semascope.statistics import Floats

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"choice": {"type": "integer"}},
    "required": ["choice"],
    "additionalProperties": False,
}
Question = tuple[Sequence[Explanation], EvidenceSample]


class LMMChooser:
    """Asks the model of a judge, and adds to the judge's ``cost``, ``asked`` and ``unread``."""

    def __init__(self, judge: LMMJudge, *, seed: int = 0) -> None:
        self.judge = judge
        self.seed = seed
        self.prompt = prompts.load("choose")

    @property
    def name(self) -> str:
        """The model that is asked."""
        return self.judge.name

    def choose(
        self,
        candidates: Sequence[Sequence[Explanation]],
        samples: Sequence[Sequence[EvidenceSample]],
    ) -> list[Floats]:
        """For each group of k candidates, (n, k): 1 for the choice; NaN where none was read.

        Raises ServerUnreachable and ExplainError as the client does.
        """
        questions = [(c, s) for c, some in zip(candidates, samples, strict=True) for s in some]
        rows = iter(asyncio.run(self._all(questions)))
        return [
            np.stack([next(rows) for _ in some])
            if some
            else np.zeros((0, len(group)), dtype=np.float64)
            for group, some in zip(candidates, samples, strict=True)
        ]

    async def _all(self, questions: Sequence[Question]) -> list[Floats]:
        async with self.judge.lmm.connect() as client:
            limit = self.judge.lmm.concurrency
            stream = async_map(questions, lambda q: self._one(client, *q), limit=limit)
            return [row async for row in stream]

    async def _one(
        self, client: openai.AsyncOpenAI, group: Sequence[Explanation], shown: EvidenceSample
    ) -> Floats:
        order = self._order(shown, len(group))
        text = self.prompt.fill(
            descriptions="\n".join(
                f"{number}. {group[place].label}: {group[place].description}"
                for number, place in enumerate(order.tolist(), 1)
            ),
            most=str(len(group)),
        )
        parts = [{"type": "text", "text": text}, *sample_parts(shown, self.judge.pictures)]
        choice = await self.judge.ask(
            client, parts, _SCHEMA, lambda reply: choice_of(reply, len(group))
        )
        if choice is None:
            return np.full(len(group), np.nan)
        row: Floats = np.eye(len(group))[order[choice - 1]]
        return row

    def _order(self, shown: EvidenceSample, k: int) -> NDArray[np.int64]:
        key = (self.seed, zlib.crc32(shown.id.encode()))
        return np.random.default_rng(key).permutation(k)


def choice_of(text: str, most: int) -> int:
    """The number of the description that was chosen, 1 to ``most``.

    Raises:
        UnreadableError: No whole number from 1 to ``most``.
    """
    bare = reply_text.whole(text.strip()) if len(text) < 64 else None
    answer = (
        {"choice": bare} if parse_answer.number(bare) else parse_answer.parse(text, ("choice",))
    )
    number = parse_answer.number(answer.get("choice"))
    if number is None or number[1] or number[0] not in range(1, most + 1):
        given = str(answer.get("choice"))[:40]
        raise parse_answer.UnreadableError(
            f"The judge chose none of {most} descriptions: {given!r}"
        )
    return int(number[0])
