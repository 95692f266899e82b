"""Whether a token of text is part of what a label names: by word, family, shape or phrase."""

from __future__ import annotations

from semascope.explain.text import hypernyms, terms
from semascope.explain.text.claims import Claim
from semascope.explain.text.documents import Document, concepts_of, piece_of, word_of
from semascope.explain.text.lemmas import families

WEAKER = 0.6
"""Fit of a token of what the words say is weaker, or where they name something stronger."""


class TokenMatcher:
    """What one label names in one text."""

    def __init__(self, claim: Claim, document: Document) -> None:
        self._parts = [(_share(part, claim), _PartMatcher(part, document)) for part in claim.parts]

    def hits(self, token: int) -> bool:
        """Whether the token is part of anything that is named."""
        return self.fit(token) > 0

    def fit(self, token: int) -> float:
        """1 for a token of what is named, ``WEAKER`` for one of what is weaker, 0 for others."""
        return max(share * part.hits(token) for share, part in self._parts)


def _share(part: Claim, whole: Claim) -> float:
    return 1.0 if part is (whole.above or whole) else WEAKER


class _PartMatcher:
    """What one part of a claim names in one text."""

    def __init__(self, claim: Claim, document: Document) -> None:
        self.claim, self.document = claim, document
        self._stems = {stem for phrase in claim.phrases for stem in phrase} | set(claim.literal)
        self._shapes = set(claim.shapes)
        self._phrases = _places(document.text.lower(), claim.literal)

    def hits(self, token: int) -> bool:
        """Whether the token is part of it."""
        document = self.document
        number, piece = word_of(document, token), piece_of(document, token)
        start = int(document.offsets[token]) + len(piece) - len(piece.lstrip())
        if any(first <= start < last for first, last in self._phrases):
            return True
        if self._shapes & concepts_of(document, token):
            return True
        if number < 0:
            return bool(terms.marks(piece) & self._shapes)
        a, b = document.spans[number]
        stem, word = document.stems[number], document.text[a:b]
        if {stem, piece.strip().lower(), *hypernyms.of(stem)} & self._stems:
            return True
        if {*terms.shapes_at(document.text, a, b), *families(word)} & self._shapes:
            return True
        letters = self.claim.letters
        return letters is not None and word.isupper() and letters.fits(word)


def _places(text: str, literal: tuple[str, ...]) -> list[tuple[int, int]]:
    """(start, end) of every quoted phrase of several words in a text in lower case."""
    found: list[tuple[int, int]] = []
    for phrase in literal:
        at = text.find(phrase) if " " in phrase else -1
        while at >= 0:
            found.append((at, at + len(phrase)))
            at = text.find(phrase, at + 1)
    return found
