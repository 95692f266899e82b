"""Known concepts against features: which stands for which, how complete a dictionary is.

On drawn scenes the truth of every sample is known. A feature is chosen for each concept on the
samples of the ``explain`` split and judged on those of the ``score`` split, so a lucky match is
not counted. Firing is looked up for every shown sample. Knows evidence; knows no model.

**Completeness** (after Templeton et al. 2024): the share of concepts that have a feature, against
how often the concept occurs; the frequency at which half of the concepts have one comes from a
logistic fit on the logarithm of the frequency.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import minimize

from semascope.evidence.store.evidence import Evidence
from semascope.statistics import bootstrap


@dataclass(frozen=True, slots=True)
class ConceptDetector:
    """A name that occurs in scenes, and the feature that tells it best."""

    name: str
    frequency: float
    """Share of the shown samples with truth in which it occurs."""
    feature: int
    """−1 where no feature fires on it at all."""
    f1_explain: float
    """Of "the feature fires on the sample" as a sign of the concept, where it was chosen."""
    f1: float
    """The same on samples that had no part in the choice."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """The curve of one dictionary."""

    concepts: tuple[ConceptDetector, ...]
    share: float
    """Of all concepts, those with a feature."""
    chance: float
    """The same when each concept is given the feature chosen for another one."""
    half: float
    """Frequency at which half of the concepts have a feature; NaN where no curve fits."""
    low: float
    high: float
    """95 % bootstrap interval of ``half`` over concepts; NaN where no curve fits."""
    bar: float


def match(evidence: Evidence, *, field: str = "name", least: int = 4) -> list[ConceptDetector]:
    """The best feature of every concept that occurs ``least`` times in each split.

    ``field`` of the scenes' objects: name, category, colour, emotion, texture or word.
    """
    names, has = _occurrences(evidence, field)
    fires = firing(evidence)
    score = np.array([evidence.shown.get(n).split == "score" for n in range(len(evidence.shown))])
    true = np.asarray(has.sum(axis=1)).ravel() > 0
    known = np.array([bool(evidence.shown.get(n).truth) for n in range(len(evidence.shown))])
    sides = [np.flatnonzero(known & ~score), np.flatnonzero(known & score)]
    f1 = [_f1(has[side], fires[side]) for side in sides]
    counts = [np.asarray(has[side].sum(axis=0)).ravel() for side in sides]
    out = []
    for c, name in enumerate(names):
        if min(counts[0][c], counts[1][c]) < least:
            continue
        best = int(np.argmax(f1[0][c]))
        chosen, held = float(f1[0][c, best]), float(f1[1][c, best])
        share = (counts[0][c] + counts[1][c]) / max(int(known.sum()), 1)
        out.append(ConceptDetector(name, float(share), best if chosen > 0 else -1, chosen, held))
    return out if true.any() else []


def telling(evidence: Evidence, field: str = "name") -> list[tuple[str, float]]:
    """For every feature, the concept that its firing tells best, and the F1 of that.

    Over all samples in which one occurs: a name to call it by, no measurement. ("", 0) where it
    tells none.
    """
    names, has = _occurrences(evidence, field)
    if not names:
        return [("", 0.0)] * evidence.width
    known = np.flatnonzero(np.asarray(has.sum(axis=1)).ravel() > 0)
    f1 = _f1(has[known], firing(evidence)[known])
    best = f1.argmax(axis=0)
    value = f1[best, np.arange(evidence.width)]
    return [
        (names[c] if v > 0 else "", float(v)) for c, v in zip(best.tolist(), value, strict=True)
    ]


def completeness(
    evidence: Evidence, *, field: str = "name", least: int = 4, bar: float = 0.5, seed: int = 0
) -> Completeness:
    """A concept has a feature where the held-out F1 of its best feature reaches ``bar``."""
    concepts = match(evidence, field=field, least=least)
    has = np.array([c.f1 >= bar for c in concepts], float)
    log = np.log([c.frequency for c in concepts]) if concepts else np.zeros(0)
    low = high = float("nan")
    if len(concepts) > 3:
        low, high = bootstrap(lambda rows: _half(log[rows], has[rows]), len(concepts), seed=seed)
    return Completeness(
        concepts=tuple(concepts),
        share=float(has.mean()) if len(has) else float("nan"),
        chance=_chance(evidence, concepts, field, bar),
        half=_half(log, has),
        low=low,
        high=high,
        bar=bar,
    )


def curve(found: Completeness, bins: int = 6) -> list[dict[str, float]]:
    """The share of concepts with a feature, by frequency: equal numbers of concepts a bin.

    ``frequency`` is the geometric mean of the bin's, ``concepts`` how many it holds.
    """
    ranked = sorted(found.concepts, key=lambda c: c.frequency)
    parts = np.array_split(np.arange(len(ranked)), min(bins, len(ranked)) or 1)
    out = []
    for part in parts:
        some = [ranked[i] for i in part]
        if some:
            out.append(
                {
                    "frequency": float(np.exp(np.mean([np.log(c.frequency) for c in some]))),
                    "share": float(np.mean([c.f1 >= found.bar for c in some])),
                    "concepts": len(some),
                }
            )
    return out


def _occurrences(evidence: Evidence, field: str) -> tuple[list[str], sp.csr_matrix]:
    """Names, and (samples, names) whether each occurs."""
    seen: list[set[str]] = []
    for number in range(len(evidence.shown)):
        things = evidence.shown.get(number).truth.get("objects", ())
        seen.append({str(o[field]) for o in things if o.get(field)})
    names = sorted(Counter(name for some in seen for name in some))
    place = {name: i for i, name in enumerate(names)}
    pairs = [(n, place[name]) for n, some in enumerate(seen) for name in sorted(some)]
    row, column = np.array(pairs, np.int64).reshape(-1, 2).T
    ones = np.ones(len(pairs), np.float32)
    return names, sp.csr_matrix((ones, (row, column)), (len(seen), len(names)))


def firing(evidence: Evidence) -> sp.csr_matrix:
    """(samples, width) whether each feature fired on each shown sample."""
    lists = [evidence.shown.fired(n, evidence.key) for n in range(len(evidence.shown))]
    starts = np.concatenate([[0], np.cumsum([len(f) for f in lists])])
    flat = np.concatenate(lists) if lists else np.zeros(0, np.int32)
    ones = np.ones(len(flat), np.float32)
    return sp.csr_matrix((ones, flat, starts), (len(lists), evidence.width))


def _f1(has: sp.csr_matrix, fires: sp.csr_matrix) -> NDArray[np.float32]:
    """(concepts, width) F1 of firing as a sign of the concept."""
    both = (has.T @ fires).toarray()  # (concepts, width)
    total = np.asarray(has.sum(axis=0)).ravel()[:, None] + np.asarray(fires.sum(axis=0)).ravel()
    out: NDArray[np.float32] = (2 * both / np.maximum(total, 1)).astype(np.float32)
    return out


def _chance(evidence: Evidence, concepts: list[ConceptDetector], field: str, bar: float) -> float:
    """The share when features go round by one: what any frequent feature would get."""
    if len(concepts) < 2:
        return float("nan")
    names, has = _occurrences(evidence, field)
    shown = [evidence.shown.get(n) for n in range(len(evidence.shown))]
    side = np.flatnonzero([s.split == "score" and bool(s.truth) for s in shown])
    place = [names.index(c.name) for c in concepts]
    other = [c.feature for c in (*concepts[1:], concepts[0])]
    f1 = _f1(has[side], firing(evidence)[side])
    return float(np.mean([f >= 0 and f1[c, f] >= bar for c, f in zip(place, other, strict=True)]))


def _half(log: NDArray[np.float64], has: NDArray[np.float64]) -> float:
    """The frequency at which a logistic curve passes one half; NaN where none rises."""
    if len(log) < 4 or has.min() == has.max():
        return float("nan")
    centre, spread = log.mean(), log.std() or 1.0
    x = (log - centre) / spread

    def loss(weights: NDArray[np.float64]) -> float:
        z = weights[0] + weights[1] * x
        # A slight pull to zero keeps the fit finite where the classes part cleanly.
        return float(np.mean(np.logaddexp(0, z) - has * z) + 1e-3 * weights[1] ** 2)

    offset, slope = minimize(loss, np.zeros(2), method="BFGS").x
    if slope <= 1e-3:
        return float("nan")
    return float(np.exp(np.clip(centre - spread * offset / slope, -50, 0)))
