"""The explainer that is a model on this machine: any image-text-to-text model of a subject's kind.

It is asked what an LMM server is asked (``messages``), with the pictures first, since not every
chat template takes pictures between words; its answer is read and mistrusted in the same way.
Knows any object with the subject's ``generate``; knows no server.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Protocol

from PIL import Image

from semascope.corpus.sample import Sample, Turn
from semascope.errors import ExplainError
from semascope.evidence.types import FeatureEvidence
from semascope.explain.llm import parse_answer, prompts
from semascope.explain.llm.messages import question
from semascope.explain.llm.reply_cache import content_key
from semascope.explain.text.exemplar_terms import distinct, mode_of
from semascope.explain.types import Cost, Explanation, Pictures, Promoted, abstain


class AnsweringModel(Protocol):
    """A local model: ``Subject``."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def has_vision(self) -> bool:
        """Whether it sees."""
        ...

    def generate(
        self, sample: Sample, *, max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> Any:
        """An answer with ``text``, ``tokens`` and ``prompt_tokens`` (``subject.Generation``)."""
        ...


class LocalExplainer:
    """Asks a local model about every record's strongest exemplars, beside silent ones.

    Fewer pictures than a server is sent: each costs hundreds of tokens of a small context.
    """

    def __init__(
        self,
        model: AnsweringModel,
        pictures: Pictures,
        *,
        promoted: Promoted | None = None,
        firing: int = 4,
        silent: int = 2,
        size: int = 224,
        max_new_tokens: int = 200,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.pictures = pictures
        self.promoted = promoted
        self.firing, self.silent, self.size = firing, silent, size
        self.max_new_tokens = max_new_tokens
        self.seed = seed
        self.prompt = prompts.load("explain")

    @property
    def name(self) -> str:
        """The model that is asked."""
        return f"local:{self.model.name}" + (f"#{self.seed}" if self.seed else "")

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order.

        Raises ExplainError where a feature fires on pictures and the model cannot see.
        """
        return [self._one(record) for record in records]

    def _one(self, record: FeatureEvidence) -> Explanation:
        mine = record.split("explain")
        if not mine.top:
            reason = "No sample to explain it from."
            return abstain(record, self.name, reason, self.prompt.version)
        self._check(mine)
        messages = question(
            mine,
            self.pictures,
            self.prompt,
            firing=self.firing,
            silent=self.silent,
            promoted=self.promoted(record.index) if self.promoted else (),
            size=self.size,
        )
        sample = as_sample(messages, f"feature/{record.index}")
        cost, reason, failure = Cost(), "", ""
        # A greedy model would give the same unreadable answer again.
        for temperature, seed in ((0.0 if not self.seed else 0.7, self.seed), (0.7, self.seed + 1)):
            start = perf_counter()
            reply = self.model.generate(
                sample, max_new_tokens=self.max_new_tokens, temperature=temperature, seed=seed
            )
            seconds = perf_counter() - start
            cost += Cost(1, reply.prompt_tokens, len(reply.tokens), seconds)
            try:
                said = parse_answer.read(reply.text)
            except parse_answer.UnreadableError as error:
                reason = failure = str(error)
                if len(reply.tokens) >= self.max_new_tokens:
                    reason = failure = f"cut off at {self.max_new_tokens:,} tokens"
                continue
            failure = ""
            if said is None:
                reason = parse_answer.abstention(reply.text)
                break
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
        words = abstain(record, self.name, reason, self.prompt.version).spending(cost)
        return replace(words, replies={self.name: failure})

    def _check(self, record: FeatureEvidence) -> None:
        seen = any(mode_of(e) == "picture" for e in distinct(record)[: self.firing])
        if seen and not self.model.has_vision:
            raise ExplainError(
                f"The model {self.model.name!r} reads text only, and feature {record.index} fires "
                "on pictures. Name a vision-language model with --model."
            )


def as_sample(messages: Sequence[dict[str, Any]], name: str) -> Sample:
    """Chat messages as one conversation with its pictures first, numbered where they stood."""
    turns: list[Turn] = []
    images: list[Image.Image] = []
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            turns.append(Turn(message["role"], content))
            continue
        before, words = len(images), []
        for part in content:
            if part["type"] == "text":
                words.append(part["text"])
            else:
                images.append(_picture(part["image_url"]["url"]))
                words.append(f"[picture {len(images)}]")
        turns.append(Turn(message["role"], "\n".join(words), images=len(images) - before))
    return Sample(id=name, turns=tuple(turns), images=tuple(images))


def _picture(url: str) -> Image.Image:
    with Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))) as image:
        return image.convert("RGB")
