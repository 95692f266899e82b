"""Records of the guided tours, and of how near texts are to each other in meaning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from semascope.causal.steering.interventions import Intervention
from semascope.serve.schema.answers import Compared, Token
from semascope.serve.schema.explanations import ClusterRecord
from semascope.serve.schema.requests import ChatAsk
from semascope.serve.schema.responses import PictureRecord, Record


class TourLine(Record):
    """A tour in a list."""

    name: str
    title: str
    about: str
    needs_picture: bool
    steps: int


class TourRecord(Record):
    """A tour, its pictures found in this workspace."""

    name: str
    title: str
    about: str
    needs_picture: bool
    steps: list[dict[str, Any]]
    """Each with ``do``; an ``ask`` has ``picture``, a hash or null, and ``note``."""


class TourEvent(Record):
    """A line of a tour: what was asked, changed, measured or left out."""

    kind: Literal["tour"] = "tour"
    line: Literal["say", "ask", "answer", "why", "concept", "change", "expect", "note"]
    text: str
    figures: dict[str, Any] = Field(default_factory=dict)
    """What was measured."""
    picture: str = ""
    """Hash of the picture that belongs to it."""
    heat: PictureRecord | None = None
    """Where on it a concept fires."""


class TourState(Record):
    """Where a tour stands: its conversation and what was found. The next step is asked with it."""

    model_config = ConfigDict(**{**Record.model_config, "frozen": False})

    kind: Literal["tour_state"] = "tour_state"
    question: ChatAsk
    tokens: list[Token] = Field(default_factory=list)
    """The unchanged answer."""
    base_text: str = ""
    """Its text."""
    answer: str = ""
    """The last answer, with features changed or not."""
    interventions: list[Intervention] = Field(default_factory=list)
    explained: int = 0
    """Place in the unchanged answer of the token that was explained last."""
    clusters: list[ClusterRecord] = Field(default_factory=list)
    """Its concepts."""
    compared: dict[str, Compared] = Field(default_factory=dict)
    """The last comparison with the unchanged answer, by side."""


class NearRecord(Record):
    """How near some texts are in meaning to another."""

    cosines: list[float]
    """Of each text's sentence vector with the other's, in the order asked."""
    near: float
    """The cosine from which a tour takes a concept to mean the words."""
