"""Records that the page and other programs read over HTTP.

Every field's docstring is its description in ``/openapi.json``. Numbers are Python floats, pictures
are hashes of their bytes.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Modality = Literal["image", "text", "both", "none"]
Order = Literal["asc", "desc"]
Nearness = Literal["direction", "firing"]
SortKey = Literal["score", "density", "confidence", "max", "index", "label"]


def finite(value: float | None) -> float | None:
    """A finite number, or None: JSON has no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)


Measure = Annotated[float | None, BeforeValidator(finite)]
"""A figure that may be missing; NaN and infinity travel as null."""


class Record(BaseModel):
    """A record whose field docstrings describe it; unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        frozen=True,
        from_attributes=True,
        json_schema_serialization_defaults_required=True,  # every field is in every answer
    )

    @classmethod
    def of(cls, source: object, **fields: object) -> Self:
        """A record of the attributes of ``source`` that bear its fields' names, and ``fields``.

        What is named in ``fields`` is not read from ``source``.
        """
        names = cls.model_fields.keys() - fields.keys()
        own = {name: getattr(source, name) for name in names if hasattr(source, name)}
        return cls.model_validate({**own, **fields})


class ScoreRecord(Record):
    """One score of an explanation, with its baseline."""

    kind: str
    """What was measured: a key of ``SubjectInfo.score_names``, such as ``iou``."""
    value: float
    baseline: Measure = None
    """The same score for a shuffled or random explanation."""
    low: Measure = None
    """Lower end of its interval."""
    high: Measure = None
    """Upper end of its interval."""
    evidence: str = ""
    """How it was measured, in words."""


class ScoreKindRecord(Record):
    """Name and meaning of a kind of score."""

    name: str
    meaning: str
    """One or two sentences for a tooltip."""
    top: float = 1.0
    """The largest value that it can take."""


class ExplanationRecord(Record):
    """An explanation of a feature and its author."""

    label: str
    description: str
    category: str = "other"
    confidence: Measure = None
    abstained: bool = False
    author: str = ""
    """Which explainer, and which model it asked."""
    prompt_version: str = ""


class PictureRecord(Record):
    """A picture and the feature's activation on its cells."""

    media: str
    """Hash of its bytes; the picture is at ``/media/<hash>``."""
    width: int
    height: int
    rects: list[tuple[float, float, float, float]] = Field(default_factory=list)
    """Left, top, right, bottom of each image token, in pixels of the picture."""
    values: list[float] = Field(default_factory=list)
    """The feature's activation at each of them, 0 where it is silent."""


class TokenRecord(Record):
    """One text token with the feature's activation at it."""

    text: str
    value: float = 0.0
    special: bool = False
    """Whether it belongs to the chat template, not to the text."""


class ExemplarRecord(Record):
    """A sample in which a feature fired or, as a counter-example, did not."""

    sample: str
    peak: float
    """The feature's largest activation in it."""
    split: str = ""
    """``explain`` or ``score``: which half of the evidence it belongs to."""
    interval: int | None = None
    """Which tenth of [0, the feature's maximum] its peak lies in; 9 is the top."""
    pictures: list[PictureRecord] = Field(default_factory=list)
    tokens: list[TokenRecord] = Field(default_factory=list)
    """The text, in lists cut to a window around the strongest token."""
    caption: str = ""
    """What is in the picture, where the truth is known."""


class FeatureRow(Record):
    """A feature as a list shows it."""

    id: str
    """``site/dictionary/index``."""
    dictionary: str
    index: int
    label: str = ""
    description: str = ""
    category: str = ""
    author: str = ""
    confidence: Measure = None
    abstained: bool = False
    alive: bool = True
    modality: Modality = "none"
    """Where it fires: on one modality if at least four fifths of its firings are there."""
    density: Measure = None
    """Share of all tokens at which it fires."""
    maximum: Measure = None
    """Its largest activation in the corpus."""
    scores: list[ScoreRecord] = Field(default_factory=list)
    exemplars: list[ExemplarRecord] = Field(default_factory=list)
    similarity: Measure = None
    """Cosine to the search text, in the answer to a search."""
    past: str = ""
    """In a list: why it is gone, or no longer the feature that was added; empty otherwise."""


class FeatureList(Record):
    """One window of a sorted, filtered list."""

    total: int
    """How many features pass the filter."""
    offset: int
    rows: list[FeatureRow]


class Bin(Record):
    """One bar of a histogram."""

    low: float
    high: float
    count: int


