"""What an explainer looks at in one exemplar: how strongly it counts, and the words at hand.

For a picture these are the words of its caption. A caption names all that a scene holds while
a feature fires on one of it, so no single exemplar tells which; the contrast of many does.
For text they are the word that fired and those around it. Truth objects are never read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from semascope.evidence.types import Exemplar, FeatureEvidence
from semascope.explain.text import hypernyms
from semascope.explain.text import terms as words
from semascope.explain.text.documents import (
    Document,
    DocumentLibrary,
    concepts_of,
    piece_of,
    word_of,
)
from semascope.explain.text.lemmas import families
from semascope.subject.types import IMAGE_KINDS, Kind

Mode = Literal["picture", "text", "control", "both"]

_AROUND = 4
_STRONG = 4


@dataclass(frozen=True, slots=True, eq=False)
class ExemplarTerms:
    """One exemplar, in words."""

    exemplar: Exemplar
    weight: float
    """Its peak as a share of the feature's largest."""
    mode: Mode
    """What the peak token is."""
    terms: frozenset[int]
    """Terms at the firing tokens; for a picture, of its caption."""
    context: frozenset[int]
    """Words near the firing tokens of a text."""


def distinct(record: FeatureEvidence) -> list[Exemplar]:
    """Top and interval exemplars, each sample once, strongest first, silent ones left out."""
    seen: dict[tuple[int, str], Exemplar] = {}
    for exemplar in (*record.top, *record.intervals):
        seen.setdefault((exemplar.shown.row, exemplar.shown.id), exemplar)
    return sorted((e for e in seen.values() if e.peak > 0), key=lambda e: -e.peak)


def mode_of(exemplar: Exemplar) -> Mode:
    """What kind of token fires most."""
    kind = int(exemplar.shown.kinds[int(exemplar.activations.argmax())])
    if kind in IMAGE_KINDS:
        return "picture"
    return "text" if kind == Kind.TEXT else "control"


def overall(modes: Iterable[tuple[Mode, float]]) -> Mode:
    """One mode for a feature: the one with three quarters of the weight, else both."""
    total = dict.fromkeys(("picture", "text", "control"), 0.0)
    for mode, weight in modes:
        total[mode] += weight
    if total["control"] > 0.5 * sum(total.values()):
        return "control"
    share = total["picture"] / max(total["picture"] + total["text"], 1e-12)
    return "picture" if share >= 0.75 else "text" if share <= 0.25 else "both"


def strong_tokens(exemplar: Exemplar) -> list[int]:
    """The few tokens at half the peak or more, strongest first."""
    order = np.argsort(-exemplar.activations, kind="stable")[:_STRONG]
    half = 0.5 * exemplar.peak
    return [int(t) for t in order if exemplar.activations[t] >= half]


def read(exemplar: Exemplar, library: DocumentLibrary, largest: float) -> ExemplarTerms:
    """The exemplar in words."""
    doc = library.doc(exemplar.shown)
    mode = mode_of(exemplar)
    terms: frozenset[int] = frozenset()
    context: frozenset[int] = frozenset()
    if mode == "picture":
        terms = doc.caption_terms
    elif mode == "text":
        terms, context = _around(doc, exemplar, library)
    return ExemplarTerms(
        exemplar, exemplar.peak / max(largest, 1e-12), mode, terms, context - terms
    )


def _around(
    doc: Document, exemplar: Exemplar, library: DocumentLibrary
) -> tuple[frozenset[int], frozenset[int]]:
    at: set[str] = set()
    near: set[str] = set()
    for token in strong_tokens(exemplar):
        if exemplar.shown.kinds[token] != Kind.TEXT:
            continue
        piece = piece_of(doc, token)
        number = word_of(doc, token)
        at |= concepts_of(doc, token)
        if number < 0:
            at |= words.marks(piece)
            continue
        at |= _terms_at(doc, number, piece)
        lo, hi = max(0, number - _AROUND), number + _AROUND + 1
        near.update(s for s in doc.stems[lo:hi] if words.says_something(s))
    return _numbers(at, doc, library), _numbers(near, doc, library)


def _terms_at(doc: Document, number: int, piece: str) -> set[str]:
    stems = doc.stems
    a, b = doc.spans[number]
    terms = {stems[number], *words.shapes_at(doc.text, a, b), *hypernyms.of(stems[number])}
    terms.update(families(doc.text[a:b]))
    near = range(max(0, number - 2), min(number + 3, len(doc.spans)))
    around = [doc.text[slice(*doc.spans[i])].lower() for i in near]
    terms.update(words.phrases_at(around, number - near.start))
    if len(piece.strip()) > 1:
        terms.add(f"~{piece.strip().lower()}")
    if number > 0:
        terms.add(f"{stems[number - 1]} {stems[number]}")
    if number + 1 < len(stems):
        terms.add(f"{stems[number]} {stems[number + 1]}")
    return terms


def _numbers(keys: set[str], doc: Document, library: DocumentLibrary) -> frozenset[int]:
    """Only terms that the sample really has: two words across a full stop are none."""
    return frozenset(n for n in map(library.find, keys) if n in doc.text_terms)


def terms_of(doc: Document, mode: Mode) -> frozenset[int]:
    """The terms of a sample that a feature of this mode could be about."""
    if mode == "picture":
        return doc.caption_terms
    return doc.text_terms if mode == "text" else doc.caption_terms | doc.text_terms
