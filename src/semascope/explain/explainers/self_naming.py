"""The subject names its own features: it is shown the crops that fired and asked what they are.

Answers are pooled by agreement, each weighted by how strongly its crop fired; where they
disagree the namer abstains. It costs one short generation a crop, so it is meant for features
that the vocabulary namer could not name (``cascade``). Features of text are not asked about.
Knows any object with the subject's ``generate``; reads the ``explain`` split only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Protocol

from PIL import Image

from semascope.corpus.sample import Sample, Turn
from semascope.evidence.types import Exemplar, FeatureEvidence
from semascope.explain.crops import crop, firing_picture, region
from semascope.explain.llm import prompts
from semascope.explain.text import categories, terms
from semascope.explain.text.exemplar_terms import distinct, mode_of, overall
from semascope.explain.types import Cost, Explanation, Pictures, abstain

_OPENING = re.compile(
    r"^(?:(?:this|that|it|there|here)(?:'s| is| are)|i see|the (?:picture|image) (?:shows|is of)|"
    r"(?:a|the) (?:picture|image|photo) of)\s+",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:an?|the|some|one)\s+", re.IGNORECASE)
_NOTHING = frozenset({"nothing", "empty"})
_PLACE = re.compile(r"\s+(?:on|in|at|with|against)\s+.*$", re.IGNORECASE)


class AnsweringSubject(Protocol):
    """Whatever can be shown a sample and answers: ``Subject``."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    def generate(self, sample: Sample, *, max_new_tokens: int = 64) -> Any:
        """An answer with ``text``, ``tokens`` and ``prompt_tokens`` (``subject.Generation``)."""
        ...


def things(answer: str) -> list[str]:
    """What an answer names, without its opening and its articles; what is no text names nothing.

    "This is a red mango on a plain background." -> ["red mango"].
    """
    sentence = re.split(r"[.!?\n]", answer.strip(), maxsplit=1)[0]
    sentence = _PLACE.sub("", _OPENING.sub("", sentence))
    parts = re.split(r"\s*,\s*|\s+and\s+", sentence)
    named = (_ARTICLE.sub("", part).strip(" \"'") for part in parts)
    return [name.lower() for name in named if _readable(name) and name.lower() not in _NOTHING]


def _readable(name: str) -> bool:
    """Whether a name is text: no character that was cut in two, nothing that cannot be printed."""
    return bool(name) and "\ufffd" not in name and name.isprintable()


def pool(answers: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """(name, share of the weight that agrees on it) of weighted answers.

    An answer that names several things gives its weight to each: the crop may hold more than
    the thing that fired, and only that thing is in every crop.
    """
    votes: dict[str, float] = {}
    faces: dict[str, str] = {}
    for answer, weight in answers:
        keys = set()
        for name in things(answer):
            key = " ".join(terms.stem(name[a:b]) for a, b in terms.spans(name))
            if key and key not in keys:
                keys.add(key)
                faces.setdefault(key, name)
                votes[key] = votes.get(key, 0.0) + weight
    total = sum(weight for _, weight in answers)
    if not votes or total <= 0:
        return "", 0.0
    best = max(votes, key=lambda key: (votes[key], key))
    return faces[best], votes[best] / total


class SubjectNamer:
    """Asks the subject about crops around the firing region of the strongest exemplars."""

    def __init__(
        self,
        subject: AnsweringSubject,
        pictures: Pictures,
        *,
        crops: int = 4,
        size: int = 128,
        least_agreement: float = 0.5,
        max_new_tokens: int = 12,
        question: str = "",
    ) -> None:
        self.subject = subject
        self.pictures = pictures
        self.crops = crops
        self.size = size
        self.least_agreement = least_agreement
        self.max_new_tokens = max_new_tokens
        # A model that was tuned to other words is best asked in its own.
        asked = prompts.Prompt(question, "crop/own") if question else prompts.load("crop")
        self.prompt = asked

    @property
    def name(self) -> str:
        """The model that is asked."""
        return f"subject:{self.subject.name}"

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order."""
        return [self._one(record) for record in records]

    def _one(self, record: FeatureEvidence) -> Explanation:
        start = perf_counter()
        exemplars = distinct(record.split("explain"))
        if not exemplars:
            return self._abstain(record, "No sample to explain it from.")
        if overall((mode_of(e), e.peak) for e in exemplars) not in ("picture", "both"):
            return self._abstain(record, "It does not fire on pictures.")
        answers, cost, digest = self._ask(exemplars)
        cost = cost + Cost(seconds=perf_counter() - start)
        name, share = pool(answers)
        if share < self.least_agreement:
            said = "; ".join(answer.strip() for answer, _ in answers)
            return self._abstain(record, f"The answers disagree: {said}").spending(cost)
        return Explanation(
            feature=record.index,
            description=f"Pictures of {name}.",
            label=name,
            category=categories.category(name, seen=True),
            confidence=share,
            author=self.name,
            prompt_version=self.prompt.version,
            inputs=digest,
            cost=cost,
        )

    def _ask(self, exemplars: list[Exemplar]) -> tuple[list[tuple[str, float]], Cost, str]:
        answers, cost = [], Cost()
        digest = hashlib.sha256(self.prompt.text.encode())
        for exemplar in exemplars:
            image = self._crop(exemplar)
            if image is None:
                continue
            digest.update(image.tobytes())
            turn = Turn("user", self.prompt.text, images=1)
            sample = Sample(id=f"crop/{exemplar.shown.id}", turns=(turn,), images=(image,))
            reply = self.subject.generate(sample, max_new_tokens=self.max_new_tokens)
            answers.append((reply.text, exemplar.peak))
            cost += Cost(1, reply.prompt_tokens, len(reply.tokens))
            if len(answers) == self.crops:
                break
        return answers, cost, digest.hexdigest()[:16]

    def _crop(self, exemplar: Exemplar) -> Image.Image | None:
        picture = firing_picture(exemplar)
        box = region(exemplar, picture) if picture >= 0 else None
        if box is None:
            return None
        return crop(self.pictures(exemplar.shown.media[picture]), box, self.size)

    def _abstain(self, record: FeatureEvidence, reason: str) -> Explanation:
        return abstain(record, self.name, reason, self.prompt.version)
