"""Every event of a running question: the records of server-sent events, told apart by ``kind``.

Those of answers, explanations and tours have files of their own; ``Event`` is their union.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from semascope.serve.schema.answers import Answered, Compared, Started, Token
from semascope.serve.schema.explanations import (
    Clustered,
    ClusterRecord,
    EffectRecord,
    Explained,
    NamedRecord,
    ReadBack,
    Reason,
    Target,
)
from semascope.serve.schema.register import TestedRecord
from semascope.serve.schema.responses import ExemplarRecord, FeatureRow, Measure, Record
from semascope.serve.schema.tours import TourEvent, TourState


class Queued(Record):
    """The question waits; ``ahead`` others go first."""

    kind: Literal["queued"] = "queued"
    ahead: int


class Progress(Record):
    """Progress of a long measurement."""

    kind: Literal["progress"] = "progress"
    done: int
    total: int
    note: str


class Tried(Record):
    """One feature on a user's text or picture."""

    kind: Literal["tried"] = "tried"
    feature: str
    peak: float
    share: Measure = None
    """The peak as a share of the feature's maximum in the corpus."""
    exemplar: ExemplarRecord


class AlikeRow(Record):
    """A feature that the wanted examples have and the unwanted lack."""

    row: FeatureRow
    score: float
    """``wanted`` less ``unwanted``."""
    wanted: float
    """Its mean peak over the wanted examples, as a share of its maximum."""
    unwanted: float


class AlikeFound(Record):
    """Features by example."""

    kind: Literal["alike"] = "alike"
    rows: list[AlikeRow] = Field(default_factory=list)


class VersusSide(Record):
    """One dictionary's features on the prompt."""

    dictionary: str
    l0: float
    """Mean active features per token."""
    fvu: Measure = None
    """Fraction of variance unexplained on this prompt."""
    unexplained: float
    """Share of the attribution that falls to its reconstruction error."""
    reasons: list[Reason]
    model: str = ""
    value: float
    """Log-probability of the token, nats."""
    target: Target
    """The token explained, as this side's model reads it."""
    clusters: list[ClusterRecord] = Field(default_factory=list)
    """The features as concepts, the most surprising first where that is known."""
    note: str = ""
    """Why there are no concepts, if they were asked for."""


class Pair(Record):
    """Two features that fire together on this prompt."""

    one: str
    other: str
    together: float
    """Overlap of the tokens at which they fire, 0 to 1."""


class VersusFound(Record):
    """Two dictionaries, or two models, on one prompt."""

    kind: Literal["versus"] = "versus"
    value: float
    """Log-probability of the first side's token, nats."""
    sides: list[VersusSide]
    pairs: list[Pair] = Field(default_factory=list)


class TestedFound(Record):
    """The measured effect of a feature of the register."""

    kind: Literal["tested"] = "tested"
    concept: str
    feature: str
    tested: TestedRecord


class Finished(Record):
    """The last event of a question that was answered."""

    kind: Literal["finished"] = "finished"


class Failed(Record):
    """The last event of a question that failed; ``message`` says why and what to do."""

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
    | TourEvent
    | TourState
    | Finished
    | Failed
)
Emit = Callable[[Event], bool]
"""Sends one event to the listener; True means that it has gone, so stop."""
