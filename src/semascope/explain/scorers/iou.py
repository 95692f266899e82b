"""IoU: does a feature light up on the thing that its explanation names?

Heat map of each held-out exemplar against the true, visible mask of the named object. Three
figures: ``iou`` on the token grid (a token is the object's where it covers half of it),
``iou_pixels`` exact in pixels (each token counts with the area that the object covers of it; a
coarse grid caps it) and ``iou_soft``, which needs no threshold (Ružička similarity,
Σ min / Σ max). The threshold of the first two, a share of the exemplar's peak, is chosen for
each feature on its explain split. An exemplar without the named thing counts 0.

Controls: ``iou_random`` puts another feature's words on the same heat maps (as the baseline of
the multimodal-SAE paper: random pictures for an explanation); each figure's ``baseline`` is
what as many random tokens would get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import Exemplar, FeatureEvidence
from semascope.explain.scorers.match_truth import areas, coverage, named_things, picture_tokens
from semascope.explain.shuffled_words import shuffled_words
from semascope.explain.text.claims import Claim, claim
from semascope.explain.text.exemplar_terms import mode_of
from semascope.explain.text.hypernyms import counted
from semascope.explain.text.terms import stem
from semascope.explain.types import Explanation, Score
from semascope.statistics import Floats, mean_interval

THRESHOLDS = np.linspace(0.0, 0.9, 10)
KINDS = ("iou", "iou_pixels", "iou_soft")


class Overlap(NamedTuple):
    """One picture, at each of the ten thresholds."""

    grid: Floats
    pixels: Floats
    chance: Floats
    """Grid IoU of as many random tokens, by expected counts."""
    soft: float
    """The one without a threshold."""


def overlap(heat: Floats, share: Floats, area: Floats) -> Overlap:
    """Heat in [0, 1], share covered by the object and pixels of each token, all (n,)."""
    predicted = (heat[None, :] > THRESHOLDS[:, None]).astype(np.float64)  # (10, n)
    true = (share >= min(0.5, float(share.max()))).astype(np.float64)
    covered = share * area
    # One product gives, for each threshold: hits, covered pixels, pixels, tokens.
    sums = predicted @ np.stack([true, covered, area, np.ones_like(area)], 1)  # (10, 4)
    hits, inside, pixels, tokens = sums.T
    n_true = true.sum()
    both = tokens * n_true / len(heat)
    return Overlap(
        hits / np.maximum(tokens + n_true - hits, 1e-12),
        inside / np.maximum(pixels + covered.sum() - inside, 1e-12),
        both / np.maximum(tokens + n_true - both, 1e-12),
        float((np.minimum(heat, share) @ area) / (np.maximum(heat, share) @ area).clip(1e-12)),
    )


class IoUScorer:
    """IoU against the true masks of drawn scenes; features of pictures only, and words that
    name something which has a place: not 'three things'."""

    name = "iou"

    def __init__(self, *, least: int = 2, seed: int = 0) -> None:
        self.least = least
        self.seed = seed

    def score(
        self, records: Sequence[FeatureEvidence], explanations: Sequence[Explanation]
    ) -> list[Score]:
        """Scores of every explained feature with enough held-out pictures that carry truth."""
        pairs = [
            (record, explanation)
            for record, explanation in zip(records, explanations, strict=True)
            if not explanation.abstained
            and len(_pictures(record, "score")) >= self.least
            and _of_pictures(record)
            and _has_a_place(explanation)
        ]
        found: list[Score] = []
        for record, explanation in pairs:
            found += self._scores(record, explanation)
        lent = shuffled_words([e.label for _, e in pairs], self.seed).tolist()
        own = [s for s in found if s.kind == "iou"]
        for (record, explanation), score, j in zip(pairs, own, lent, strict=True):
            if j >= 0:
                other = replace(pairs[j][1], author=explanation.author)
                found.append(self._control(record, other, float(score.evidence["threshold"])))
        return found

    def _control(self, record: FeatureEvidence, other: Explanation, threshold: float) -> Score:
        said = claim(other.label, other.description)
        at = int(np.abs(THRESHOLDS - threshold).argmin())
        test = _measure(_pictures(record, "score"), said)
        detail: dict[str, object] = {"label": other.label}
        base = float(test[3][:, at].mean())
        return self._figure(record.index, "iou_random", test[0][:, at], base, detail, other)

    def _scores(self, record: FeatureEvidence, explanation: Explanation) -> list[Score]:
        said = claim(explanation.label, explanation.description)
        train = _measure(_pictures(record, "explain"), said)
        test = _measure(_pictures(record, "score"), said)
        scores = []
        for kind, column in (("iou", 0), ("iou_pixels", 1)):
            at = int(train[column].mean(0).argmax()) if len(train[column]) else 5
            values = test[column][:, at]
            base = float(test[3][:, at].mean())
            detail: dict[str, object] = {"threshold": float(THRESHOLDS[at]), "n": len(values)}
            if kind == "iou":
                detail["values"] = [round(float(v), 3) for v in values]
            scores.append(self._figure(record.index, kind, values, base, detail, explanation))
        scores.append(
            self._figure(record.index, "iou_soft", test[2], 0.0, {"n": len(test[2])}, explanation)
        )
        return scores

    def _figure(
        self,
        feature: int,
        kind: str,
        values: Floats,
        base: float,
        detail: dict[str, object],
        explanation: Explanation,
    ) -> Score:
        figure = mean_interval(values, self.seed)
        return Score(
            feature, kind, figure.value, base, *figure.interval, detail, explanation.author
        )


def _of_pictures(record: FeatureEvidence) -> bool:
    """Whether at least half of what it fires on, by strength, are pictures: the words for a
    feature of texts make no claim about the few pictures that it fires on too."""
    seen = {True: 0.0, False: 0.0}
    for exemplar in record.top:
        seen[mode_of(exemplar) == "picture"] += exemplar.peak
    return seen[True] >= seen[False]


def _has_a_place(explanation: Explanation) -> bool:
    """Whether its words speak of what is seen, and of more than how many things there are: a
    number stands nowhere in a picture."""
    stems = " ".join(map(stem, explanation.label.lower().split()))
    said = claim(explanation.label, explanation.description)
    return (said.seen or not said.read) and not counted(stems)


def _pictures(record: FeatureEvidence, split: str) -> list[Exemplar]:
    """Strongest exemplars of the split that fired on a picture whose truth is known."""
    return [
        e
        for e in record.top
        if e.shown.split == split and e.shown.truth.get("objects") and mode_of(e) == "picture"
    ]


def _measure(exemplars: list[Exemplar], said: Claim) -> tuple[Floats, Floats, Floats, Floats]:
    """Grid (n, 10), pixels (n, 10), soft (n,) and chance (n, 10) of each exemplar."""
    steps = len(THRESHOLDS)
    grid, pixels = np.zeros((len(exemplars), steps)), np.zeros((len(exemplars), steps))
    soft, base = np.zeros(len(exemplars)), np.zeros((len(exemplars), steps))
    for i, exemplar in enumerate(exemplars):
        named = named_things(said, exemplar.shown)
        tokens = picture_tokens(exemplar.shown)
        if named is None or not len(tokens):
            continue
        share = coverage(named, tokens)
        if share.max() > 0:
            heat = _heat(exemplar, tokens)
            grid[i], pixels[i], base[i], soft[i] = overlap(
                heat, share, areas(exemplar.shown, tokens)
            )
    return grid, pixels, soft, base


def _heat(exemplar: Exemplar, tokens: NDArray[np.int64]) -> Floats:
    heat = exemplar.activations[tokens].astype(np.float64)
    return np.asarray(heat / max(float(heat.max(initial=0.0)), 1e-12))
