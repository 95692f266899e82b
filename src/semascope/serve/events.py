"""What a running question says while it runs: one small record after another.

They travel as server-sent events; ``kind`` tells them apart. Knows no model and no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from semascope.serve.records import Record

Side = Literal["before", "after", "answer", "control"]


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
    kl: float
    """Mean KL a token, nats."""
    logprob_shift: float
    """Change of the unchanged answer's log-probability, nats."""
    shifts: list[ShiftRecord] = Field(default_factory=list)


class Reason(Record):
    """One feature's part in a token's log-probability."""

    id: str
    label: str = ""
    category: str = ""
    attribution: float
    """First-order share of the log-probability, nats; negative where it speaks against."""
    activation: float
    """Its largest activation in the prompt and the answer so far."""
    where: list[int] = Field(default_factory=list)
    """Its strongest positions, counted from the prompt's first token."""


class Explained(Record):
    """Why a token came."""

    kind: Literal["explained"] = "explained"
    metric: str
    value: float
    """The token's log-probability, nats."""
    reasons: list[Reason] = Field(default_factory=list)
    tokens: list[str] = Field(default_factory=list)
    """The prompt and the answer so far, token by token; image tokens are empty."""
    unexplained: float | None = None
    """Share of the attribution that the dictionaries' errors hold."""


class Finished(Record):
    """Nothing more will come."""

    kind: Literal["finished"] = "finished"


class Failed(Record):
    """It could not be done; ``message`` says why and what to do."""

    kind: Literal["failed"] = "failed"
    message: str
    type: str


Event = Queued | Started | Token | Answered | Compared | Explained | Finished | Failed
Emit = Callable[[Event], bool]
"""Hands one event to whoever listens; True means: stop, nobody does any more."""
