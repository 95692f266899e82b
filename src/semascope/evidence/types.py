"""What a feature responds to, as records that explainers, scorers and pages read.

Knows no model and no database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.sample import Moment

Split = Literal["explain", "score"]


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceSample:
    """One sample as the model saw it, enough to draw it again without the model."""

    row: int
    """Row in the corpus."""
    id: str
    tokens: tuple[str, ...]
    kinds: NDArray[np.int8]
    """(T,) of ``subject.Kind``."""
    rects: NDArray[np.float32]
    """(T, 4) pixels of the picture, NaN where none."""
    image: NDArray[np.int16]
    """(T,) which picture, −1 where none: images first, then the frames of videos."""
    media: tuple[str, ...]
    """Content hash of each picture (PNG or WebP bytes in the workspace's media folder)."""
    sizes: tuple[tuple[int, int], ...]
    """(width, height) of each picture."""
    split: Split
    """Every sample belongs to one split, for every feature, by a hash of its content: no sample
    that an explainer saw is ever scored."""
    truth: Mapping[str, Any] = field(default_factory=dict)
    """For drawn scenes: caption, background, and ``objects``: name, category, colour, texture,
    emotion, word, box, and ``patches``: share of each token's rectangle that the object covers
    ((T,) float16, 0 where no picture)."""
    spans: NDArray[np.int16] | None = None
    """(T,) how many pictures, from ``image`` on, each token looks at: frames that the subject
    merges in time. None where one each."""
    moments: tuple[Moment | None, ...] = ()
    """Which frame of which video each picture is, None for images; () without videos."""


@dataclass(frozen=True, slots=True, eq=False)
class Exemplar:
    """One sample where a feature fired."""

    shown: EvidenceSample
    activations: NDArray[np.float32]
    """(T,) the feature's activation at every position, 0 where silent."""
    interval: int = 9
    """Which tenth of [0, the feature's maximum] the sample's maximum lies in; 9 is the top."""

    @property
    def peak(self) -> float:
        """Largest activation."""
        return float(self.activations.max(initial=0.0))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureEvidence:
    """All that was gathered about one feature."""

    index: int
    top: tuple[Exemplar, ...]
    """Strongest samples first."""
    intervals: tuple[Exemplar, ...]
    """A uniform draw from each tenth of [0, max]."""
    silent: tuple[EvidenceSample, ...]
    """Counter-examples: samples where it is silent and its nearest neighbours fire."""
    stats: Mapping[str, float]
    """tokens, fired, density, density_text, density_image, mean, max, samples…"""

    def __repr__(self) -> str:
        return (
            f"FeatureEvidence({self.index}: {len(self.top)} exemplars, {len(self.silent)} "
            f"counter-examples, max {self.stats.get('max', 0.0):.3g})"
        )

    def split(self, name: Split) -> FeatureEvidence:
        """The same, restricted to one split."""
        return FeatureEvidence(
            index=self.index,
            top=tuple(e for e in self.top if e.shown.split == name),
            intervals=tuple(e for e in self.intervals if e.shown.split == name),
            silent=tuple(s for s in self.silent if s.split == name),
            stats=self.stats,
        )
