"""Labellers: each finds one known concept in a text, by words, a pattern or a rule.

They are data (``labellers.toml``). Where a feature fires on what a labeller marks, its concept is
known without asking anyone, so that words for text features can be checked as words for pictures
are checked against the objects of drawn scenes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from semascope.explain.text.labellers.word_rules import RULES, Span
from semascope.explain.text.terms import CONCEPT
from semascope.subject.types import Kind

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Labeller:
    """One concept of text and the program that finds it."""

    name: str
    phrase: str
    """What a person would call it: "years"."""
    kind: str
    """The broader concept: "number"."""
    also: tuple[str, ...] = ()
    """Other accepted names."""
    words: frozenset[str] = frozenset()
    """Single words, in lower case unless ``cased``."""
    cased: bool = False
    pattern: re.Pattern[str] | None = None
    """Its group "at" is what is marked, or all of it without one."""
    rule: str = ""
    """Name of a rule in ``word_rules``."""
    yes: tuple[str, ...] = ()
    """Examples with the spans marked by ⟦ and ⟧."""
    no: tuple[str, ...] = ()
    """Texts that hold none."""
    english: bool = False
    """Whether it knows English words or forms: it finds nothing true in another language."""

    def spans(self, text: str) -> list[Span]:
        """(start, end) characters of each place where the concept stands, in order."""
        spans = (
            {m.span() for m in _WORD.finditer(text) if self._lists(m[0])} if self.words else set()
        )
        return sorted(spans | set(self.other_spans(text)))

    def _lists(self, word: str) -> bool:
        return (word if self.cased else word.lower()) in self.words

    def other_spans(self, text: str) -> list[Span]:
        """The spans that its pattern or rule finds; those of single words are left out."""
        if self.rule:
            return list(RULES[self.rule](text))
        if self.pattern is None:
            return []
        group = "at" if "at" in self.pattern.groupindex else 0
        spans = [m.span(group) if m.span(group)[0] >= 0 else m.span() for m in
                 self.pattern.finditer(text)]  # fmt: skip
        return [(start, end) for start, end in spans if end > start]


@cache
def labellers() -> tuple[Labeller, ...]:
    """Every labeller, in the order of the data file."""
    text = (files(__package__) / "labellers.toml").read_text("utf-8")
    return tuple(_labeller(name, entry) for name, entry in tomllib.loads(text).items())


def _labeller(name: str, entry: dict[str, object]) -> Labeller:
    cased = bool(entry.get("cased"))
    listed = [w for w in str(entry.get("words", "")).split("|") if w]
    single = [w for w in listed if _WORD.fullmatch(w)]
    longer = [re.escape(w) for w in listed if w not in single]
    pattern = str(entry.get("pattern", ""))
    flags = re.NOFLAG
    if longer:
        pattern, flags = rf"(?<!\w)(?:{'|'.join(longer)})(?!\w)", re.NOFLAG if cased else re.I
    return Labeller(
        name, str(entry["phrase"]), str(entry["kind"]), _texts(entry, "also"),
        frozenset(single if cased else map(str.lower, single)), cased,
        re.compile(pattern, flags) if pattern else None, str(entry.get("rule", "")),
        _texts(entry, "yes"), _texts(entry, "no"), english="words" in entry or "rule" in entry,
    )  # fmt: skip


def _texts(entry: dict[str, object], key: str) -> tuple[str, ...]:
    listed = entry.get(key, [])
    return tuple(str(text) for text in listed) if isinstance(listed, list) else ()


@cache
def concept_terms() -> tuple[str, ...]:
    """The term of every labeller by number, "@months"; empty for one that finds a single word
    ('the word "of"'), since the word itself is a term."""
    single = re.compile(r'the (?:word|verb) "')
    return tuple("" if single.match(one.phrase) else CONCEPT + one.name for one in labellers())


@cache
def concept_names() -> dict[str, str]:
    """The term of every concept by its name in lower case, with "the" in front and without."""
    return {
        name.lower(): term
        for labeller, term in zip(labellers(), concept_terms(), strict=True)
        if term
        for name in (labeller.phrase, labeller.phrase.removeprefix("the "))
    }


@cache
def _by_word() -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Numbers of the labellers that list a word: in any capitals, and as written."""
    lower: dict[str, list[int]] = {}
    cased: dict[str, list[int]] = {}
    for number, labeller in enumerate(labellers()):
        for word in labeller.words:
            (cased if labeller.cased else lower).setdefault(word, []).append(number)
    return lower, cased


def text_spans(text: str) -> list[tuple[int, int, int]]:
    """(start, end, labeller) of every span of every labeller, the text's words read once."""
    lower, cased = _by_word()
    spans = [
        (*m.span(), number)
        for m in _WORD.finditer(text)
        for number in (*lower.get(m[0].lower(), ()), *cased.get(m[0], ()))
    ]
    for number, labeller in enumerate(labellers()):
        spans += [(start, end, number) for start, end in labeller.other_spans(text)]
    return spans


def token_labels(tokens: Sequence[str], kinds: NDArray[np.int8]) -> csr_array:
    """(T, n) bool, n labellers: what holds at each text token; other tokens hold nothing.

    A token holds a label if its characters overlap a marked span. Spaces at the start of a token
    do not count, unless the token is nothing else; a piece of a word counts as the word does.
    """
    return _token_labels(tuple(tokens), np.asarray(kinds, np.int8).tobytes())


@lru_cache(maxsize=20_000)
def _token_labels(tokens: tuple[str, ...], kinds: bytes) -> csr_array:
    lengths = [
        len(token) if kind == Kind.TEXT else 0
        for token, kind in zip(tokens, np.frombuffer(kinds, np.int8), strict=True)
    ]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    text = "".join(token for token, length in zip(tokens, lengths, strict=True) if length)
    inner = [
        start + (length - len(token.lstrip(" ")) if token.strip(" ") else 0)
        for token, length, start in zip(tokens, lengths, starts.tolist(), strict=True)
    ]
    rows, columns = [], []
    for start, end, number in text_spans(text):
        first, last = np.searchsorted(ends, start, "right"), np.searchsorted(starts, end, "left")
        for token in range(int(first), int(last)):
            if lengths[token] and inner[token] < end and ends[token] > start:
                rows.append(token)
                columns.append(number)
    shape = (len(tokens), len(labellers()))
    labels = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)
    labels.data[:] = True
    return labels
