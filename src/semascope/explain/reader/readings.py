"""What a reading names: "a brown cross and a sock" -> brown cross; sock.

A reading is what the model said of one activation. Names keep their capitals: "the flag of South
Sudan" names "flag of South Sudan", "the word STOP" names "word STOP". Each name has parts that
several readings may share: its head, its colour, its kinds, the letters of a written word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from semascope.explain.text import hypernyms, terms
from semascope.explain.text.categories import COLOURS, EMOTIONS, TEXTURES
from semascope.explain.text.letters import LetterRule

_ARTICLE = re.compile(r"^(?:an?|the|some|one)\s+", re.IGNORECASE)
_JOIN = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+(?=(?:an?|the|some|one)\s)")
_NOTHING = frozenset({"nothing", "no", "empty", ""})
_WORD = re.compile(r"^word\s+(.+)$", re.IGNORECASE)
WRITTEN = "word"
"""As captions name a written word."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model said of one activation."""

    text: str
    strength: float
    """The feature's activation there, as a share of its largest."""
    row: int = -1
    """Row of the sample in the corpus."""
    token: int = -1
    """Position of the token in the sample."""


def names(text: str) -> list[str]:
    """The things that a reading names, each once, without articles; nothing names nothing."""
    sentence = re.split(r"[.!?\n]", text.strip(), maxsplit=1)[0]
    found = (_once(_ARTICLE.sub("", part).strip(" \"'“”")) for part in _JOIN.split(sentence))
    return [n for n in dict.fromkeys(found) if n.lower() not in _NOTHING and n.isprintable()]


def _once(name: str) -> str:
    """ "Santa Claus and Santa Claus" -> "Santa Claus"."""
    first, _, second = name.partition(" and ")
    return first if first == second else name


@lru_cache(maxsize=50_000)
def shared_parts(name: str) -> tuple[str, ...]:
    """What other names may share with this one, the most particular first, the name itself left
    out: "brown cross" -> cross, shape, brown; "word STOP" -> words that begin with ST, …, word.
    """
    written = _WORD.match(name)
    if written:
        return (*_letters(written.group(1).upper()), WRITTEN)
    return tuple(dict.fromkeys(part for part in _parts(name) if part != name))


def _letters(word: str) -> Iterator[str]:
    """Groups of letters that a written word has, as labels that name words by them."""
    if not word.isalpha():
        return
    yield LetterRule("begin", word[:2]).label
    yield LetterRule("begin", word[0]).label
    yield LetterRule("end", word[-1]).label
    for n in (3, 2):
        yield from (LetterRule("hold", word[i : i + n]).label for i in range(len(word) - n + 1))


def _parts(name: str) -> Iterator[str]:
    words = name.split()
    stem = " ".join(terms.stem(word) for word in words)
    head, _, rest = name.partition(" of ")
    if rest and len(head.split()) == 1:
        yield head
    elif len(words) > 1:
        yield " ".join(words[1:])
        yield words[-1]
    kinds = (kind for kind in hypernyms.of(stem) if kind not in COLOURS | EMOTIONS)
    yield from sorted(kinds, key=_commonness)
    first = terms.stem(words[0])
    if len(words) > 1 and (first in COLOURS or first in TEXTURES):
        yield words[0].lower()


@lru_cache(maxsize=1)
def _sizes() -> dict[str, int]:
    """How many names are of each kind."""
    counts: dict[str, int] = {}
    for kinds in hypernyms.table().values():
        for kind in kinds:
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def _commonness(kind: str) -> tuple[int, str]:
    return _sizes().get(kind, 0), kind
