"""From explanations to what a list shows: short label, interest, low level, duplicates.

Interest is a small logistic regression on labels kept in ``data/interest.jsonl``, fitted when
it is first asked for: it says whether a person would care, by what the words look like and how
often the feature fires, never by a feature's number. Knows explanations and statistics.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from semascope.evidence.types import FeatureEvidence
from semascope.explain.text import terms
from semascope.explain.text.labellers.labellers import concept_names
from semascope.explain.types import CATEGORIES, Category, Explanation

_WORDS = 5


@dataclass(frozen=True, slots=True)
class Refined:
    """What a list shows of one feature."""

    feature: int
    label: str
    category: Category
    interest: float
    """0 to 1, probability that a person would care."""
    low_level: bool
    """Fires on so many tokens that it tells little of any: edges, plain ground, template."""
    group: int
    """Smallest number among the features that mean the same; its own where it is alone."""


def refine(
    records: Sequence[FeatureEvidence],
    explanations: Sequence[Explanation],
    *,
    frequent: float = 0.1,
    directions: NDArray[np.floating] | None = None,
) -> list[Refined]:
    """One line a feature, in order.

    ``frequent``: share of tokens above which a feature is low-level. ``directions`` (n, d), in
    order of the records: where given, duplicates are those of the same words that point the same
    way, whatever they fire on.
    """
    density = [float(r.stats.get("density", 0.0)) for r in records]
    interest = interests(explanations, density)
    groups = duplicates(records, explanations, directions)
    return [
        Refined(
            feature=e.feature,
            label=short(e.label or e.description) if not e.abstained else "",
            category=e.category,
            interest=float(p),
            low_level=d > frequent,
            group=g,
        )
        for e, p, d, g in zip(explanations, interest, density, groups, strict=True)
    ]


def short(label: str) -> str:
    """At most five words, first alternatives first, no article at the front."""
    spoken = label.strip(" .").split()
    if spoken and spoken[0].lower() in ("a", "an", "the"):
        spoken = spoken[1:]
    if len(spoken) <= _WORDS:
        return " ".join(spoken)
    kept: list[str] = []
    for alternative in " ".join(spoken).split(" or "):
        words_of = alternative.split()
        if kept and len(kept) + 1 + len(words_of) > _WORDS:
            break
        kept += (["or"] if kept else []) + words_of
    return " ".join(kept[:_WORDS])


def traits(label: str, category: str, density: float) -> NDArray[np.float64]:
    """(12 + categories,) what the interest of a label hangs on."""
    phrases = terms.alternatives(label)
    stems = [stem for phrase in phrases for stem in phrase]
    name = " ".join(label.lower().split())
    shaped = name in terms.SHAPE_NAMES or name in concept_names()
    numbers = [
        float(not label),
        float('words with "' in label),
        float(bool(terms.quoted(label)) and 'words with "' not in label),
        float(shaped),
        float(not stems),
        min(len(phrases), 4) / 4,
        min(len(stems), 6) / 6,
        max((len(s) for s in stems), default=0) / 12,
        float(any(s.isdigit() for s in stems)),
        float("background" in label),
        (math.log10(max(density, 1e-6)) + 6) / 6,
        float(density > 0.05),
    ]
    return np.array(numbers + [float(category == c) for c in CATEGORIES])


@lru_cache
def _labels() -> list[dict[str, Any]]:
    file = resources.files("semascope.explain").joinpath("data/interest.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]


def base_interest() -> float:
    """Share of the kept labels that a person cared for: what a guess would say."""
    return float(np.mean([row["interest"] for row in _labels()]))


@lru_cache
def _classifier() -> LogisticRegression:
    rows = _labels()
    x = np.stack([traits(r["label"], r["category"], r["density"]) for r in rows])
    return LogisticRegression(C=3.0, max_iter=1000).fit(x, [r["interest"] for r in rows])


def interests(explanations: Sequence[Explanation], density: Sequence[float]) -> NDArray[np.float64]:
    """(n,) probability that a person would care; 0 for abstentions."""
    if not explanations:
        return np.zeros(0)
    x = np.stack(
        [traits(e.label, e.category, d) for e, d in zip(explanations, density, strict=True)]
    )
    silent = np.array([e.abstained for e in explanations])
    return np.asarray(np.where(silent, 0.0, _classifier().predict_proba(x)[:, 1]))


def duplicates(
    records: Sequence[FeatureEvidence],
    explanations: Sequence[Explanation],
    directions: NDArray[np.floating] | None = None,
    *,
    overlap: float = 0.3,
    cosine: float = 0.7,
) -> list[int]:
    """(n,) smallest feature number of each feature's group.

    Two features are one where their labels name the same and they fire on the same samples
    (Jaccard of their exemplars) or, where ``directions`` are given, point the same way.
    """
    parent = {r.index: r.index for r in records}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    unit = None
    if directions is not None:
        rows = np.asarray(directions, np.float64)
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    for members in _by_label(explanations).values():
        samples = [{e.shown.row for e in records[m].top} for m in members]
        for a in range(len(members)):
            for b in range(a):
                i, j = members[a], members[b]
                same = _jaccard(samples[a], samples[b]) >= overlap
                if unit is not None:
                    same = float(unit[i] @ unit[j]) >= cosine
                if same:
                    low, high = sorted((root(records[i].index), root(records[j].index)))
                    parent[high] = low
    return [root(r.index) for r in records]


def _by_label(explanations: Sequence[Explanation]) -> Mapping[object, list[int]]:
    groups: dict[object, list[int]] = {}
    for number, explanation in enumerate(explanations):
        if not explanation.abstained:
            groups.setdefault(meaning(explanation.label), []).append(number)
    return groups


def meaning(label: str) -> object:
    """The same for labels that name the same: order, plurals and articles do not matter."""
    return frozenset(terms.alternatives(label)) or label


def _jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / max(len(a | b), 1)
