"""A judge that asks an LMM: does this sample fit the words, from 0 to 3?

Costs a call for every (explanation, sample); the offline judge (``judge``) costs none. It sees
picture or text as they are, without caption and without any mark of where the feature fired.
An answer that cannot be read counts as 1.5, undecided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import openai
from numpy.typing import NDArray

from semascope.evidence.types import Shown
from semascope.explain import answers, prompts
from semascope.explain.async_map import async_map
from semascope.explain.client import LMM
from semascope.explain.messages import sample_parts
from semascope.explain.types import Cost, Explanation, Pictures

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"fit": {"type": "number"}},
    "required": ["fit"],
    "additionalProperties": False,
}


class LMMJudge:
    """Rates samples by asking; ``cost`` adds up over its life."""

    def __init__(self, lmm: LMM, pictures: Pictures) -> None:
        self.lmm = lmm
        self.pictures = pictures
        self.prompt = prompts.load("detect")
        self.cost = Cost()

    @property
    def name(self) -> str:
        """The model that is asked."""
        return f"lmm:{self.lmm.model}"

    def rate(
        self, explanations: Sequence[Explanation], samples: Sequence[Sequence[Shown]]
    ) -> list[NDArray[np.float64]]:
        """For each explanation, (n,) fit of each of its samples, 0 to 1."""
        flat = [(e, s) for e, group in zip(explanations, samples, strict=True) for s in group]
        fits = np.array(asyncio.run(self._all(flat)), np.float64)
        return np.split(fits, np.cumsum([len(group) for group in samples])[:-1])

    async def _all(self, pairs: Sequence[tuple[Explanation, Shown]]) -> list[float]:
        async with self.lmm.connect() as client:
            stream = async_map(
                pairs, lambda pair: self._one(client, *pair), limit=self.lmm.concurrency
            )
            return [fit async for fit in stream]

    async def _one(self, client: openai.AsyncOpenAI, said: Explanation, shown: Shown) -> float:
        text = self.prompt.fill(description=said.description, label=said.label)
        parts = [{"type": "text", "text": text}, *sample_parts(shown, self.pictures)]
        reply = await self.lmm.ask(client, [{"role": "user", "content": parts}], _SCHEMA)
        self.cost += reply.cost
        try:
            fit = answers.parse(reply.text).get("fit")
        except answers.UnreadableError:
            fit = None
        known = isinstance(fit, int | float) and not isinstance(fit, bool) and fit == fit
        return min(max(float(fit), 0.0), 3.0) / 3 if known else 0.5  # type: ignore[arg-type]
