"""The causal namer: switch the feature on over an empty picture and ask what is seen.

What a model says it sees when nothing is there but the feature is what the feature means to the
model (the blank-image steering of vision-interp, 2026). What it says without the feature is
subtracted, and answers are pooled over strengths and blanks. It needs someone who steers, given
as a callable; it reads no exemplar at all, so its words owe nothing to captions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from time import perf_counter

from PIL import Image

from semascope.corpus.sample import Sample, Turn
from semascope.evidence.types import FeatureEvidence
from semascope.explain.explainers.self_naming import pool, things
from semascope.explain.llm import prompts
from semascope.explain.text import categories, terms
from semascope.explain.types import Cost, Explanation, abstain
from semascope.subject.types import Generation

Steered = Callable[[Sample, int, float], Generation]
"""``steered(sample, feature, strength)``: the answer with the feature held at ``strength`` times
its largest activation on the picture's tokens; strength 0 is the model untouched."""


def blanks(size: int = 128) -> tuple[Image.Image, ...]:
    """Pictures of nothing: grey, white, black."""
    return tuple(Image.new("RGB", (size, size), shade) for shade in ("grey", "white", "black"))


class CausalNamer:
    """Names a feature by what the model sees when it is switched on."""

    def __init__(
        self,
        steered: Steered,
        subject_name: str,
        *,
        pictures: Sequence[Image.Image] | None = None,
        strengths: Sequence[float] = (1.0, 2.0, 4.0),
        least_agreement: float = 0.4,
        question: str = "",
    ) -> None:
        self.steered = steered
        self.name = f"causal:{subject_name}"
        self.strengths = tuple(strengths)
        self.least_agreement = least_agreement
        self.prompt = prompts.Prompt(question, "blank/own") if question else prompts.load("blank")
        self._samples = [self._sample(image) for image in pictures or blanks()]
        self._untouched: list[set[str]] | None = None

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order."""
        return [self._one(record) for record in records]

    def _one(self, record: FeatureEvidence) -> Explanation:
        start, cost = perf_counter(), Cost()
        answers: list[tuple[str, float]] = []
        for sample, before in zip(self._samples, self._baseline(), strict=True):
            for strength in self.strengths:
                reply = self.steered(sample, record.index, strength)
                cost += Cost(1, reply.prompt_tokens, len(reply.tokens))
                new = [t for t in things(reply.text) if _key(t) not in before]
                answers.append((" and ".join(new), 1.0))
        cost += Cost(seconds=perf_counter() - start)
        name, share = pool(answers)
        if share < self.least_agreement:
            reason = "Switched on over an empty picture, it made the model see nothing steady."
            return abstain(record, self.name, reason, self.prompt.version).spending(cost)
        return Explanation(
            feature=record.index,
            description=f"Pictures of {name}: what is seen in an empty one with it switched on.",
            label=name,
            category=categories.category(name, seen=True),
            confidence=share,
            author=self.name,
            prompt_version=self.prompt.version,
            inputs=hashlib.sha256(repr(self.strengths).encode()).hexdigest()[:16],
            cost=cost,
        )

    def _baseline(self) -> list[set[str]]:
        """What is named in each blank anyway: many models see a bat in the grey."""
        if self._untouched is None:
            replies = [self.steered(sample, -1, 0.0) for sample in self._samples]
            self._untouched = [{_key(t) for t in things(r.text)} for r in replies]
        return self._untouched

    def _sample(self, image: Image.Image) -> Sample:
        turn = Turn("user", self.prompt.text, images=1)
        return Sample(id="blank", turns=(turn,), images=(image,))


def _key(name: str) -> str:
    return " ".join(terms.stem(name[a:b]) for a, b in terms.spans(name))
