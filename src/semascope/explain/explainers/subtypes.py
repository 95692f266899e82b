"""What a feature fires on above all, among the things that its name covers.

A feature of striped flags fires on many a flag a little, and "flag" detects it best; but it fires
most on a few, and that is what a person wants to know. Of the samples that have the name, those on
which the feature fires strongly are contrasted with how common each further term is among them.
Works on counts and term numbers; knows no record.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semascope.explain.text import terms
from semascope.explain.text.documents import DocumentLibrary
from semascope.explain.text.exemplar_terms import ExemplarTerms


@dataclass(frozen=True, slots=True)
class SubtypeOptions:
    """When a name is told more closely."""

    strong: float = 0.4
    """Only samples that reach this share of the feature's largest activation are looked at."""
    least_exemplars: int = 5
    """Fewer such samples than this and nothing is told."""
    least_times: int = 3
    """Fewer strong samples than this with a term are luck: of the many things that stand beside
    what it fires on, some stand there twice."""
    least_z: float = 3.5
    """Signed root of the likelihood ratio of a term, below which it is luck too."""
    least_recall: float = 0.35
    """Share of the strong samples, by activation, that the terms together must have."""
    least_gain: float = 0.3
    """The same less the share of all samples with the name that have them."""
    next_gain: float = 0.06
    """How much a further term must add."""
    most_terms: int = 4


def particulars(
    general: Sequence[int],
    fired: Sequence[ExemplarTerms],
    common: NDArray[np.float64],
    library: DocumentLibrary,
    options: SubtypeOptions | None = None,
) -> list[int]:
    """Terms that the feature fires on above all; none where there are no such.

    Args:
        general: the terms that name it.
        fired: its samples, with their weights.
        common: (terms,) share of all samples that have each term.
        library: of the terms.
        options: how sure it must be.
    """
    options = options or SubtypeOptions()
    strong = [f for f in fired if f.weight >= options.strong and f.terms & set(general)]
    among = 1.0 - float(np.prod(1.0 - common[list(general)]))
    if len(strong) < options.least_exemplars or among <= 0:
        return []
    weights = np.array([f.weight for f in strong])
    weights = weights / weights.sum()
    named = frozenset(s for term in general for s in library.key(term).split())
    holds: dict[int, list[int]] = defaultdict(list)
    for row, one in enumerate(strong):
        for term in one.terms:
            holds[term].append(row)
    rates = {term: min(1.0, float(common[term]) / among) for term in holds}
    able = [
        term
        for term, rows in holds.items()
        if len(rows) >= options.least_times
        and _tells(library.key(term), named)
        and _z(len(rows), len(strong), rates[term]) >= options.least_z
    ]
    return _greedy(able, holds, weights, rates, library, options)


NEAR_RECALL, NEAR_GAIN, PRIOR = 0.5, 0.4, 4.0
"""Share of the firing samples that must have what stands beside, how much more than of the silent
ones with the same name, and for how many silent samples the corpus as a whole counts."""


def nearby(
    general: Sequence[int],
    fired: Sequence[ExemplarTerms],
    around: Sequence[frozenset[int]],
    silent: Sequence[frozenset[int]],
    common: NDArray[np.float64],
    library: DocumentLibrary,
) -> int:
    """A term that stands near the name where the feature fires, and seldom elsewhere; −1 for none.

    Of features of numbers one fires near "million" and one near "chapter".

    Args:
        general: the terms that name the feature.
        fired: its samples, with their weights.
        around: all terms of each of these.
        silent: all terms of samples on which it is silent.
        common: (terms,) share of all samples that have each term.
        library: of the terms.
    """
    name = set(general)
    rows = [i for i, f in enumerate(fired) if f.terms & name]
    if len(rows) < 5:
        return -1
    weights = np.array([fired[i].weight for i in rows])
    weights = weights / weights.sum()
    named = frozenset(s for term in general for s in library.key(term).split())
    shaped = any(library.key(term).startswith("#") for term in general)
    quiet = [s for s in silent if s & name]
    recall: dict[int, float] = defaultdict(float)
    for row, weight in zip(rows, weights.tolist(), strict=True):
        for term in around[row] - name - fired[row].terms:
            recall[term] += weight
    best, best_gain = -1, NEAR_GAIN
    for term, share in sorted(recall.items(), key=lambda item: library.key(item[0])):
        key = library.key(term)
        if share < NEAR_RECALL or not (_tells(key, named) or _shape_tells(key, shaped)):
            continue
        alarms = sum(term in s for s in quiet) + PRIOR * float(common[term])
        gain = share - alarms / (len(quiet) + PRIOR)
        if gain > best_gain + 1e-9:
            best, best_gain = term, gain
    return best


_SAYS_LITTLE = (terms.GENERAL - {terms.CODE, "capitals"}) | {
    "article", "pronoun", "preposition", "conjunction", "comma", "full stop", "line break", "dash",
}  # fmt: skip
"""Shapes that stand beside nearly everything."""


def _shape_tells(key: str, shaped: bool) -> bool:
    """Whether a shape says something of what stands beside a name; of a number or a date marks do
    not, since they may be its own."""
    shape = key[1:]
    if not key.startswith("#") or shape in _SAYS_LITTLE or shape.startswith("word ending"):
        return False
    return not (shaped and shape in terms.MARKS.values())


def _tells(key: str, named: frozenset[str]) -> bool:
    """Whether a term says more than the name does; marks and pieces of words do not."""
    return key[:1] not in '#~="' and terms.says_something(key) and not set(key.split()) <= named


def _z(k: int, n: int, rate: float) -> float:
    """Signed root of the likelihood ratio of k in n where ``rate`` was to be expected."""
    rate = min(max(rate, 1e-4), 1 - 1e-4)
    if k <= n * rate:
        return 0.0
    ratio = k * math.log(k / (n * rate))
    if k < n:
        ratio += (n - k) * math.log((n - k) / (n * (1 - rate)))
    return math.sqrt(max(0.0, 2 * ratio))


def _greedy(
    able: Sequence[int],
    holds: dict[int, list[int]],
    weights: NDArray[np.float64],
    rates: dict[int, float],
    library: DocumentLibrary,
    options: SubtypeOptions,
) -> list[int]:
    """Terms that together have most of the samples and few others; none if too few."""
    chosen: list[int] = []
    covered = np.zeros(len(weights), np.bool_)
    rate = 0.0
    while len(chosen) < options.most_terms:
        best, best_gain = -1, options.next_gain
        # Of terms that do alike the longer phrase is the name; then by key, whatever was read.
        for term in sorted(able, key=lambda t: (-len(library.key(t).split()), library.key(t))):
            more = np.zeros(len(weights), np.bool_)
            more[holds[term]] = True
            gain = float(weights[more & ~covered].sum()) - rates[term] * (1.0 - rate)
            if gain > best_gain + 1e-9:
                best, best_gain = term, gain
        if best < 0:
            break
        chosen.append(best)
        covered[holds[best]] = True
        rate = 1.0 - (1.0 - rate) * (1.0 - rates[best])
    recall = float(weights[covered].sum())
    enough = recall >= options.least_recall and recall - rate >= options.least_gain
    return chosen if enough else []
