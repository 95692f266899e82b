"""Labels that name written words by their letters: "words that begin with S".

Such a label says nothing about meaning, so no term can stand for it: it is checked by letters.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Where = Literal["begin", "end", "hold"]
_RULE = re.compile(
    r"\bwords? (?:(?:that )?(begin|end|start)s?(?:ning|ing)? (?:with|in)|(?:with|containing)) "
    r"([A-Z]{1,4})\b"
)
_WRITTEN = re.compile(r"\bwords? ([A-Z][A-Z'-]*)\b")
_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")


class LetterRule(NamedTuple):
    """Which words a label names."""

    where: Where
    letters: str

    def fits(self, word: str) -> bool:
        """Whether a word in capitals is one of them."""
        if self.where == "begin":
            return word.startswith(self.letters)
        return word.endswith(self.letters) if self.where == "end" else self.letters in word

    @property
    def label(self) -> str:
        """As a label has it."""
        if self.where == "hold":
            return f"words with {self.letters}"
        return f"words that {self.where} {'with' if self.where == 'begin' else 'in'} {self.letters}"


@lru_cache(maxsize=10_000)
def letter_rule(label: str) -> LetterRule | None:
    """The rule that a label states; None where it states none."""
    found = _RULE.search(label)
    if found is None:
        return None
    where: dict[str | None, Where] = {
        "begin": "begin",
        "start": "begin",
        "end": "end",
        None: "hold",
    }
    return LetterRule(where[found.group(1)], found.group(2))


def written_words(caption: str, *, seen: bool) -> list[str]:
    """The words in capitals that a caption says are written on the picture, or those of a text."""
    return (_WRITTEN if seen else _CAPITALS).findall(caption)
