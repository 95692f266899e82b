"""Choosing a feature's name among terms: the one that detects best, then alternatives.

Works on counts and term numbers; knows no record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semascope.explain.explainers.term_contrast import PRIOR, TermContrast
from semascope.explain.explainers.wording import written
from semascope.explain.text import hypernyms, lemmas
from semascope.explain.text import terms as words
from semascope.explain.text.documents import DocumentLibrary
from semascope.explain.text.exemplar_terms import ExemplarTerms


@dataclass(frozen=True, slots=True)
class VocabularyOptions:
    """What counts as a name."""

    least_exemplars: int = 3
    """Fewer explain exemplars than this and the namer abstains."""
    least_gain: float = 0.5
    """2 AUROC - 1 of the terms below which the namer abstains: .75 on the samples that it chose
    from, and some .03 less on others."""
    least_z: float = 1.6
    """Signed root of the likelihood ratio, below which a term is not tried. Most terms of one
    sample are luck; what keeps them out is that a term must stand in several, and the gain."""
    next_gain: float = 0.012
    """How much a further alternative must add to the AUROC."""
    most_terms: int = 6
    candidates: int = 40
    context_weight: float = 0.9
    """What a word near the firing token counts against the word itself."""
    promoted_bonus: float = 0.03
    """Added to the gain of a term that the feature also makes the model say."""
    agreement_bonus: float = 0.05
    """Added, times its cosine, to the gain of a term that agrees with the samples in meaning."""


class CandidateTerm(NamedTuple):
    """A term that may name a feature."""

    term: int
    gain: float
    """Recall minus false alarms, with any bonus."""
    alarms: float
    """Share of silent samples that have the term, shrunk."""
    bonus: float
    """What is added to an AUROC: how natural a name it is, and what agrees with it."""


VAGUE = frozenset(
    "sentence_end last_word text_start sentence_start line_start line_breaks capitalised "
    "mid_capitals long_words prepositions articles plurals ed_forms conjunctions be relatives "
    "personal_pronouns possessive_s parentheticals quotations hyphenated numbers single_digits "
    "decimal_digits commas full_stops colons semicolons hyphens dashes apostrophes slashes "
    "brackets opening closing after_comma after_the after_a after_of after_to after_and "
    "after_colon after_number".split()
)
"""Concepts that other concepts are cases of, or that are in nearly every excerpt."""
_SIGNS = f"#~{lemmas.SIGN}{words.PHRASE}{words.CONCEPT}"
"""The first letter of every kind of term but a plain word: shapes, pieces of words, families,
phrases, concepts."""
_CONCEPTS = f"#{words.CONCEPT}"
Agree = Callable[[Sequence[str]], NDArray[np.float64]]
"""(n,) how well each of some labels agrees with a feature's samples in meaning, 0 to 1."""


def candidates(
    table: TermContrast,
    rows: slice,
    library: DocumentLibrary,
    options: VocabularyOptions,
    told: list[str],
    agree: Agree | None = None,
) -> list[CandidateTerm]:
    """The best terms of one feature, best first."""
    promoted = {words.stem(token) for token in told}
    found: list[CandidateTerm] = []
    last = 0.0
    for row in range(rows.start, rows.stop):
        gain = float(table.recall[row] - table.alarms[row])
        # All of a tie or none: which of them come first hangs on what was read before.
        enough = len(found) >= 2 * options.candidates
        if gain <= 0 or (enough and gain < last):
            break
        last = gain
        if table.z[row] < options.least_z:
            continue
        term = int(table.term[row])
        key = library.key(term)
        extra = options.promoted_bonus if promoted & set(key.split()) else 0.0
        found.append(
            CandidateTerm(term, gain + extra, float(table.alarms[row]), extra / 2 + _natural(key))
        )
    found.sort(key=lambda c: (-c.gain, library.key(c.term)))
    found = found[: options.candidates]
    return _agreeing(found, library, options, agree) if agree is not None and found else found


