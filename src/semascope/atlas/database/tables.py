"""The tables of the atlas, typed. One schema for SQLite and PostgreSQL.

Knows columns; knows no model, no tensor, no query.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VERSION = 3
"""Of the schema; ``migrations`` brings older files up to it."""


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Meta(Base):
    """``schema``: the version of the tables; and what else concerns the whole file."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class DictionaryTable(Base):
    """A feature set of one model at one site."""

    __tablename__ = "dictionaries"
    __table_args__ = (UniqueConstraint("model", "key"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str]
    key: Mapped[str]
    """``site/name``."""
    width: Mapped[int]
    about: Mapped[dict[str, Any]]
    """Metrics, tokens by kind, what the evidence was gathered from."""


class FeatureTable(Base):
    """A feature, with its figures and its current words."""

    __tablename__ = "features"
    __table_args__ = (
        UniqueConstraint("dictionary_id", "index"),
        Index("features_density", "dictionary_id", "density"),
        Index("features_category", "dictionary_id", "category"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    dictionary_id: Mapped[int] = mapped_column(ForeignKey("dictionaries.id"))
    index: Mapped[int]
    alive: Mapped[bool]
    modality: Mapped[str]
    """image, text, both or none."""
    density: Mapped[float]
    density_text: Mapped[float]
    density_image: Mapped[float]
    max: Mapped[float]
    samples: Mapped[int]
    stats: Mapped[dict[str, Any]]
    near: Mapped[dict[str, Any]]
    """``cosine`` and ``cofire``: lists of [index, strength]; ``promoted``, ``suppressed``: lists
    of [output token, logits]; ``neurons``: lists of [neuron, correlation]."""
    x: Mapped[float | None]
    """Place on the map; None where the feature is not on it."""
    y: Mapped[float | None]
    region: Mapped[int | None]
    """Which of the map's regions; their names are in the dictionary's ``about``."""
    label: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    category: Mapped[str] = mapped_column(default="")
    confidence: Mapped[float | None]
    abstained: Mapped[bool | None]
    """None: nobody has tried to explain it."""
    author: Mapped[str] = mapped_column(default="")


class ExplanationTable(Base):
    """Words for a feature by one author from one set of inputs."""

    __tablename__ = "explanations"
    __table_args__ = (UniqueConstraint("feature_id", "author", "prompt_version", "inputs"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    feature_id: Mapped[int] = mapped_column(ForeignKey("features.id"))
    author: Mapped[str]
    prompt_version: Mapped[str]
    inputs: Mapped[str]
    description: Mapped[str]
    label: Mapped[str]
    category: Mapped[str]
    confidence: Mapped[float]
    abstained: Mapped[bool]
    cost: Mapped[dict[str, Any]]
    created: Mapped[str] = mapped_column(default=now)
    current: Mapped[bool] = mapped_column(default=False)
    origin: Mapped[str] = mapped_column(default="")
    """``run`` where a stage of the run derived it. Derived rows are replaced when a stage is done
    anew; all others stay."""
    chosen: Mapped[bool] = mapped_column(default=False)
    """A person chose these words; words derived later do not replace them."""


class ScoreTable(Base):
    """One figure about one author's words; ``current`` where they are the feature's words."""

    __tablename__ = "scores"
    __table_args__ = (
        UniqueConstraint("feature_id", "kind", "author"),
        Index("scores_kind", "kind", "current", "value"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    feature_id: Mapped[int] = mapped_column(ForeignKey("features.id"))
    kind: Mapped[str]
    author: Mapped[str]
    value: Mapped[float]
    baseline: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    n: Mapped[int | None]
    evidence: Mapped[dict[str, Any]]
    current: Mapped[bool] = mapped_column(default=False)
    origin: Mapped[str] = mapped_column(default="")
    """As of explanations."""


class SampleTable(Base):
    """One sample as the model saw it, packed as ``atlas.packing`` says."""

    __tablename__ = "samples"
    __table_args__ = (UniqueConstraint("source", "row"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    """Which gathering the row number belongs to."""
    row: Mapped[int]
    split: Mapped[str]
    length: Mapped[int]
    about: Mapped[dict[str, Any]]
    tokens: Mapped[list[Any]]
    layout: Mapped[bytes] = mapped_column(LargeBinary)
    patches: Mapped[bytes] = mapped_column(LargeBinary)


class ExemplarTable(Base):
    """One sample where a feature fired, or, with ``role`` silent, where it did not."""

    __tablename__ = "exemplars"
    __table_args__ = (Index("exemplars_feature", "feature_id", "role", "rank"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    feature_id: Mapped[int] = mapped_column(ForeignKey("features.id"))
    sample_id: Mapped[int] = mapped_column(ForeignKey("samples.id"))
    role: Mapped[str]
    """top, interval or silent."""
    rank: Mapped[int]
    interval: Mapped[int]
    peak: Mapped[float]
    activations: Mapped[bytes] = mapped_column(LargeBinary)


class NoteTable(Base):
    """What a person wrote about a feature.

    It names the feature by its address, not by its row: rows of features are derived, and are
    written anew when a stage is; what people wrote is not.
    """

    __tablename__ = "notes"
    __table_args__ = (Index("notes_feature", "key", "index"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str]
    key: Mapped[str]
    """``site/name``."""
    index: Mapped[int]
    trained: Mapped[str] = mapped_column(default="")
    """Which training of the dictionary it is about; empty where that is not known."""
    label: Mapped[str] = mapped_column(default="")
    """What the feature was called at the time."""
    author: Mapped[str]
    text: Mapped[str]
    created: Mapped[str] = mapped_column(default=now)


class ListTable(Base):
    """A named list of features."""

    __tablename__ = "lists"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    about: Mapped[str] = mapped_column(default="")
    created: Mapped[str] = mapped_column(default=now)


class ListMember(Base):
    """A feature in a list, by its address, as in notes."""

    __tablename__ = "list_members"
    list_id: Mapped[int] = mapped_column(ForeignKey("lists.id"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    trained: Mapped[str] = mapped_column(default="")
    label: Mapped[str] = mapped_column(default="")
    place: Mapped[int]
