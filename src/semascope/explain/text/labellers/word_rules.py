"""Rules for forms of English words that no short pattern states: tense, number, degree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

Span = tuple[int, int]
_WORD = re.compile(r"[A-Za-z]+")
_IRREGULAR_PAST = frozenset(
    "was were had did said went came saw took gave got made knew thought found told felt left "
    "kept began brought heard stood sat lay ran held wrote met led lost spoke rose fell grew drew "
    "drove ate drank sang slept sent built bought caught taught fought won broke chose wore threw "
    "flew forgot hid rode shook stole swore tore woke became understood bore paid laid meant "
    "sought struck swam hung dealt spent shone sank blew bit".split()
)
_NOT_PAST = frozenset(
    "bed red need indeed seed feed deed speed weed hundred sacred wicked naked breed bleed shed "
    "exceed proceed succeed kindred hatred reed creed greed embed sled fed".split()
)
_NOT_PLURAL = frozenset(
    "this is was his its has does as us yes thus always perhaps besides afterwards towards unless "
    "across plus bus gas news less less mathematics physics ours yours hers theirs says goes "
    "sometimes whereas alas otherwise pass class glass dress".split()
)
_IRREGULAR_PLURAL = frozenset(
    "men women children people feet teeth mice geese wives lives leaves wolves knives".split()
)
_DEGREES = (
    "big small large great tall short long wide narrow old young new high low deep fast slow "
    "strong weak hard soft light dark bright cold warm hot rich poor happy sad easy heavy early "
    "late near loud quiet clear clean sweet fine fair pretty wise safe simple thick thin close "
    "kind mild broad sharp smooth rough cheap fresh full proud brave calm few"
).split()


def _inflected(adjective: str, ending: str) -> str:
    if adjective.endswith("y"):
        return adjective[:-1] + "i" + ending
    if adjective.endswith("e"):
        return adjective + ending[1:]
    doubled = adjective in {"big", "hot", "sad", "thin"}
    return adjective + (adjective[-1] if doubled else "") + ending


_COMPARATIVES = frozenset(_inflected(a, "er") for a in _DEGREES) | frozenset(
    "better worse more less further farther elder".split()
)
_SUPERLATIVES = frozenset(_inflected(a, "est") for a in _DEGREES) | frozenset(
    "best worst most least furthest farthest eldest".split()
)


def _words(text: str, holds: Callable[[str], bool]) -> Iterator[Span]:
    return (m.span() for m in _WORD.finditer(text) if holds(m[0].lower()))


def _past(word: str) -> bool:
    regular = len(word) > 3 and word.endswith("ed") and word not in _NOT_PAST
    return regular or word in _IRREGULAR_PAST


def _plural(word: str) -> bool:
    if word in _IRREGULAR_PLURAL:
        return True
    ending = word.endswith("s") and not word.endswith(("ss", "us", "is", "ous"))
    return len(word) > 3 and ending and word not in _NOT_PLURAL


RULES: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "past_tense": lambda text: _words(text, _past),
    "plural": lambda text: _words(text, _plural),
    "comparative": lambda text: _words(text, _COMPARATIVES.__contains__),
    "superlative": lambda text: _words(text, _SUPERLATIVES.__contains__),
}
"""Rules by name: a text to its (start, end) spans."""
