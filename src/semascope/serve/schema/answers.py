"""Events of answers: tokens as they are generated, and the distance of steered answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from semascope.serve.schema.responses import Record

Side = Literal["before", "after", "answer", "control", "one", "other"]


class Started(Record):
    """One side's answer begins."""

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
    """Whether it is the end-of-answer token, which is no part of the text."""
    tells: bool = True
    """Whether it carries content: it is no article, no form of "there is" and not empty."""


class Answered(Record):
    """One side's answer is complete."""

    kind: Literal["answered"] = "answered"
    side: Side
    text: str
    stopped: Literal["eos", "length", "cancelled"]
    prompt_tokens: int
    seconds: float


class Gain(Record):
    """A token that the interventions make likelier."""

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
    """What the interventions do to one token of the unchanged answer."""

    text: str
    before: float
    """Log-probability without the change, nats."""
    after: float
    """Log-probability with it, nats."""
    kl: float
    """KL(unchanged ‖ changed) of the whole distribution here, nats."""
    promoted: list[Gain] = Field(default_factory=list)


class Compared(Record):
    """How far apart two runs are, measured on the unchanged answer's tokens."""

    kind: Literal["compared"] = "compared"
    side: Side = "after"
    """The run compared with the unchanged one: ``after`` or ``control``."""
    changed: bool = True
    """Whether the two answers differ."""
    kl: float
    """Mean KL per token, nats."""
    logprob_shift: float
    """Change of the unchanged answer's log-probability, nats."""
    shifts: list[ShiftRecord] = Field(default_factory=list)
    share: float = 0.0
    """Share of all features that the interventions change."""
    notes: list[str] = Field(default_factory=list)
    """Remarks, in sentences."""
