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


def _tells(key: str, named: frozenset[str]) -> bool:
    """Whether a term says more than the name does; marks and pieces of words do not."""
    return key[:1] not in '#~="@' and terms.says_something(key) and not set(key.split()) <= named


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
