"""Regions of samples, firing and silent, and judges of what lies in them.

A silent region is as large and as compact as the firing one, on the same sample: size and shape
must not tell the two apart. Knows exemplars, rectangles and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample, Exemplar
from semascope.explain.scorers.match_truth import coverage, named_things
from semascope.explain.scorers.token_match import TokenMatcher
from semascope.explain.text.claims import Claim, claim
from semascope.explain.text.documents import DocumentLibrary
from semascope.explain.types import Explanation
from semascope.subject.types import IMAGE_KINDS, Kind


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRegion:
    """Some tokens of a sample, all text or all of one picture."""

    shown: EvidenceSample
    tokens: NDArray[np.int64]


class RegionJudge(Protocol):
    """Says how well words fit what lies in a region."""

    @property
    def name(self) -> str:
        """Who judges."""
        ...

    def fit(self, explanation: Explanation, regions: Sequence[ScoredRegion]) -> NDArray[np.float64]:
        """(n,) fit of each region; NaN where this judge cannot tell."""
        ...


def pair(
    exemplar: Exemplar, rng: np.random.Generator, share: float = 0.3
) -> tuple[ScoredRegion, ScoredRegion] | None:
    """The firing region and a silent one of its size; None where no room is left for one."""
    heat, shown = exemplar.activations, exemplar.shown
    peak = int(heat.argmax())
    pictured = int(shown.kinds[peak]) in IMAGE_KINDS
    if pictured:
        same = np.isin(shown.kinds, IMAGE_KINDS) & (shown.image == shown.image[peak])
        same &= np.isfinite(shown.rects).all(1)
    else:
        same = shown.kinds == Kind.TEXT
    firing = np.flatnonzero(same & (heat >= share * exemplar.peak))
    silent = np.flatnonzero(same & (heat <= 0))
    if not len(firing) or len(silent) < len(firing):
        return None
    centre = silent[int(rng.integers(len(silent)))]
    where = _places(shown, pictured)
    distance = ((where[silent] - where[centre]) ** 2).sum(1)
    nearest = silent[np.argsort(distance, kind="stable")[: len(firing)]]
    return ScoredRegion(shown, firing), ScoredRegion(shown, np.sort(nearest))


def _places(shown: EvidenceSample, pictured: bool) -> NDArray[np.float64]:
    """(T, 2) where each token is: centre of its rectangle, or its place in the text."""
    if pictured:
        r = np.nan_to_num(shown.rects.astype(np.float64), nan=-1e6)
        return np.stack([r[:, 0] + r[:, 2], r[:, 1] + r[:, 3]], 1) / 2
    order = np.arange(len(shown.tokens), dtype=np.float64)
    return np.stack([order, np.zeros_like(order)], 1)


def pictured(region: ScoredRegion) -> bool:
    """Whether the region lies in a picture."""
    return int(region.shown.kinds[region.tokens[0]]) in IMAGE_KINDS


class WordRegions:
    """Regions of text: the share of tokens that are part of a word that the words name."""

    name = "words"

    def __init__(self, library: DocumentLibrary | None = None) -> None:
        self.library = library or DocumentLibrary()

    def fit(self, explanation: Explanation, regions: Sequence[ScoredRegion]) -> NDArray[np.float64]:
        """(n,) fit in [0, 1]; NaN for regions of pictures."""
        said = claim(explanation.label, explanation.description)
        return np.array([np.nan if pictured(r) else self._share(said, r) for r in regions])

    def _share(self, said: Claim, region: ScoredRegion) -> float:
        matcher = TokenMatcher(said, self.library.doc(region.shown))
        return sum(map(matcher.hits, region.tokens.tolist())) / len(region.tokens)


class TruthRegions:
    """Regions of drawn scenes: the share that the named object covers. A perfect observer."""

    name = "truth"

    def fit(self, explanation: Explanation, regions: Sequence[ScoredRegion]) -> NDArray[np.float64]:
        """(n,) fit in [0, 1]; NaN for regions of text and of pictures without truth."""
        said = claim(explanation.label, explanation.description)
        return np.array([self._share(said, r) for r in regions])

    def _share(self, said: Claim, region: ScoredRegion) -> float:
        if not pictured(region) or "objects" not in region.shown.truth:
            return float("nan")
        named = named_things(said, region.shown)
        return float(coverage(named, region.tokens).mean()) if named else 0.0


class EitherRegions:
    """Asks several judges in turn: each region is told by the first that can tell it."""

    def __init__(self, *judges: RegionJudge) -> None:
        self.judges = judges

    @property
    def name(self) -> str:
        """All of them."""
        return " or ".join(judge.name for judge in self.judges)

    def fit(self, explanation: Explanation, regions: Sequence[ScoredRegion]) -> NDArray[np.float64]:
        """(n,) fit of each region; NaN where none can tell."""
        out = np.full(len(regions), np.nan)
        for judge in self.judges:
            left = np.flatnonzero(np.isnan(out))
            if not len(left):
                break
            out[left] = judge.fit(explanation, [regions[i] for i in left.tolist()])
        return out
