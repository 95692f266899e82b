"""Choosing a feature's name among terms: the one that detects best, then alternatives.

Works on counts and term numbers; knows no record. The label that it writes is read back by the
judge (``judge``), so the two agree on how a shape, a piece of a word or a stop word is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semascope.explain.explainers.term_contrast import PRIOR, TermContrast
from semascope.explain.text import hypernyms, lemmas
from semascope.explain.text import terms as words
from semascope.explain.text.documents import Document, DocumentLibrary, face, spoken
from semascope.explain.text.exemplar_terms import ExemplarTerms, Mode
from semascope.explain.text.form import presentable


@dataclass(frozen=True, slots=True)
class VocabularyOptions:
    """What counts as a name."""

    least_exemplars: int = 3
    """Fewer explain exemplars than this and the namer abstains."""
    least_gain: float = 0.4
    """Recall minus false alarms, below which the namer abstains; .4 is an AUROC of .7."""
    least_z: float = 3.0
    """Signed root of the likelihood ratio, below which a term is luck: one term in 700, so
    that the few dozen terms of a feature's samples seldom hold one."""
    next_gain: float = 0.06
    """How much a further alternative must add."""
    most_terms: int = 4
    candidates: int = 14
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


_SIGNS = f"#~{lemmas.SIGN}{words.PHRASE}"
"""What begins a term that is no plain word: shape, piece, family, words as they stand."""
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
    """The best terms of one feature, best first; among near equals the longer phrase wins."""
    said = {words.stem(token) for token in told}
    found: list[CandidateTerm] = []
    last = 0.0
    for row in range(rows.start, rows.stop):
        gain = float(table.recall[row] - table.alarms[row])
        # All of a tie or none: which of them come first hangs on what was read before.
        enough = len(found) >= 3 * options.candidates
        if gain <= 0 or (enough and gain < last):
            break
        last = gain
        if table.z[row] < options.least_z:
            continue
        term = int(table.term[row])
        bonus = options.promoted_bonus if said & set(library.key(term).split()) else 0.0
        found.append(CandidateTerm(term, gain + bonus, float(table.alarms[row])))
    found.sort(key=lambda c: (-c.gain, library.key(c.term)))
    if not found:
        return []
    if agree is not None:
        found = _agreeing(found[: options.candidates], library, options, agree)
    # "fries" and "french fries" detect alike: the phrase is the name.
    close = [c for c in found if c.gain >= found[0].gain - 0.02]
    first = max(close, key=lambda c: (_rank(library.key(c.term)), c.gain))
    rest = [c for c in found if c is not first]
    return [first, *rest][: options.candidates]


def _agreeing(
    found: list[CandidateTerm], library: DocumentLibrary, options: VocabularyOptions, agree: Agree
) -> list[CandidateTerm]:
    """The same with a bonus for agreement, best first."""
    bonus = (
        agree([library.key(c.term).lstrip(f"#~{lemmas.SIGN}{words.PHRASE}") for c in found])
        * options.agreement_bonus
    )
    again = [c._replace(gain=c.gain + float(b)) for c, b in zip(found, bonus, strict=True)]
    return sorted(again, key=lambda c: (-c.gain, library.key(c.term)))


def _rank(key: str) -> tuple[bool, bool, int]:
    """A name before a stop word or a piece of a word, a name that was said before a kind that was
    inferred, a long phrase before a short one; a shape before one that it is a case of."""
    if key.startswith("#"):
        return True, key[1:] not in words.GENERAL, 1
    if key[0] in (lemmas.SIGN, words.PHRASE):
        return True, False, 1  # a word itself before all its forms, and before what stands beside
    said = key not in hypernyms.kinds() and not hypernyms.counted(key)
    return words.says_something(key) and not key.startswith("~"), said, len(key.split())


