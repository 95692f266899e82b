"""What an explanation is, what a score is, what they cost, and who may give them.

Knows evidence records and nothing else: no model, no server, no database. Explainers read
the ``explain`` split of a record and scorers the ``score`` split; both take whole records and
restrict them themselves, so that no caller can mix the two by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.evidence.types import EvidenceSample, FeatureEvidence

Category = Literal[
    "scene",
    "object",
    "part",
    "material",
    "texture",
    "colour",
    "text",
    "emotion",
    "action",
    "other",
]
CATEGORIES: tuple[Category, ...] = (
    "scene",
    "object",
    "part",
    "material",
    "texture",
    "colour",
    "text",
    "emotion",
    "action",
    "other",
)
"""The six classes of Network Dissection (Bau et al. 2017), then four of ours."""

Progress = Callable[[int, int, str], None]
"""``progress(done, total, note)``."""
Pictures = Callable[[str], Image.Image]
"""A picture by its content hash."""
Promoted = Callable[[int], Sequence[str]]
"""Tokens that a feature's decoder direction makes likelier, strongest first."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What was spent. Costs add up with ``+``."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Seconds of work, not of waiting in a queue."""
    money: float = 0.0
    """In the currency of the price list that was given; 0 where none was."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.seconds + other.seconds,
            self.money + other.money,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens."""

    prompt: float = 0.0
    completion: float = 0.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one feature means, in words, or an abstention that says why."""

    feature: int
    description: str
    """A sentence. Where ``abstained``, the reason."""
    label: str = ""
    """A few words; alternatives are joined by " or ". Empty where abstained."""
    category: Category = "other"
    confidence: float = 0.0
    """0 to 1, by the author's own lights; compare within one author only."""
    abstained: bool = False
    author: str = ""
    """Which explainer, and which model it asked."""
    prompt_version: str = ""
    """Name and version of the prompt or of the rule."""
    inputs: str = ""
    """Hash of everything that the explainer looked at."""
    cost: Cost = field(default_factory=Cost)
    replies: Mapping[str, str] = field(default_factory=dict)
    """Each model that was asked: why its reply could not be used; empty where it could, an
    abstention of the model's own included."""

    def spending(self, more: Cost) -> Explanation:
        """The same explanation with ``more`` added to its cost."""
        return replace(self, cost=self.cost + more)


@dataclass(frozen=True, slots=True)
class Score:
    """One figure about one feature's explanation, with what chance would give."""

    feature: int
    kind: str
    """detection, detection_shuffled, detection_ap, iou, iou_random, simulation, …"""
    value: float
    baseline: float
    """What a guess gets: .5 for an AUROC, the share of positives for an AP."""
    low: float
    high: float
    """95 % bootstrap interval over held-out samples."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What the figure stands on: counts, thresholds, per-sample values."""
    author: str = ""
    """Author of the explanation that was scored."""


@runtime_checkable
class Explainer(Protocol):
    """Puts features into words."""

    @property
    def name(self) -> str:
        """Who it is; becomes ``Explanation.author``."""
        ...

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        """One explanation a record, in order, looking at the ``explain`` split only."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Says how true the words are."""

    @property
    def name(self) -> str:
        """Kind of the main figure."""
        ...

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Scores of all features for which the figure is defined, on the ``score`` split."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Says how well words fit a sample, without seeing any activation."""

    @property
    def name(self) -> str:
        """Who judges."""
        ...

    def rate(
        self, explanations: Sequence[Explanation], samples: Sequence[Sequence[EvidenceSample]]
    ) -> list[NDArray[np.float64]]:
        """For each explanation, (n,) fit of each of its samples; larger fits better."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Texts, or single words, to vectors."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d), rows of unit length."""
        ...


def abstain(record: FeatureEvidence, author: str, reason: str, version: str = "") -> Explanation:
    """An abstention that says why."""
    return Explanation(
        feature=record.index,
        description=reason,
        abstained=True,
        author=author,
        prompt_version=version,
    )