class Neighbour(Record):
    """A feature near another one."""

    id: str
    label: str = ""
    value: float
    """A cosine, or a rate of firing together."""
    how: Nearness = "direction"
    """What ``value`` compares."""


class PromotedToken(Record):
    """An output token that the feature's direction promotes or suppresses."""

    text: str
    value: float


class NoteRecord(Record):
    """What a person wrote about a feature."""

    id: int
    feature: str
    author: str = ""
    text: str
    created: str
    """UTC, ISO 8601."""
    past: str = ""
    """Why it is not about a feature of this run any more; empty otherwise."""


class FeaturePage(Record):
    """Everything known about one feature."""

    feature: FeatureRow
    explanations: list[ExplanationRecord] = Field(default_factory=list)
    top: list[ExemplarRecord] = Field(default_factory=list)
    intervals: list[ExemplarRecord] = Field(default_factory=list)
    silent: list[ExemplarRecord] = Field(default_factory=list)
    """Counter-examples, in which it is silent and its nearest neighbours fire."""
    histogram: list[Bin] = Field(default_factory=list)
    stats: dict[str, float] = Field(default_factory=dict)
    neighbours: list[Neighbour] = Field(default_factory=list)
    promoted: list[PromotedToken] = Field(default_factory=list)
    lowered: list[PromotedToken] = Field(default_factory=list)
    notes: list[NoteRecord] = Field(default_factory=list)
    lists: list[str] = Field(default_factory=list)
    """Names of the lists that contain it."""


class DictionaryInfo(Record):
    """A dictionary and its quality."""

    id: str
    """``site/name``."""
    site: str
    width: int
    alive: int | None = None
    explained: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    """Fraction of variance unexplained, L0, mean scores and so on, as the run measured them."""


class ModelInfo(Record):
    """A model that can be compared."""

    name: str
    dictionaries: list[str] = Field(default_factory=list)
    """``site/name`` of each."""


class SubjectInfo(Record):
    """The model, its dictionaries, and what can be done with them."""

    name: str
    workspace: str = ""
    has_vision: bool = False
    can_generate: bool = False
    why_not: str = ""
    """Why the model cannot be asked; empty where it can."""
    dictionaries: list[DictionaryInfo] = Field(default_factory=list)
    categories: list[str] = Field(default_factory=list)
    score_kinds: list[str] = Field(default_factory=list)
    """Kinds of scores in the atlas, in the order of the page."""
    score_names: dict[str, ScoreKindRecord] = Field(default_factory=dict)
    """Name and meaning of each of ``score_kinds``."""
    can_search: bool = False
    features: int = 0
    questions: list[str] = Field(default_factory=list)
    """Suggested questions."""
    models: list[ModelInfo] = Field(default_factory=list)
    """Models that can be compared, this one first."""
    namer: str = ""
    """The LMM that names concepts; empty where they are called by words they share."""
    corpus: str = ""
    """The corpus of the run."""
    read: dict[str, list[str]] = Field(default_factory=dict)
    """By stage: what it read, and what it skipped and why, in sentences."""
    read_only: str = ""
    """Why notes, lists, grades and conversations cannot be kept; empty where they can."""


class Upload(Record):
    """An uploaded picture, by its hash."""

    media: str
    width: int
    height: int


class ConceptRecord(Record):
    """The k features nearest in meaning to some words, with interventions on them."""

    query: str
    rows: list[FeatureRow] = Field(default_factory=list)
    share: float = 0.0
    """Their share of all features."""
    suppress: dict[str, Any] | None = None
    """The intervention that ablates them, ready to be sent."""
    strengthen: dict[str, Any] | None = None
    """The intervention that clamps them to a quantile of their activations."""
    note: str = ""


class MapLabel(Record):
    """A label on the map."""

    text: str
    x: float
    """0 to 1, left to right."""
    y: float
    """0 to 1."""
    level: int = 0
    """Zoom level from which it is shown; 0 is the widest."""
    count: int = 0
    """How many features it stands for."""


class MapRecord(Record):
    """Every feature as a point: little-endian arrays of length ``count``, in base64."""

    dictionary: str
    count: int = 0
    index: str = ""
    """int32: numbers of the features."""
    x: str = ""
    """uint16: 0 … 65535, left to right."""
    y: str = ""
    """uint16."""
    category: str = ""
    """uint8: indices into ``categories``."""
    size: str = ""
    """uint8: logarithm of the density, 0 … 255."""
    categories: list[str] = Field(default_factory=list)
    labels: list[MapLabel] = Field(default_factory=list)
    note: str = ""
    """Why it is empty, and what to run."""
