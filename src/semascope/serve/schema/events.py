"""What a running question says while it runs: one small record after another.

They travel as server-sent events; ``kind`` tells them apart. Knows no model and no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, model_validator

from semascope.serve.schema.register import TestedRecord
from semascope.serve.schema.responses import ExemplarRecord, FeatureRow, Measure, Record

Side = Literal["before", "after", "answer", "control", "one", "other"]


class Queued(Record):
    """The question waits; ``ahead`` others run first."""

    kind: Literal["queued"] = "queued"
    ahead: int


class Started(Record):
    """One side of the question begins."""

    kind: Literal["started"] = "started"
    side: Side


class Alternative(Record):
    """A token that might have come instead."""

    id: int
    text: str
    logprob: float

    @model_validator(mode="before")
    @classmethod
    def _from_tuple(cls, value: object) -> object:
        """(id, text, log-probability), as the rooms below give it."""
        names = ("id", "text", "logprob")
        return dict(zip(names, value, strict=True)) if isinstance(value, tuple) else value


class Token(Record):
    """One token as it is generated."""

    kind: Literal["token"] = "token"
    side: Side
    id: int
    text: str
    logprob: float
    top: list[Alternative] = Field(default_factory=list)
    entropy: float = 0.0
    """Nats."""
    ends: bool = False
    """Whether it closes the answer: no word of it."""
    tells: bool = True
    """Whether it says something: more than an article, a form of "there is", or nothing."""


class Answered(Record):
    """One side is done."""

    kind: Literal["answered"] = "answered"
    side: Side
    text: str
    stopped: str
    """``eos``, ``length`` or ``cancelled``."""
    prompt_tokens: int
    seconds: float


class Gain(Record):
    """A token that a change makes likelier."""

    text: str
    before: float
    """Probability without the change."""
    after: float
    """Probability with it."""

    @model_validator(mode="before")
    @classmethod
    def _from_tuple(cls, value: object) -> object:
        """(id, text, before, after), as the rooms below give it."""
        names = ("text", "before", "after")
        return dict(zip(names, value[1:], strict=True)) if isinstance(value, tuple) else value


class ShiftRecord(Record):
    """What the change does to one token of the unchanged answer."""

    text: str
    before: float
    """Log-probability without the change, nats."""
    after: float
    """Log-probability with it, nats."""
    kl: float
    """KL(unchanged ‖ changed) of the whole distribution here, nats."""
    promoted: list[Gain] = Field(default_factory=list)


class Compared(Record):
    """How far apart the two runs are, measured on the unchanged answer's tokens."""

    kind: Literal["compared"] = "compared"
    side: Side = "after"
    """Which run stands beside the unchanged one: ``after`` or ``control``."""
    changed: bool = True
    """Whether the two answers differ."""
    kl: float
    """Mean KL a token, nats."""
    logprob_shift: float
    """Change of the unchanged answer's log-probability, nats."""
    shifts: list[ShiftRecord] = Field(default_factory=list)
    share: float = 0.0
    """Part of all features that the interventions hold."""
    notes: list[str] = Field(default_factory=list)
    """What the reader should know, in sentences."""


class Reason(Record):
    """One feature's part in a token's log-probability."""

    id: str
    label: str = ""
    category: str = ""
    attribution: float
    """First-order share of the log-probability, nats; negative where it speaks against."""
    activation: float
    """Its largest activation in the prompt and the answer so far."""
    share: Measure = None
    """That activation as a share of its own maximum in the corpus."""
    where: list[int] = Field(default_factory=list)
    """Its strongest positions, counted from the prompt's first token."""


class Target(Record):
    """The token that is asked about."""

    id: int
    text: str
    position: int
    """Counted from the prompt's first token."""
    probability: float


class Explained(Record):
    """Why a token came."""

    kind: Literal["explained"] = "explained"
    metric: str
    """``logprob``, ``logit_diff`` or ``activation``."""
    value: float
    """The metric; the token's log-probability in nats, unless it is a difference of logits."""
    mode: str = "attribution"
    target: Target | None = None
    reasons: list[Reason] = Field(default_factory=list)
    tokens: list[str] = Field(default_factory=list)
    """The prompt and the answer so far, token by token; image tokens are empty."""
    unexplained: Measure = None
    """Share of the attribution that the dictionaries' errors hold."""


class Progress(Record):
    """Something long goes on."""

    kind: Literal["progress"] = "progress"
    done: int
    total: int
    note: str


class Member(Record):
    """One feature of a cluster."""

    id: str
    label: str = ""
    description: str = ""
    score: float


