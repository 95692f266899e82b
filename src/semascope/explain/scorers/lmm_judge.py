"""A judge that asks an LMM: does this sample fit the words, from 0 to 3?

Costs a call for every (explanation, sample); the offline judge (``judge``) costs none. It sees
picture or text as they are, without caption and without any mark of where the feature fired.
An answer that cannot be read, twice, is NaN: it is counted with its reason, and never a judgement.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import openai
from numpy.typing import NDArray

from semascope.errors import ExplainError
from semascope.evidence.types import EvidenceSample
from semascope.explain.llm import parse_answer, prompts
from semascope.explain.llm.async_map import async_map
from semascope.explain.llm.client import LMM
from semascope.explain.llm.messages import sample_parts
from semascope.explain.types import Cost, Explanation, Pictures

Answer = TypeVar("Answer")
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"fit": {"type": "number"}},
    "required": ["fit"],
    "additionalProperties": False,
}


EARLY = 40
"""Judgements after which a judge none of whose answers could be read is asked no more."""


class LMMJudge:
    """Rates samples by asking; ``cost``, ``asked`` and ``unread`` add up over its life."""

    def __init__(self, lmm: LMM, pictures: Pictures) -> None:
        self.lmm = lmm
        self.pictures = pictures
        self.prompt = prompts.load("detect")
        self.cost = Cost()
        self.asked = 0
        """Judgements that were asked for and came back, readable or not."""
        self.unread: Counter[str] = Counter()
        """Those that could not be read, by reason."""

    @property
    def name(self) -> str:
        """The model that is asked."""
        return f"lmm:{self.lmm.model}"

    def rate(
        self, explanations: Sequence[Explanation], samples: Sequence[Sequence[EvidenceSample]]
    ) -> list[NDArray[np.float64]]:
        """For each explanation, (n,) fit of each of its samples, 0 to 1; NaN where none was read.

        Raises ServerUnreachable and ExplainError as the client does.
        """
        flat = [(e, s) for e, group in zip(explanations, samples, strict=True) for s in group]
        fits = np.array(asyncio.run(self._all(flat)), np.float64)
        return np.split(fits, np.cumsum([len(group) for group in samples])[:-1]) if samples else []

    async def _all(self, pairs: Sequence[tuple[Explanation, EvidenceSample]]) -> list[float]:
        async with self.lmm.connect() as client:
            stream = async_map(
                pairs, lambda pair: self._one(client, *pair), limit=self.lmm.concurrency
            )
            return [fit async for fit in stream]

    async def _one(
        self, client: openai.AsyncOpenAI, said: Explanation, shown: EvidenceSample
    ) -> float:
        text = self.prompt.fill(description=said.description, label=said.label)
        parts = [{"type": "text", "text": text}, *sample_parts(shown, self.pictures)]
        fit = await self.ask(client, parts, _SCHEMA, parse_answer.fit_of)
        return float("nan") if fit is None else fit

    async def ask(
        self,
        client: openai.AsyncOpenAI,
        parts: Sequence[Mapping[str, Any]],
        schema: Mapping[str, Any],
        read: Callable[[str], Answer],
    ) -> Answer | None:
        """One judgement; None, counted with its reason, where ``read`` raises twice.

        Raises ServerUnreachable and ExplainError as the client does, and ExplainError where none
        of the first ``EARLY`` answers could be read.
        """
        messages = [{"role": "user", "content": list(parts)}]
        reason = ""
        # Asked the same again, a server at temperature 0 would say the same: another seed.
        for seed in (0, 1000):
            reply = await self.lmm.ask(
                client, messages, schema, seed=seed, usable=lambda text: _reads(read, text)
            )
            self.cost += reply.cost
            reason = reply.failure
            if not reason:
                try:
                    answer = read(reply.text)
                except parse_answer.UnreadableError as error:
                    reason = str(error)
                else:
                    self.asked += 1
                    return answer
            elif reply.final:
                break
        self._failed(reason)
        return None

    def _failed(self, reason: str) -> None:
        self.asked += 1
        self.unread[reason] += 1
        if self.unread.total() == self.asked >= EARLY:
            raise ExplainError(
                f"{self.asked} of {self.asked} judgements of {self.lmm.model} could not be used: "
                f"{reason.rstrip('.')}. No score is given for what was not measured. Name another "
                "model with --model; one that thinks may need more with --max-reply-tokens."
            )


def _reads(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except parse_answer.UnreadableError:
        return False
    return True
