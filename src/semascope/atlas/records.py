"""What goes into the atlas and what comes out, as plain records.

Explanations and scores come from a room above; here they are protocols, so that whatever has
these fields can be written. Knows no database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.sample import Moment
from semascope.errors import NotThere


def split_id(feature_id: str) -> tuple[str, int]:
    """``site/dictionary/index`` as its dictionary and number.

    Raises:
        NotThere: it is not the id of a feature.
    """
    key, _, index = feature_id.rpartition("/")
    if not key or not index.isascii() or not index.isdigit() or len(index) > 9:
        raise NotThere(f"{feature_id!r} is no feature: write site/dictionary/number.")
    return key, int(index)


class ExplanationLike(Protocol):
    """Words for a feature."""

    @property
    def feature(self) -> int: ...
    @property
    def description(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def abstained(self) -> bool: ...
    @property
    def author(self) -> str: ...
    @property
    def prompt_version(self) -> str: ...
    @property
    def inputs(self) -> str: ...
    @property
    def cost(self) -> Any: ...


class ScoreLike(Protocol):
    """A figure about a feature's words."""

    @property
    def feature(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def baseline(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def evidence(self) -> Mapping[str, Any]: ...
    @property
    def author(self) -> str: ...


@dataclass(frozen=True, slots=True)
class FeatureFigures:
    """What the evidence says of one feature, to be written."""

    index: int
    alive: bool
    modality: str
    density: float
    density_text: float
    density_image: float
    max: float
    samples: int
    stats: Mapping[str, Any]
    near: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """A sample as the model saw it, packed, to be written."""

    row: int
    split: str
    length: int
    about: Mapping[str, Any]
    tokens: list[str]
    layout: bytes
    patches: bytes


@dataclass(frozen=True, slots=True)
class NewExemplar:
    """One sample of one feature, to be written; ``row`` is the sample's."""

    feature: int
    row: int
    role: str
    rank: int
    interval: int
    peak: float
    activations: bytes


@dataclass(frozen=True, slots=True)
class DictionaryRow:
    """A dictionary in the atlas."""

    id: int
    model: str
    key: str
    width: int
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A figure, as stored."""

    kind: str
    value: float
    baseline: float | None
    low: float | None
    high: float | None
    n: int | None
    evidence: Mapping[str, Any]
    author: str
    current: bool


@dataclass(frozen=True, slots=True)
class ExplanationRow:
    """Words, as stored."""

    id: int
    description: str
    label: str
    category: str
    confidence: float
    abstained: bool
    author: str
    prompt_version: str
    inputs: str
    cost: Mapping[str, Any]
    created: str
    current: bool


@dataclass(frozen=True, slots=True)
class FeatureListRow:
    """A feature, as a list shows it."""

    id: str
    """``site/name/index``."""
    dictionary: str
    index: int
    alive: bool
    modality: str
    density: float
    density_text: float
    density_image: float
    max: float
    samples: int
    label: str
    description: str
    category: str
    confidence: float | None
    abstained: bool | None
    author: str
    scores: Mapping[str, ScoreRow]
    """Current figures by kind."""
    past: str = ""
    """Of a member of a list: why it is not, or not the feature that was put there; else empty."""

    @property
    def key(self) -> tuple[str, int]:
        """(dictionary, number)."""
        return self.dictionary, self.index


@dataclass(frozen=True, slots=True)
class Page:
    """A window of a list."""

    total: int
    rows: tuple[FeatureListRow, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMap:
    """Features in the plane, as columns: n rows, small enough to send 100,000 of them at once."""

    index: NDArray[np.int32]
    """(n,)"""
    x: NDArray[np.float32]
    """(n,) within −1…1."""
    y: NDArray[np.float32]
    region: NDArray[np.int16]
    """(n,) numbers of ``regions``."""
    label: tuple[str, ...]
    """(n,) empty where a feature has no words."""
    regions: tuple[Mapping[str, Any], ...]
    """label, x, y, features of each region."""
    method: str
    """umap or tsne; empty where no map was drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredSample:
    """A sample read back."""

    row: int
    id: str
    split: str
    tokens: tuple[str, ...]
    kinds: NDArray[np.int8]
    image: NDArray[np.int16]
    rects: NDArray[np.float32]
    media: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    truth: Mapping[str, Any]
    spans: NDArray[np.int16] | None = None
    """(T,) how many pictures, from ``image`` on, each token looks at; None where one each."""
    moments: tuple[Moment | None, ...] = ()
    """Which frame of a video each picture is; () without videos."""

    def looking_at(self, picture: int) -> NDArray[np.bool_]:
        """(T,): the tokens that look at a picture, those that look at several among them."""
        past = self.image + (1 if self.spans is None else self.spans)
        found: NDArray[np.bool_] = (self.image >= 0) & (self.image <= picture) & (picture < past)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class StoredExemplar:
    """An exemplar read back."""

    sample: StoredSample
    role: str
    rank: int
    interval: int
    peak: float
    activations: NDArray[np.float32]
    """(T,)"""


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote."""

    id: int
    feature: str
    author: str
    text: str
    created: str
    past: str = ""
    """Why it is not about a feature that is there now; empty where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDetail:
    """All that the atlas holds about one feature."""

    row: FeatureListRow
    stats: Mapping[str, Any]
    near: Mapping[str, Any]
    explanations: tuple[ExplanationRow, ...]
    scores: tuple[ScoreRow, ...]
    exemplars: tuple[StoredExemplar, ...]
    notes: tuple[Note, ...]
    lists: tuple[str, ...]

    def of(self, role: str) -> tuple[StoredExemplar, ...]:
        """The exemplars of one role: top, interval or silent."""
        return tuple(e for e in self.exemplars if e.role == role)