class ClusterRecord(Record):
    """Features that say the same thing."""

    number: int
    """Its place, by which effects name it."""
    label: str
    coherence: float
    """1 to 7."""
    surprise: Measure = None
    """Bits: how rarely all of its features fire on ordinary prompts."""
    score: float
    """Sum of its features' attributions; of their shares in activation mode."""
    features: list[Member]
    suppress: dict[str, Any]
    """The intervention that takes it out, ready to be sent."""


class Clustered(Record):
    """The features as concepts, novel first."""

    kind: Literal["clustered"] = "clustered"
    clusters: list[ClusterRecord] = Field(default_factory=list)
    unclustered: int = 0
    """Features that were looked at and stand in no cluster."""
    note: str = ""
    """Why there are none."""


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
    """What an LMM calls one concept; the words that it had stay where there is no name."""

    kind: Literal["named"] = "named"
    cluster: int
    label: str = ""
    """Text from outside: words, never markup. Empty where there is no name."""
    coherence: Measure = None
    """1 to 7, as the LMM judges it."""
    author: str
    """``lmm:`` and its model."""
    note: str = ""
    """Why there is no name."""


class ReadRecord(Record):
    """One token of the prompt or the answer, as the model read it."""

    id: int
    text: str
    """Empty for a token of a picture."""
    kind: str
    """``text``, ``special``, ``image``, ``tile`` or ``newline``."""
    role: str
    """``none``, ``system``, ``user`` or ``assistant``."""
    logprob: Measure = None
    """Of itself given what stands before it, nats."""
    entropy: Measure = None
    """Nats."""
    top: list[Alternative] = Field(default_factory=list)
    image: int | None = None
    """Which picture it looks at."""
    rect: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom, in pixels of the picture."""


class ReadBack(Record):
    """The prompt as the model reads it; a token's place here is its position."""

    kind: Literal["read"] = "read"
    tokens: list[ReadRecord]
    sizes: list[tuple[int, int]] = Field(default_factory=list)
    """Width and height of each picture."""


class Tried(Record):
    """One feature on a text or a picture of one's own."""

    kind: Literal["tried"] = "tried"
    feature: str
    peak: float
    share: Measure = None
    """The peak as a share of the feature's maximum in the corpus."""
    exemplar: ExemplarRecord


class AlikeRow(Record):
    """One feature that the wanted examples have and the unwanted have not."""

    row: FeatureRow
    score: float
    """``wanted`` less ``unwanted``."""
    wanted: float
    """Mean share of its own maximum over the examples."""
    unwanted: float


class AlikeFound(Record):
    """Features by example."""

    kind: Literal["alike"] = "alike"
    rows: list[AlikeRow] = Field(default_factory=list)


class VersusSide(Record):
    """What one dictionary makes of the prompt."""

    dictionary: str
    l0: float
    """Mean features a token."""
    fvu: Measure = None
    """Unexplained variance of this prompt."""
    unexplained: float
    """Share of the attribution that its error holds."""
    reasons: list[Reason]
    model: str = ""
    value: float
    """Log-probability of the token, nats."""
    target: Target
    """The token asked about, as this side's model reads it."""
    clusters: list[ClusterRecord] = Field(default_factory=list)
    """The features as concepts, novel first where that is known."""
    note: str = ""
    """Why there are none, where they were asked for."""


class Pair(Record):
    """Two features that fire together here."""

    one: str
    other: str
    together: float
    """Overlap of the tokens at which they fire, 0 to 1."""


class VersusFound(Record):
    """Two dictionaries on one prompt, or two models."""

    kind: Literal["versus"] = "versus"
    value: float
    """Log-probability of the first side's token, nats."""
    sides: list[VersusSide]
    pairs: list[Pair] = Field(default_factory=list)


class TestedFound(Record):
    """What one feature of the register did when it was held."""

    kind: Literal["tested"] = "tested"
    concept: str
    feature: str
    tested: TestedRecord


class Finished(Record):
    """Nothing more will come."""

    kind: Literal["finished"] = "finished"


class Failed(Record):
    """It could not be done; ``message`` says why and what to do."""

    kind: Literal["failed"] = "failed"
    message: str
    type: str


Event = (
    Queued
    | Started
    | Token
    | Answered
    | Compared
    | Explained
    | Progress
    | Clustered
    | EffectRecord
    | NamedRecord
    | ReadBack
    | Tried
    | AlikeFound
    | VersusFound
    | TestedFound
    | Finished
    | Failed
)
Emit = Callable[[Event], bool]
"""Hands one event to whoever listens; True means: stop, nobody does any more."""
