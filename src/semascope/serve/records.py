"""What the page and other programs read over HTTP, as plain records: JSON in, JSON out.

Every field's docstring is its description in ``/openapi.json``. Nothing here knows a
database, a model or a tensor; numbers are Python floats, pictures are hashes of their bytes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Modality = Literal["image", "text", "both", "none"]
Order = Literal["asc", "desc"]
SortKey = Literal["score", "density", "confidence", "max", "index", "label"]


class Record(BaseModel):
    """A record whose field docstrings describe it; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class ScoreRecord(Record):
    """One figure about one explanation, beside what chance would give."""

    kind: str
    """What was measured: ``iou``, ``detection_auroc`` …"""
    value: float
    baseline: float | None = None
    """The same figure for a shuffled or random explanation."""
    low: float | None = None
    """Lower end of its interval."""
    high: float | None = None
    """Upper end of its interval."""
    evidence: str = ""
    """How it was measured, for a person to read."""


class ExplanationRecord(Record):
    """Words for a feature, and whose they are."""

    label: str
    description: str
    category: str = "other"
    confidence: float | None = None
    abstained: bool = False
    author: str = ""
    """Which explainer, and which model it asked."""
    prompt_version: str = ""


class PictureRecord(Record):
    """A picture and the cells of it in which the feature fired, strength kept."""

    media: str
    """Hash of its bytes; the picture itself is at ``/media/<hash>``."""
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
    """Of the chat template, not of the text."""


class ExemplarRecord(Record):
    """One sample in which a feature fired, or, as a counter-example, did not."""

    sample: str
    peak: float
    """The feature's largest activation in it."""
    split: str = ""
    """``explain`` or ``score``: which half of the evidence it belongs to."""
    interval: int | None = None
    """Which tenth of [0, maximum] its peak lies in; 9 is the top."""
    pictures: list[PictureRecord] = Field(default_factory=list)
    tokens: list[TokenRecord] = Field(default_factory=list)
    """The text, cut to a window around the strongest token in a feature's row."""
    caption: str = ""
    """What is truly in the picture, where that is known."""


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
    confidence: float | None = None
    abstained: bool = False
    alive: bool = True
    modality: Modality = "none"
    """Where it fires: four fifths or more of its firings on one side, or both."""
    density: float | None = None
    """Share of all tokens at which it fires."""
    maximum: float | None = None
    """Its largest activation in the corpus."""
    scores: list[ScoreRecord] = Field(default_factory=list)
    exemplars: list[ExemplarRecord] = Field(default_factory=list)
    similarity: float | None = None
    """Cosine to the words searched for, in a search's answer."""


class FeatureList(Record):
    """One window of a sorted, filtered list."""

    total: int
    """How many features the filter leaves."""
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
    """How near: a cosine, or a rate of firing together."""
    how: str = "direction"
    """``direction``, ``firing`` or ``words``."""


class PromotedToken(Record):
    """An output token that the feature's direction raises or lowers."""

    text: str
    value: float


class FeaturePage(Record):
    """All that is known about one feature."""

    feature: FeatureRow
    explanations: list[ExplanationRecord] = Field(default_factory=list)
    top: list[ExemplarRecord] = Field(default_factory=list)
    intervals: list[ExemplarRecord] = Field(default_factory=list)
    silent: list[ExemplarRecord] = Field(default_factory=list)
    """Counter-examples: it is silent in them and its nearest neighbours fire."""
    histogram: list[Bin] = Field(default_factory=list)
    stats: dict[str, float] = Field(default_factory=dict)
    neighbours: list[Neighbour] = Field(default_factory=list)
    promoted: list[PromotedToken] = Field(default_factory=list)
    lowered: list[PromotedToken] = Field(default_factory=list)


class DictionaryInfo(Record):
    """One feature set and how good it is."""

    id: str
    """``site/name``."""
    site: str
    width: int
    alive: int | None = None
    explained: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    """Fraction of variance unexplained, L0, mean scores … as measured by the run."""


class SubjectInfo(Record):
    """What is under the microscope."""

    name: str
    workspace: str = ""
    has_vision: bool = False
    can_generate: bool = False
    why_not: str = ""
    """Why the model cannot be asked, where it cannot."""
    dictionaries: list[DictionaryInfo] = Field(default_factory=list)
    categories: list[str] = Field(default_factory=list)
    score_kinds: list[str] = Field(default_factory=list)
    can_search: bool = False
    features: int = 0
    questions: list[str] = Field(default_factory=list)
    """Questions that this subject is good at, as suggestions."""


class Upload(Record):
    """A picture that was sent, decoded safely, and is now known by its hash."""

    media: str
    width: int
    height: int
