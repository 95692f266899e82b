"""The offline judge: how well an explanation's words fit a sample, with no model asked.

It sees label, description and the sample's caption and text; it never sees an activation or a
truth object, and knows nothing of how the label was made, so an LMM's labels are judged by the
same rule as the vocabulary namer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample
from semascope.explain.text import terms as words
from semascope.explain.text.claims import Claim, claim
from semascope.explain.text.documents import Document, DocumentLibrary
from semascope.explain.text.letters import written_words
from semascope.explain.text.word_meaning import WordMeaning
from semascope.explain.types import Embedder, Explanation

_PART = 0.5
_MEANING = 0.2
_LESS = 0.5
_WEAKER = 0.6


class LexicalJudge:
    """Rates by words: 1 where the phrase stands in the sample, less where part of it does.

    Where a description says what is strongest, that is 1, and what else it names is half as good.
    What it says is weaker is .6; without what it says stands near, all is half as good.

    ``embed``: word vectors, which add up to .2 by the nearness in meaning of the label to the
    sample's words, so that a synonym in the label is not a miss. Deterministic; tens of thousands
    a second.
    """

    def __init__(
        self, library: DocumentLibrary | None = None, embed: Embedder | None = None
    ) -> None:
        self.name = "words" if embed is None else "words and word vectors"
        self.library = library or DocumentLibrary()
        self._meaning = WordMeaning(embed) if embed is not None else None

    def rate(
        self, explanations: Sequence[Explanation], samples: Sequence[Sequence[EvidenceSample]]
    ) -> list[NDArray[np.float64]]:
        """For each explanation, (n,) fit of each of its samples, -.2 to 1.2."""
        return [
            self._rate(claim(e.label, e.description), self.library.docs(group))
            for e, group in zip(explanations, samples, strict=True)
        ]

    def _rate(self, c: Claim, docs: Sequence[Document]) -> NDArray[np.float64]:
        """(n,) fit of one claim."""
        rating = np.array([self._fit(c, doc) for doc in docs], np.float64)
        if self._meaning is not None:
            rating += _MEANING * self._meaning.nearness(c, docs)
        return rating

    def _fit(self, c: Claim, doc: Document) -> float:
        if c.near is not None:
            fit = self._fit(replace(c, near=None), doc)
            return fit if not fit or self._fit(c.near, doc) >= 1.0 else _LESS * fit
        if c.above is not None:
            return max(self._fit(c.above, doc), _LESS * self._fit(replace(c, above=None), doc))
        if c.weaker is not None:
            fit = self._fit(replace(c, weaker=None), doc)
            return fit if fit >= _WEAKER else max(fit, _WEAKER * self._fit(c.weaker, doc))
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