def _agreeing(
    found: list[CandidateTerm], library: DocumentLibrary, options: VocabularyOptions, agree: Agree
) -> list[CandidateTerm]:
    """The same with a bonus for agreement, best first."""
    bonus = agree([_meant(library.key(c.term)) for c in found]) * options.agreement_bonus
    again = [
        c._replace(gain=c.gain + b, bonus=c.bonus + b / 2)
        for c, b in zip(found, bonus.tolist(), strict=True)
    ]
    return sorted(again, key=lambda c: (-c.gain, library.key(c.term)))


def _meant(key: str) -> str:
    """A term in words that have a meaning."""
    return written(key, ()) if key[0] in _CONCEPTS else key.lstrip(_SIGNS)


def _natural(key: str) -> float:
    """How much rather a person would use one term than another of equal AUROC.

    A word before a concept that it is the only case of, a concept before a shape, a name before a
    kind that was inferred from it, a long phrase before a short one, a word before all its forms,
    and these before a piece of a word.
    """
    if key[0] == words.CONCEPT:
        return 0.0 if key[1:] in VAGUE else 0.012
    if key[0] == "#":
        return 0.004 if key[1:] in words.GENERAL else 0.008
    if key[0] == lemmas.SIGN:
        return 0.006 if words.says_something(key[1:]) else 0.002
    if key[0] in f"~{words.PHRASE}" or not words.says_something(key):
        return 0.0 if key[0] == "~" else 0.003
    if hypernyms.counted(key) or key in hypernyms.kinds():
        return 0.004
    return 0.014 + 0.004 * min(len(key.split()) - 1, 3)


@dataclass(frozen=True, slots=True)
class Cover:
    """The terms that name a feature: the one that detects best alone, then the surest."""

    terms: tuple[int, ...]
    strengths: tuple[float, ...]
    """Of each term, the share of firing among samples that have it, firing and silent balanced."""
    gain: float
    """2 AUROC - 1 of the terms as a detector on the samples that they were chosen from; 0 where
    no term stands in enough of them."""

    def strong(self) -> tuple[int, ...]:
        """Terms that are about as sure as the first."""
        least = self.strengths[0] - CLOSE
        return tuple(t for t, s in zip(self.terms, self.strengths, strict=True) if s >= least)


RARE = 0.25
"""Share of the firing samples, by weight, below which an alternative may not be surer than the
first: "word" of a feature of written words, not the "SORRY" that it never missed on two of them."""
CLOSE = 0.12
"""How much less sure than the first a term may be that is named beside it."""


def cover(
    names: list[CandidateTerm],
    fired: Sequence[ExemplarTerms],
    silent: Sequence[frozenset[int]],
    library: DocumentLibrary,
    options: VocabularyOptions,
) -> Cover:
    """Greedy cover: add the term that lets the union detect best, while that grows.

    A sample is rated by the surest term that it has, so "months; weaker on seasons" does better
    than "months or seasons". The silent samples are joined by ``PRIOR`` samples of the background.
    """
    table = _Ratings.of(names, fired, silent)
    often = (table.firing > 0).sum(axis=0)
    able = [i for i, c in enumerate(names) if often[i] >= _least_times(library.key(c.term))]
    if not able:
        return Cover((names[0].term,), (float(table.strengths[0]),), 0.0)
    recall = table.weights @ (table.firing > 0)
    chosen: list[int] = []
    value = 0.5
    while able and len(chosen) < options.most_terms:
        values = table.auroc(chosen, able)
        best = int(np.argmax(values + np.array([names[i].bonus for i in able])))
        if chosen and values[best] < value + options.next_gain:
            break
        value = float(values[best])
        chosen.append(able[best])
        able = [
            i
            for i in able
            if i != chosen[-1]
            and not _overlap(library, names[i].term, names[chosen[-1]].term)
            and (recall[i] >= RARE or table.strengths[i] <= table.strengths[chosen[0]])
        ]
    # Alike to three digits is alike; then in the order of choosing.
    chosen[1:] = sorted(chosen[1:], key=lambda i: -round(float(table.strengths[i]), 3))
    return Cover(
        tuple(names[i].term for i in chosen),
        tuple(float(table.strengths[i]) for i in chosen),
        2.0 * value - 1.0,
    )