def cover(
    names: list[CandidateTerm],
    fired: Sequence[ExemplarTerms],
    silent: Sequence[frozenset[int]],
    library: DocumentLibrary,
    options: VocabularyOptions,
) -> tuple[list[int], float]:
    """Greedy cover: add alternatives while recall minus false alarms of the union grows."""
    terms = [c.term for c in names]
    weights = np.array([f.weight for f in fired])
    weights = weights / weights.sum()
    hits = np.array([[t in f.terms or t in f.context for t in terms] for f in fired])
    alarms = np.array([[t in s for t in terms] for s in silent]).reshape(len(silent), len(terms))
    rates = np.array([c.alarms for c in names])
    # What of each term's alarm rate came from the background, not from the silent samples.
    background = ((rates * (len(silent) + PRIOR) - alarms.sum(0)) / PRIOR).clip(0.0, 1.0)
    chosen = [0]
    gain = names[0].gain
    while len(chosen) < options.most_terms:
        best, best_gain = -1, gain + options.next_gain
        for i in range(1, len(terms)):
            if i in chosen or any(_overlap(library, terms[i], terms[j]) for j in chosen):
                continue
            value = _union_gain([*chosen, i], hits, weights, alarms, background)
            if value > best_gain:
                best, best_gain = i, value
        if best < 0:
            break
        chosen.append(best)
        gain = best_gain
    return [terms[i] for i in chosen], gain


def _union_gain(
    chosen: list[int],
    hits: NDArray[np.bool_],
    weights: NDArray[np.float64],
    alarms: NDArray[np.bool_],
    background: NDArray[np.float64],
) -> float:
    recall = float(weights @ hits[:, chosen].any(1))
    base = 1.0 - float(np.prod(1.0 - background[chosen]))
    false = (float(alarms[:, chosen].any(1).sum()) + PRIOR * base) / (len(alarms) + PRIOR)
    return recall - false


def _overlap(library: DocumentLibrary, a: int, b: int) -> bool:
    """Whether two terms share a word: an alternative must be another thing."""
    return bool({*_plain(library.key(a))} & {*_plain(library.key(b))})


def _plain(key: str) -> list[str]:
    """The words of a term, and for a form of a word its families."""
    found = key.lstrip(_SIGNS).split()
    return found + [f.removeprefix(lemmas.SIGN) for word in found for f in lemmas.families(word)]


def written(key: str, docs: Sequence[Document]) -> str:
    """How a term is written in a label."""
    if key.startswith("~"):
        piece = key[1:]
        whole = sum(words.stem(piece) in doc.stems for doc in docs)
        return f'"{piece}"' if whole > len(docs) / 2 else f'words with "{piece}"'
    if key.startswith("#"):
        return key[1:]
    if key.startswith(lemmas.SIGN):
        return lemmas.written(key)
    if key.startswith(words.PHRASE):
        return f'"{key.removeprefix(words.PHRASE)}"'
    if hypernyms.counted(key):
        return f"{key}s" if hypernyms.counted(key) > 1 else key
    name = face(key, docs)
    return name if words.says_something(key) else f'"{name}"'


def told_as(key: str, docs: Sequence[Document]) -> str:
    """How a term is written in a sentence: with its article, where it has one."""
    if (
        key[0] in f"~#{lemmas.SIGN}{words.PHRASE}"
        or hypernyms.counted(key)
        or not words.says_something(key)
    ):
        return presentable(written(key, docs))
    name = presentable(written(key, docs))
    return name if name.startswith('"') else spoken(key, docs)


def sentence(said: str, most: str, label: str, mode: Mode, told: list[str]) -> str:
    """Where it fires, on what most of all, and what it makes the model say."""
    where = {"picture": "Pictures of", "text": "Text with", "both": "Pictures of, or text with,"}
    again = {"picture": " and of ", "text": " and with ", "both": " and "}
    # Read in the middle of a model most tokens are noise: told only where one agrees.
    agrees = {words.stem(t) for t in told} & {s for p in words.alternatives(label) for s in p}
    also = f" It makes the model likelier to say {', '.join(told[:3])}." if agrees else ""
    above = f" Strongest on {most.replace('; ', ' and ')}." if most else ""
    return f"{where[mode]} {said.replace('; ', again[mode])}.{above}{also}"
