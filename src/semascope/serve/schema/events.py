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
    """The question waits; ``ahead`` others run first."""

    kind: Literal["queued"] = "queued"
    ahead: int


class Progress(Record):
    """Something long goes on."""

    kind: Literal["progress"] = "progress"
    done: int
    total: int
    note: str


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
    | TourEvent
    | TourState
    | Finished
    | Failed
)
Emit = Callable[[Event], bool]
"""Hands one event to whoever listens; True means: stop, nobody does any more."""
