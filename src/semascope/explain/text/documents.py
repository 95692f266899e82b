"""Samples as sets of terms: what words stand beside a picture, and which words a token is part of.

Reads the caption beside a picture and the text tokens of a sample; never the objects and
masks of a drawn scene, which are for scoring. Knows no feature.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample
from semascope.explain.text import hypernyms, terms
from semascope.explain.text.labellers.labellers import concept_terms, labellers, text_spans
from semascope.explain.text.language import is_foreign
from semascope.explain.text.lemmas import families
from semascope.subject.types import Kind


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One sample, in words."""

    caption: str
    text: str
    """The text tokens joined, control tokens left out."""
    caption_terms: frozenset[int]
    text_terms: frozenset[int]
    stems: tuple[str, ...]
    """Each word of ``text``."""
    spans: tuple[tuple[int, int], ...]
    """(start, end) in ``text`` of each word."""
    offsets: NDArray[np.int32]
    """(T + 1,) where each token begins in ``text``; control and image tokens are empty."""
    has_picture: bool
    concepts: tuple[tuple[int, int, str], ...]
    """(start, end, term) in ``text`` of every place that a labeller marks."""


class DocumentLibrary:
    """Docs by sample, and the numbering of terms. Bounded: the oldest docs are forgotten."""

    def __init__(self, limit: int = 50_000) -> None:
        self._docs: OrderedDict[tuple[int, str], Document] = OrderedDict()
        self._ids: dict[str, int] = {}
        self._keys: list[str] = []
        self._limit = limit

    def __len__(self) -> int:
        """How many terms are numbered."""
        return len(self._keys)

    def term(self, key: str) -> int:
        """Number of a term, new if it was not seen."""
        number = self._ids.get(key)
        if number is None:
            number = self._ids[key] = len(self._keys)
            self._keys.append(key)
        return number

    def find(self, key: str) -> int:
        """Number of a term, −1 if it was never seen."""
        return self._ids.get(key, -1)

    def key(self, number: int) -> str:
        """The term with that number."""
        return self._keys[number]

    def doc(self, shown: EvidenceSample) -> Document:
        """The sample in words."""
        key = (shown.row, shown.id)
        known = self._docs.get(key)
        if known is None:
            known = self._docs[key] = self._read(shown)
            if len(self._docs) > self._limit:
                self._docs.popitem(last=False)
        return known

    def docs(self, samples: Iterable[EvidenceSample]) -> list[Document]:
        """Many samples in words."""
        return [self.doc(shown) for shown in samples]

    def _read(self, shown: EvidenceSample) -> Document:
        is_text = shown.kinds == Kind.TEXT
        parts = [t if keep else "" for t, keep in zip(shown.tokens, is_text, strict=True)]
        offsets = np.zeros(len(parts) + 1, np.int32)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        text = "".join(parts)
        where = terms.spans(text)
        foreign = is_foreign(text)
        concepts = _concepts(text, english=not foreign)
        # Without a caption of its own, what is said beside a picture is its caption.
        caption = str(shown.truth.get("caption") or text) if shown.media else ""
        return Document(
            caption=caption,
            text=text,
            caption_terms=self._names(caption),
            text_terms=self._terms(text, where, english=not foreign)
            | self._pieces(parts, offsets, where)
            | frozenset(self.term(term) for _, _, term in concepts),
            stems=tuple(terms.stem(text[a:b]) for a, b in where),
            spans=tuple(where),
            offsets=offsets,
            has_picture=bool(shown.media),
            concepts=concepts,
        )

    def _names(self, caption: str) -> frozenset[int]:
        """Phrases of a caption that could name what is seen. Its stop words and commas tell how
        many things it lists, and would pass for a name in a picture feature."""
        where = terms.spans(caption)
        keys = {key for key, _, _ in terms.grams(caption, where, 3) if terms.says_something(key)}
        if not is_foreign(caption):
            keys |= hypernyms.implied([terms.stem(caption[a:b]) for a, b in where])
        return frozenset(map(self.term, sorted(keys)))

    def _terms(self, text: str, where: list[tuple[int, int]], *, english: bool) -> frozenset[int]:
        """Words, pairs of words, kinds of things, shapes and marks of a text; of a text in another
        language nothing that is known of English words."""
        found = {self.term(key) for key, _, _ in terms.grams(text, where, 2)}
        for a, b in where:
            shapes = terms.shapes_at(text, a, b)
            found.update(self.term(s) for s in shapes if english or s not in terms.ENGLISH_SHAPES)
            if english:
                found.update(self.term(kind) for kind in hypernyms.of(terms.stem(text[a:b])))
                found.update(self.term(family) for family in families(text[a:b]))
        found.update(self.term(mark) for mark in terms.marks(text))
        words = [text[a:b].lower() for a, b in where]
        found.update(
            self.term(phrase)
            for number in range(len(words))
            for phrase in terms.phrases_at(words, number)
            if phrase.removeprefix(terms.PHRASE) in text.lower()
        )
        return frozenset(found)

    def _pieces(
        self, parts: list[str], offsets: NDArray[np.int32], where: list[tuple[int, int]]
    ) -> frozenset[int]:
        """Terms "~ing" of tokens, whole words too: "El" of El Salvador is the piece of Elton."""
        found, word = set(), 0
        for part, start in zip(parts, offsets[:-1].tolist(), strict=True):
            piece = part.strip()
            if len(piece) < 2:
                continue
            begin = start + len(part) - len(part.lstrip())
            while word < len(where) and where[word][1] <= begin:
                word += 1
            if word < len(where) and where[word][0] < begin + len(piece):
                found.add(self.term(f"~{piece.lower()}"))
        return frozenset(found)


