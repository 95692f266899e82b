"""What stands near the words of a text feature where it fires, and seldom where it is silent.

Of features of numbers one fires near "million" and one near "chapter". A term of the whole excerpt
is added where it makes the words detect better, or where it sets a feature apart from others that
have the same label. Works on term numbers; knows no record.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semascope.explain.explainers.term_cover import VAGUE, Cover
from semascope.explain.text import terms as words
from semascope.explain.text.documents import DocumentLibrary

LEAST_SHARE = 0.5
"""Share of the firing samples, by weight, in which what stands near must be: the words for it are
"mostly near"."""
LEAST_TIMES = 4
LEAST_GAIN = 0.03
"""How much it must add to the AUROC."""
ABSENT = 0.5
"""What a sample without it is worth, as the judge has it."""
PRIOR = 10.0
"""Samples of the background that join the silent ones."""
APART = 0.3
"""How much oftener it must stand near this feature's words than near those of features with the
same label."""


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The excerpts of one feature, with what names it."""

    cover: Cover
    firing: Sequence[frozenset[int]]
    """All terms of each firing excerpt."""
    at: Sequence[frozenset[int]]
    """Terms of the tokens that fire: "see" is a verb of perception, and needs none near it."""
    weights: NDArray[np.float64]
    """(n,) of the firing excerpts."""
    silent: Sequence[frozenset[int]]

    def ratings(self, samples: Sequence[frozenset[int]]) -> NDArray[np.float64]:
        """(n,) strength of the surest name in each sample, 0 without one."""
        pairs = list(zip(self.cover.terms, self.cover.strengths, strict=True))
        return np.array([max((s for t, s in pairs if t in held), default=0.0) for held in samples])


def context(
    own: Surroundings, common: NDArray[np.float64], library: DocumentLibrary
) -> tuple[int, float]:
    """The term whose presence lets the words detect best, and the AUROC that it adds; (-1, 0)
    where none adds ``LEAST_GAIN``.

    ``common``: (terms,) share of all samples that have each term.
    """
    terms = possible(own, library)
    if not terms or not own.firing:
        return -1, 0.0
    weights = own.weights / own.weights.sum()
    rated, rest = own.ratings(own.firing), own.ratings(own.silent)
    with_it = np.array([[t in held for t in terms] for held in own.firing])
    without = np.array([[t in held for t in terms] for held in own.silent])
    without = without.reshape(len(own.silent), len(terms))
    order = np.argsort([-strength for strength in own.cover.strengths], kind="stable")
    levels = np.array(own.cover.strengths)[order]
    shares = common[np.array(own.cover.terms)[order]]
    none = np.cumprod(1.0 - shares)
    first = shares * np.concatenate([[1.0], none[:-1]])  # a sample's surest term is this one

    def auroc(firing: NDArray[np.float64], silent: NDArray[np.float64], near: float) -> float:
        real = float(weights @ _beats(firing[:, None], silent[None]).sum(axis=1))
        usual = float(none[-1]) * float(weights @ _beats(firing, 0.0))
        for share, level in zip(first.tolist(), levels.tolist(), strict=True):
            usual += share * near * float(weights @ _beats(firing, level))
            usual += share * (1.0 - near) * float(weights @ _beats(firing, level * ABSENT))
        return (real + PRIOR * usual) / (len(silent) + PRIOR)

    before = auroc(rated, rest, 1.0)
    gains = [
        auroc(
            rated * np.where(with_it[:, i], 1.0, ABSENT),
            rest * np.where(without[:, i], 1.0, ABSENT),
            float(common[term]),
        )
        - before
        for i, term in enumerate(terms)
    ]
    best = int(np.argmax(gains))
    return (terms[best], gains[best]) if gains[best] >= LEAST_GAIN else (-1, 0.0)


def _beats(a: NDArray[np.float64], b: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray((a > b) + 0.5 * (a == b), np.float64)


def possible(own: Surroundings, library: DocumentLibrary) -> list[int]:
    """Terms that stand near in most of the firing excerpts and say something, words before
    concepts: of a word and a concept that it is the only case of, the word comes first."""
    counts: Counter[int] = Counter()
    weight: dict[int, float] = defaultdict(float)
    total = float(own.weights.sum())
    for held, at, share in zip(own.firing, own.at, own.weights.tolist(), strict=True):
        counts.update(held - at)
        for term in held:
            weight[term] += share / total
    named = {stem for term in own.cover.terms for stem in library.key(term).strip('#~="@').split()}
    found = [
        term
        for term, count in counts.items()
        if count >= LEAST_TIMES
        and weight[term] >= LEAST_SHARE
        and term not in own.cover.terms
        and _tells(library.key(term), named)
    ]
    return sorted(found, key=lambda t: (library.key(t).startswith(words.CONCEPT), library.key(t)))


def _tells(key: str, named: set[str]) -> bool:
    """Whether a term says something of what stands near; marks and pieces of words do not."""
    if key.startswith(words.CONCEPT):
        return key[1:] not in VAGUE
    if key[0] in '#~="':
        return False
    return " " not in key and words.says_something(key) and key not in named


def distinguishing(group: Sequence[Surroundings], library: DocumentLibrary) -> list[int]:
    """For each of some features with one label, a term that stands near its words and not near
    theirs; -1 where there is none. No term is given twice: the surest feature has it.
    """
    tables = [_shares(own, library) for own in group]
    pairs = []
    for number, shares in enumerate(tables):
        others = [table for other, table in enumerate(tables) if other != number]
        for term, share in shares.items():
            usual = sum(table.get(term, 0.0) for table in others) / max(len(others), 1)
            if share - usual >= APART:
                pairs.append((share - usual, library.key(term), number, term))
    chosen, taken = [-1] * len(group), set[int]()
    for _, _, number, term in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if chosen[number] < 0 and term not in taken:
            chosen[number] = term
            taken.add(term)
    return chosen


def _shares(own: Surroundings, library: DocumentLibrary) -> dict[int, float]:
    """Share of the firing excerpts, by weight, that have each term."""
    weights = own.weights / own.weights.sum()
    return {
        term: sum(w for held, w in zip(own.firing, weights.tolist(), strict=True) if term in held)
        for term in possible(own, library)
    }
