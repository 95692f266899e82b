"""Records of the guided tours, and of how near words are to each other. Knows records alone."""

from __future__ import annotations

from typing import Any

from semascope.serve.schema.responses import Record


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


class NearRecord(Record):
    """How near some texts are in meaning to another."""

    cosines: list[float]
    """Of each text's sentence vector with the other's, in the order asked."""
    near: float
    """The cosine from which a tour takes a concept to mean the words."""