def _concepts(text: str, *, english: bool) -> tuple[tuple[int, int, str], ...]:
    """(start, end, term) of every concept in a text, by place; of a text in another language those
    that know no English words."""
    able = [
        term if english or not labeller.english else ""
        for labeller, term in zip(labellers(), concept_terms(), strict=True)
    ]
    return tuple(sorted((a, b, able[n]) for a, b, n in text_spans(text) if able[n]))


SAME = 0.9
"""Share of a term's places beside which one word stands, for that to be part of the name."""
LONGEST_NAME = 5
SMALL = 0.3
"""Share of its places where a name is written without capitals, for it to have none."""


def face(key: str, docs: Iterable[Document], *, whole: bool = True) -> str:
    """How a term is written in some samples: a whole name with its capitals; the key if in none.

    ``whole``: with the words that always stand beside it.

    "flag of sri" is "flag of Sri Lanka" where nothing else ever follows; "The" at the beginning of
    a sentence is "the".
    """
    places = _places(key, docs)
    if not places:
        return key
    if whole:
        places = _widened(key, places)
    forms = Counter(text[where[i][0] : where[j][1]] for text, where, i, j in places)
    small: Counter[str] = Counter()
    for form, count in forms.items():
        small[form.lower()] += count
    best = min(small, key=lambda form: (-small[form], form))
    if forms[best] >= SMALL * small[best]:
        return best
    cased = {form: n for form, n in forms.items() if form.lower() == best}
    return min(cased, key=lambda form: (-cased[form], form))


def spoken(key: str, docs: Iterable[Document]) -> str:
    """A term as it is said in a sentence: with the article that most often stands before it."""
    places = _places(key, docs)
    name = face(key, docs)
    if not places:
        return name
    places = _widened(key, places)
    before = Counter(_article(place) for place in places if not _beside(place, 1))
    if 2 * before["the"] > len(places):
        return f"the {name}"
    if 2 * before["a"] > len(places):
        return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
    return name


def _article(place: _Place) -> str:
    """The article of a name, before its adjectives too: "a purple circle" -> "a"; "" for none."""
    text, where, first, _ = place
    words = re.split(r"[,.;:\n]", text[: where[first][0]])[-1].lower().split()[-3:]
    if words and words[-1] == "the":
        return "the"
    return "a" if {"a", "an"} & set(words) else ""


_Place = tuple[str, Sequence[tuple[int, int]], int, int]
"""A text, its words, and the first and last word of a term in it."""


def _places(key: str, docs: Iterable[Document]) -> list[_Place]:
    longest = len(key.split())
    found: list[_Place] = []
    for doc in docs:
        for text in (doc.caption, doc.text) if doc.caption != doc.text else (doc.text,):
            where = terms.spans(text)
            found += [
                (text, where, i, j)
                for term, i, j in terms.grams(text, where, longest)
                if term == key
            ]
    return found


def _widened(key: str, places: list[_Place]) -> list[_Place]:
    """The places of the whole name: a word that always stands beside it is part of it."""
    if key in hypernyms.kinds():
        return places  # "sad" is what sad faces share
    for step in (1, -1):
        while places[0][3] - places[0][2] + 1 < LONGEST_NAME:
            beside = Counter(_beside(place, step) for place in places)
            word, count = beside.most_common(1)[0]
            if not word or len(places) < 3 or count < SAME * len(places):
                break
            kept = [place for place in places if _beside(place, step) == word]
            places = [(x, w, i + min(step, 0), j + max(step, 0)) for x, w, i, j in kept]
    return places


def _beside(place: _Place, step: int) -> str:
    """The word next to a place, as a stem; empty for a mark, a stop word, or none."""
    text, where, first, last = place
    at = last + 1 if step > 0 else first - 1
    if not 0 <= at < len(where):
        return ""
    a, b = (where[last][1], where[at][0]) if step > 0 else (where[at][1], where[first][0])
    word = terms.stem(text[slice(*where[at])])
    return word if text[a:b] == " " and terms.says_something(word) else ""


def piece_of(doc: Document, token: int) -> str:
    """The token as it stands in the text."""
    return doc.text[doc.offsets[token] : doc.offsets[token + 1]]


def concepts_of(doc: Document, token: int) -> set[str]:
    """Terms of the concepts that mark the token; spaces before it do not count."""
    a, b = int(doc.offsets[token]), int(doc.offsets[token + 1])
    piece = doc.text[a:b]
    if piece.strip(" "):
        a += len(piece) - len(piece.lstrip(" "))
    return {term for start, end, term in doc.concepts if start < b and end > a}


def word_of(doc: Document, token: int) -> int:
    """Number of the word that the token is (part of), −1 for a mark, a space, a control token."""
    a, b = int(doc.offsets[token]), int(doc.offsets[token + 1])
    number = bisect_right(doc.spans, a, key=lambda span: span[1])
    return number if number < len(doc.spans) and doc.spans[number][0] < b else -1
