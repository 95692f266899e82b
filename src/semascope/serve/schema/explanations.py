"""Events that explain a token: its features, the concepts they form, and their measured effects."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from semascope.serve.schema.answers import Alternative
from semascope.serve.schema.responses import Measure, Record

MetricName = Literal["logprob", "logit_diff", "activation"]
"""What is explained: a log-probability, a difference of two logits, or what fires."""
RoleName = Literal["none", "system", "user", "assistant"]
"""Who says a token; ``none`` where the chat template gives no role."""


class Reason(Record):
    """One feature's share of a token's log-probability."""

    id: str
    label: str = ""
    category: str = ""
    attribution: float
    """First-order attribution, nats; negative where the feature suppresses the token."""
    activation: float
    """Its largest activation in the prompt and the answer so far."""
    share: Measure = None
    """That activation as a share of the feature's maximum in the corpus."""
    where: list[int] = Field(default_factory=list)
    """Its strongest positions, counted from the prompt's first token."""


class Target(Record):
    """The token that is explained."""

    id: int
    text: str
    position: int
    """Counted from the prompt's first token."""
    probability: float


class Explained(Record):
    """Why a token came."""

    kind: Literal["explained"] = "explained"
    metric: MetricName
    value: float
    """The metric's value: the token's log-probability in nats, or a difference of logits."""
    mode: Literal["attribution", "activation"] = "attribution"
    target: Target | None = None
    reasons: list[Reason] = Field(default_factory=list)
    tokens: list[str] = Field(default_factory=list)
    """The prompt and the answer so far, token by token; image tokens are empty."""
    unexplained: Measure = None
    """Share of the attribution that falls to the dictionaries' reconstruction errors."""


class Member(Record):
    """One feature of a cluster."""

    id: str
    label: str = ""
    description: str = ""
    score: float


class ClusterRecord(Record):
    """A concept: features whose explanations mean the same."""

    number: int
    """Its number, by which effects refer to it."""
    label: str
    coherence: float
    """1 to 7."""
    surprise: Measure = None
    """Bits: how rarely all of its features fire on ordinary prompts."""
    score: float
    """Sum of its features' attributions or, in activation mode, of their shares."""
    features: list[Member]
    suppress: dict[str, Any]
    """The intervention that ablates it, ready to be sent."""


class Clustered(Record):
    """The features grouped into concepts, the most surprising first."""

    kind: Literal["clustered"] = "clustered"
    clusters: list[ClusterRecord] = Field(default_factory=list)
    unclustered: int = 0
    """Features that were considered and belong to no cluster."""
    note: str = ""
    """Why there are no clusters."""


class EffectRecord(Record):
    """What ablating one cluster did to the token's probability."""

    kind: Literal["effect"] = "effect"
    cluster: int
    before: Measure = None
    after: Measure = None
    effect: Measure = None
    """``after`` less ``before``."""
    note: str = ""


class NamedRecord(Record):
    """An LMM's name for a concept; without one the concept keeps its label."""

    kind: Literal["named"] = "named"
    cluster: int
    label: str = ""
    """Untrusted text, to be shown as text only. Empty where there is no name."""
    coherence: Measure = None
    """1 to 7, as the LMM judges it."""
    author: str
    """``lmm:`` and the model."""
    note: str = ""
    """Why there is no name."""


class ReadRecord(Record):
    """One token of the prompt or the answer, as the model read it."""

    id: int
    text: str
    """Empty for a token of a picture."""
    kind: Literal["text", "special", "image", "tile", "newline"]
    role: RoleName
    logprob: Measure = None
    """Its log-probability given the tokens before it, nats."""
    entropy: Measure = None
    """Nats."""
    top: list[Alternative] = Field(default_factory=list)
    image: int | None = None
    """The picture that it covers a part of."""
    rect: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom, in pixels of the picture."""


class ReadBack(Record):
    """The prompt as the model reads it; a token's index here is its position."""

    kind: Literal["read"] = "read"
    tokens: list[ReadRecord]
    sizes: list[tuple[int, int]] = Field(default_factory=list)
    """Width and height of each picture."""
