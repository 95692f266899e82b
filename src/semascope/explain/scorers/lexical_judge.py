"""The offline judge: how well an explanation's words fit a sample, with no model asked.

It sees label, description and the sample's caption and text; it never sees an activation or a
truth object, and knows nothing of how the label was made, so an LMM's labels are judged by the
same rule as the vocabulary namer's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample
from semascope.explain.text import lemmas
from semascope.explain.text import terms as words
from semascope.explain.text.documents import Document, DocumentLibrary
from semascope.explain.text.letters import LetterRule, letter_rule, written_words
from semascope.explain.types import Embedder, Explanation

_SEEN = re.compile(r"\b(pictures?|images?|photos?|drawings?|scenes?|visual)\b", re.IGNORECASE)
_READ = re.compile(r"\b(texts?|tokens?|sentences?|phrases?|passages?|written)\b", re.IGNORECASE)
_PART = 0.5
_SOFT = 0.3
_LESS = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """What an explanation says, ready to be looked for."""

    phrases: tuple[tuple[str, ...], ...]
    """Alternatives, each as its telling stems."""
    shapes: tuple[str, ...]
    """Shape terms named outright, "decimal number", and families of words."""
    literal: tuple[str, ...]
    """What stands in quotes."""
    seen: bool
    """Whether it speaks of pictures."""
    read: bool
    """Whether it speaks of text. Neither means either."""
    above: Claim | None = None
    """What it says that the feature fires on most: "Strongest on the flag of Cuba"."""
    near: Claim | None = None
    """What must stand in the same sample: 'number near "million"'."""
    letters: LetterRule | None = None
    """Which written words it names, by their letters: "words that begin with S"."""

    @property
    def empty(self) -> bool:
        """Nothing that could be looked for."""
        return not (self.phrases or self.shapes or self.literal or self.letters)


@lru_cache(maxsize=100_000)
def claim(label: str, description: str) -> Claim:
    """Take an explanation apart. The label says what; the description says where."""
    source, particular = label or description, words.strongest(description) if label else ""
    if particular:
        # The label is what is strongest, or what is general: the description says both.
        source = words.general(description) or source
    elif words.NEAR in source:
        name, _, beside = source.partition(words.NEAR)
        return replace(claim(name, description), near=claim(beside, description))
    rule = letter_rule(source)
    if rule is not None:
        seen, read = bool(_SEEN.search(description)), bool(_READ.search(description))
        return Claim((), (), (), seen, read, letters=rule)
    families, source = lemmas.read_back(source)
    phrases = words.alternatives(source)
    shapes = (*families, *(words.SHAPE_OF[p] for p in phrases if p in words.SHAPE_OF))
    plain = tuple(p for p in phrases if p not in words.SHAPE_OF or _a_word_too(p, source))
    literal = tuple(words.quoted(source))
    if literal:
        # 'word piece "ing"' asks for the piece; "word" and "piece" are not looked for.
        plain = tuple(p for p in plain if not set(p) <= {"word", "piece", "letter", "symbol"})
    return Claim(
        plain,
        shapes,
        literal,
        seen=bool(_SEEN.search(description)),
        read=bool(_READ.search(description)),
        above=claim(particular, words.without_strongest(description)) if particular else None,
    )


def _a_word_too(phrase: tuple[str, ...], source: str) -> bool:
    """Whether a shape is named otherwise than by its name: "years" may be the word."""
    name = words.SHAPE_OF[phrase].removeprefix("#")
    return len(phrase) == 1 and re.search(rf"\b{name}\b", source.lower()) is None


class LexicalJudge:
    """Rates by words: 1 where the phrase stands in the sample, less where part of it does.

    Where a description says what is strongest, that is 1, and what else it names is half as good.

    ``embed``: sentence vectors, which add up to .3 by the cosine between label and sample, so
    that a synonym in the label is not a miss. Deterministic; tens of thousands a second.
    """

    def __init__(
        self, library: DocumentLibrary | None = None, embed: Embedder | None = None
    ) -> None:
        self.name = "words" if embed is None else "words and meaning"
        self.library = library or DocumentLibrary()
        self._embed = embed
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def rate(
        self, explanations: Sequence[Explanation], samples: Sequence[Sequence[EvidenceSample]]
    ) -> list[NDArray[np.float64]]:
        """For each explanation, (n,) fit of each of its samples, 0 to 1.3."""
        docs = [self.library.docs(group) for group in samples]
        ratings = [
            np.array([self._fit(c, doc) for doc in group], np.float64)
            for c, group in zip(
                (claim(e.label, e.description) for e in explanations), docs, strict=True
            )
        ]
        if self._embed is not None:
            self._soften(self._embed, explanations, docs, ratings)
        return ratings

    def _fit(self, c: Claim, doc: Document) -> float:
        if c.near is not None:
            fit = self._fit(replace(c, near=None), doc)
            return fit if self._fit(c.near, doc) >= 1.0 else _LESS * fit
        if c.above is not None:
            return max(self._fit(c.above, doc), _LESS * self._fit(replace(c, above=None), doc))
        fit = 0.0
        if doc.has_picture and (c.seen or not c.read):
            fit = self._match(c, doc.caption_terms, doc.caption, seen=True)
        if fit < 1.0 and (c.read or not c.seen):
            fit = max(fit, self._match(c, doc.text_terms, doc.text))
        return fit

    def _match(self, c: Claim, terms: frozenset[int], text: str, seen: bool = False) -> float:
        find = self.library.find
        if c.letters is not None:
            return float(any(map(c.letters.fits, written_words(text, seen=seen))))
        if any(find(shape) in terms for shape in c.shapes):
            return 1.0
        if c.literal and any(self._has_literal(q, terms, text) for q in c.literal):
            return 1.0
        best = 0.0
        for phrase in c.phrases:
            if find(" ".join(phrase)) in terms:
                return 1.0
            if len(phrase) > 1:
                present = sum(find(s) in terms for s in phrase)
                # All the words but apart is nearly the phrase; half of them is a hint.
                share = present / len(phrase)
                best = max(best, 0.9 if share == 1.0 else _PART * share)
        return best

    def _has_literal(self, quote: str, terms: frozenset[int], text: str) -> bool:
        number = self.library.find(words.stem(quote))
        if number in terms or self.library.find(f"~{quote}") in terms:
            return True
        return len(quote) > 2 and quote in text.lower()

    def _soften(
        self,
        embed: Embedder,
        explanations: Sequence[Explanation],
        docs: list[list[Document]],
        ratings: list[NDArray[np.float64]],
    ) -> None:
        texts = {_body(doc) for group in docs for doc in group} | {e.label for e in explanations}
        fresh = sorted(t for t in texts if t and t not in self._vectors)
        if fresh:
            self._vectors.update(zip(fresh, embed(fresh), strict=True))
        for explanation, group, rating in zip(explanations, docs, ratings, strict=True):
            mine = self._vectors.get(explanation.label)
            if mine is None:
                continue
            for i, doc in enumerate(group):
                other = self._vectors.get(_body(doc))
                if other is not None:
                    rating[i] += _SOFT * max(float(mine @ other), 0.0)


def _body(doc: Document) -> str:
    """What a sentence vector is made of: the caption, else the beginning of the text."""
    return doc.caption or doc.text[:400]