def _least_times(key: str) -> int:
    """Firing samples that must have a term: one is luck, and of a phrase two are."""
    return 3 if " " in key else 2


@dataclass(frozen=True, slots=True, eq=False)
class _Ratings:
    """Samples against terms: how sure each term is, where a sample has it."""

    firing: NDArray[np.float64]
    """(n, k) strength of the term where the firing sample has it, else 0."""
    silent: NDArray[np.float64]
    """(m, k)"""
    weights: NDArray[np.float64]
    """(n,) of the firing samples; they add up to 1."""
    strengths: NDArray[np.float64]
    """(k,)"""
    usual: NDArray[np.float64]
    """(k,) share of background samples with the term."""

    @classmethod
    def of(
        cls,
        names: Sequence[CandidateTerm],
        fired: Sequence[ExemplarTerms],
        silent: Sequence[frozenset[int]],
    ) -> _Ratings:
        terms = [c.term for c in names]
        weights = np.array([f.weight for f in fired])
        weights = weights / weights.sum()
        hits = np.array([[t in f.terms or t in f.context for t in terms] for f in fired])
        alarms = np.array([[t in s for t in terms] for s in silent])
        alarms = alarms.reshape(len(silent), len(terms))
        rates = np.array([c.alarms for c in names])
        # What of each term's alarm rate came from the background, not from the silent samples.
        usual = ((rates * (len(silent) + PRIOR) - alarms.sum(0)) / PRIOR).clip(0.0, 1.0)
        effective = 1.0 / float((weights**2).sum())
        recall = weights @ hits
        strengths = recall * effective / ((recall + rates) * effective + 1.0)
        return cls(hits * strengths, alarms * strengths, weights, strengths, usual)

    def auroc(self, chosen: Sequence[int], able: Sequence[int]) -> NDArray[np.float64]:
        """(len(able),) AUROC of the chosen terms with each of the others."""
        sets = np.array([[*chosen, i] for i in able])  # (c, size)
        rated = self.firing[:, sets].max(axis=2)  # (n, c)
        rest = self.silent[:, sets].max(axis=2)  # (m, c)
        won = (rated[:, None] > rest) + 0.5 * (rated[:, None] == rest)  # (n, m, c)
        real = np.einsum("n,nmc->c", self.weights, won)
        # A background sample is rated by the surest of the terms that it has, if it has any.
        order = np.argsort(-self.strengths[sets], axis=1, kind="stable")
        sets = np.take_along_axis(sets, order, axis=1)
        share = self.usual[sets]  # (c, size)
        none = np.cumprod(1.0 - share, axis=1)
        first = share * np.concatenate([np.ones((len(sets), 1)), none[:, :-1]], axis=1)
        level = self.strengths[sets]
        beats = (rated[:, :, None] > level) + 0.5 * (rated[:, :, None] == level)  # (n, c, size)
        zero = (rated > 0) + 0.5 * (rated == 0)  # (n, c)
        usual = self.weights @ ((beats * first).sum(axis=2) + zero * none[:, -1])
        return np.asarray((real + PRIOR * usual) / (len(rest) + PRIOR))


def _overlap(library: DocumentLibrary, a: int, b: int) -> bool:
    """Whether two terms share a word: an alternative must be another thing.

    Of concepts and shapes only the same one: "verse numbers" goes with "numbers".
    """
    first, second = library.key(a), library.key(b)
    one, other = {*_plain(first)}, {*_plain(second)}
    if first[0] in _CONCEPTS or second[0] in _CONCEPTS:
        return one == other
    return bool(one & other)


def _plain(key: str) -> list[str]:
    """The words of a term, and for a form of a word its families."""
    if key[0] in _CONCEPTS:
        name = written(key, ())
        return [words.stem(name[a:b]) for a, b in words.spans(name)]
    found = key.lstrip(_SIGNS).split()
    return found + [f.removeprefix(lemmas.SIGN) for word in found for f in lemmas.families(word)]
