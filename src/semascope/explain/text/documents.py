"""Samples as sets of terms: what words stand beside a picture, and which words a token is part of.

Reads the caption beside a picture and the text tokens of a sample; never the objects and
masks of a drawn scene, which are for scoring. Knows no feature.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample
from semascope.explain.text import hypernyms, terms
from semascope.subject.types import Kind

IMAGE_KINDS = (int(Kind.IMAGE), int(Kind.TILE))


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
        # Without a caption of its own, what is said beside a picture is its caption.
        caption = str(shown.truth.get("caption") or text) if shown.media else ""
        return Document(
            caption=caption,
            text=text,
            caption_terms=self._names(caption),
            text_terms=self._terms(text, where) | self._pieces(parts, offsets, where),
            stems=tuple(terms.stem(text[a:b]) for a, b in where),
            spans=tuple(where),
            offsets=offsets,
            has_picture=bool(shown.media),
        )

    def _names(self, caption: str) -> frozenset[int]:
        """Phrases of a caption that could name what is seen. Its stop words and commas tell how
        many things it lists, and would pass for a name in a picture feature."""
        where = terms.spans(caption)
        keys = {key for key, _, _ in terms.grams(caption, where, 3) if terms.says_something(key)}
        keys |= hypernyms.implied([terms.stem(caption[a:b]) for a, b in where])
        return frozenset(map(self.term, sorted(keys)))

    def _terms(self, text: str, where: list[tuple[int, int]]) -> frozenset[int]:
        """Words, pairs of words, kinds of things, shapes and marks of a text."""
        found = {self.term(key) for key, _, _ in terms.grams(text, where, 2)}
        for a, b in where:
            found.update(self.term(shape) for shape in terms.shapes_at(text, a, b))
            found.update(self.term(kind) for kind in hypernyms.of(terms.stem(text[a:b])))
        found.update(self.term(mark) for mark in terms.marks(text))
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


def face(key: str, docs: Iterable[Document]) -> str:
    """How a term is most often written in some samples, in lower case; the key if in none."""
    longest = len(key.split())
    found: Counter[str] = Counter()
    for doc in docs:
        for text in (doc.caption, doc.text):
            where = terms.spans(text)
            for term, first, last in terms.grams(text, where, longest):
                if term == key:
                    found[text[where[first][0] : where[last][1]].lower()] += 1
    return min(found, key=lambda written: (-found[written], written)) if found else key


def piece_of(doc: Document, token: int) -> str:
    """The token as it stands in the text."""
    return doc.text[doc.offsets[token] : doc.offsets[token + 1]]


def word_of(doc: Document, token: int) -> int:
    """Number of the word that the token is (part of), −1 for a mark, a space, a control token."""
    a, b = int(doc.offsets[token]), int(doc.offsets[token + 1])
    number = bisect_right(doc.spans, a, key=lambda span: span[1])
    return number if number < len(doc.spans) and doc.spans[number][0] < b else -1
