"""Do the words of a sample mean what a label names? Cosines of word vectors, word by word.

A label "wagons" fits a text about a cart better than one about a law, though neither has the word.
A sentence vector of 32 tokens hardly shows this; the best single word does. Knows documents and
vectors; knows no feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from semascope.explain.text import hypernyms, lemmas, terms
from semascope.explain.text.claims import Claim
from semascope.explain.text.documents import Document
from semascope.explain.text.labellers.labellers import labellers
from semascope.explain.types import Embedder

REFERENCE = 400
"""Words of the reference list with which each sample is compared."""


@cache
def reference_words() -> tuple[str, ...]:
    """(400,) words spread evenly over those that concepts and kinds of things list.

    Long samples of telling words lie near whatever is named. How near they lie to these words on
    average is subtracted, so that the words of another feature get half of the pairs right.
    """
    listed = {word.lower() for labeller in labellers() for word in labeller.words}
    listed |= {name for name in hypernyms.table() if " " not in name}
    telling = sorted(word for word in listed if word.isalpha() and terms.says_something(word))
    places = np.linspace(0, len(telling) - 1, min(REFERENCE, len(telling))).astype(int)
    return tuple(telling[place] for place in places)


class WordMeaning:
    """Nearness of samples to labels in meaning; each word's vector and each sample is kept."""

    def __init__(self, embed: Embedder) -> None:
        self._embed = embed
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._samples: dict[tuple[str, ...], tuple[NDArray[np.float32], float]] = {}
        self._reference: NDArray[np.float32] | None = None

    def nearness(self, claim: Claim, docs: Sequence[Document]) -> NDArray[np.float64]:
        """(n,) cosine of what is named with the nearest word of each sample, mean over the names.

        Less what the words of the reference list have on average; 0 for a sample without words
        and for a claim that names none.
        """
        named = names(claim)
        near = np.zeros(len(docs))
        if not named:
            return near
        pictured = claim.seen or not claim.read
        samples = [self._sample(_words(doc, pictured)) for doc in docs]
        lengths = np.array([len(words) for words, _ in samples])
        full = np.flatnonzero(lengths)
        if not len(full):
            return near
        cosines = np.concatenate([samples[i][0] for i in full]) @ self._of(named).T  # (words, k)
        starts = np.concatenate([[0], np.cumsum(lengths[full])[:-1]])
        best = np.maximum.reduceat(cosines, starts, axis=0).mean(axis=1)
        near[full] = best - np.array([samples[i][1] for i in full])
        return near

    def _sample(self, words: tuple[str, ...]) -> tuple[NDArray[np.float32], float]:
        """(words, d) vectors of a sample's words, and their nearness to the reference words."""
        known = self._samples.get(words)
        if known is None:
            if self._reference is None:
                self._reference = self._of(reference_words())
            vectors = self._of(words)
            usual = float((vectors @ self._reference.T).max(axis=0).mean()) if len(words) else 0.0
            known = self._samples[words] = (vectors, usual)
        return known

    def _of(self, words: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) unit rows."""
        fresh = [word for word in dict.fromkeys(words) if word not in self._vectors]
        if fresh:
            self._vectors.update(zip(fresh, self._embed(fresh), strict=True))
        if not words:
            return np.zeros((0, 1), np.float32)
        return np.stack([self._vectors[word] for word in words])


def names(claim: Claim) -> list[str]:
    """What a claim names, in words that have a meaning: "=send" is send, "@months" month names."""
    found: list[str] = []
    for part in claim.parts:
        found += [" ".join(phrase) for phrase in part.phrases]
        found += [word for word in part.literal if any(map(str.isalpha, word))]
        found += [_spoken(shape) for shape in part.shapes]
    return [name for name in dict.fromkeys(found) if terms.says_something(name)]


@cache
def _spoken(shape: str) -> str:
    name = shape.lstrip(f"#{terms.CONCEPT}{lemmas.SIGN}")
    if shape.startswith(terms.CONCEPT):
        return next(labeller.phrase for labeller in labellers() if labeller.name == name)
    return name


def _words(doc: Document, pictured: bool) -> tuple[str, ...]:
    """The telling words of the caption, where the claim speaks of pictures, else of the text."""
    stems: Sequence[str] = doc.stems
    if doc.has_picture and pictured:
        stems = [terms.stem(doc.caption[a:b]) for a, b in terms.spans(doc.caption)]
    return tuple(sorted({stem for stem in stems if terms.says_something(stem)}))
