"""The explainer that asks an LMM: any OpenAI-compatible server, pictures and all.

One question a feature, many under way; an answer that cannot be read is asked for once more,
then becomes an abstention, as does a question that the server refuses: one bad answer never ends a
run of 131,072. A server that is gone does end it, in a sentence; what was answered before is in the
cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import openai

from semascope.evidence.types import FeatureEvidence
from semascope.explain.llm import parse_answer, prompts
from semascope.explain.llm.async_map import async_map
from semascope.explain.llm.client import LMM
from semascope.explain.llm.messages import SCHEMA, question
from semascope.explain.llm.reply_cache import content_key
from semascope.explain.types import Cost, Explanation, Pictures, Promoted, abstain


class LMMExplainer:
    """Asks about every record's strongest exemplars, beside silent ones."""

    def __init__(
        self,
        lmm: LMM,
        pictures: Pictures,
        *,
        promoted: Promoted | None = None,
        firing: int = 8,
        silent: int = 4,
        seed: int = 0,
        prompt_version: int = 1,
    ) -> None:
        self.lmm = lmm
        self.pictures = pictures
        self.promoted = promoted
        self.firing = firing
        self.silent = silent
        self.seed = seed
        """Other seeds give other answers to the same question (``best_of``)."""
        self.prompt = prompts.load("explain", prompt_version)

    @property
    def name(self) -> str:
        """The model that is asked."""
        return f"lmm:{self.lmm.model}" + (f"#{self.seed}" if self.seed else "")

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order. Not to be called from a running event loop."""
        return asyncio.run(self.aexplain(records))

    async def aexplain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """The same, awaited."""
        async with self.lmm.connect() as client:
            stream = async_map(
                records, lambda record: self._one(client, record), limit=self.lmm.concurrency
            )
            return [explanation async for explanation in stream]

    def messages(self, record: FeatureEvidence) -> list[dict[str, Any]]:
        """What would be asked about a record; the planner counts it without asking."""
        return question(
            record.split("explain"),
            self.pictures,
            self.prompt,
            firing=self.firing,
            silent=self.silent,
            promoted=self.promoted(record.index) if self.promoted else (),
        )

    async def _one(self, client: openai.AsyncOpenAI, record: FeatureEvidence) -> Explanation:
        if not record.split("explain").top:
            reason = "No sample to explain it from."
            return abstain(record, self.name, reason, self.prompt.version)
        messages = self.messages(record)
        cost, reason = Cost(), ""
        # Asked the same again, a server at temperature 0 would say the same: another seed.
        for seed in (self.seed, self.seed + 1000):
            reply = await self.lmm.ask(
                client, messages, SCHEMA, seed=seed, usable=parse_answer.usable
            )
            cost += reply.cost
            reason = reply.failure
            if not reason:
                try:
                    return self._explanation(record, reply.text, messages, cost)
                except parse_answer.UnreadableError as error:
                    reason = str(error)
            elif reply.final:
                break
        words = abstain(record, self.name, reason, self.prompt.version).spending(cost)
        return replace(words, replies={self.name: reason})

    def _explanation(
        self,
        record: FeatureEvidence,
        text: str,
        messages: list[dict[str, Any]],
        cost: Cost,
    ) -> Explanation:
        said = parse_answer.read(text)
        if said is None:
            reason = parse_answer.abstention(text)
            words = abstain(record, self.name, reason, self.prompt.version).spending(cost)
            return replace(words, replies={self.name: ""})
        return Explanation(
            feature=record.index,
            description=said.description,
            label=said.label,
            category=said.category,
            confidence=said.confidence,
            author=self.name,
            prompt_version=self.prompt.version,
            inputs=content_key({"messages": messages})[:16],
            cost=cost,
            replies={self.name: ""},
        )
