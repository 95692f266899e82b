"""Words: how running text becomes terms that can be counted, matched and shown again.

A term is a key: stems joined by spaces ("french fry"), a shape ("#decimal number"), a mark
("#comma"), a concept ("@months") or a piece of a word ("~ing"). Knows English plurals and nothing
about samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

WORD = re.compile(r"\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:['’-][^\W\d_]+)*")
"""A number with its inner marks (9.11, 3:16, 2024-05-01), or a word with its hyphens."""

_STOP_LIST = """
    a an the and or but nor of in on at to for from by with without into onto over under above
    below between behind beside near next is are was were be been being am do does did has
    have had having will would shall should can could may might must not no yes it its it's
    this that these those there here he she they we you i him her them us me my your his our
    their one some any each every all both few more most other such only own same so than too
    very as if then else when where which who whom whose what why how up down out off again
    once while during before after about against just also s t d ll m re ve picture image
    photo photograph background scene shows showing show drawn depicts depicting contains
    containing
"""
STOP = frozenset(_STOP_LIST.split())
"""Words that say nothing alone. "background" stays usable inside a longer term."""

_EDGE = STOP - {"background"}
_PLURAL_ES = ("ses", "xes", "zes", "ches", "shes")
_KEEP_S = ("ss", "us", "is")


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """Lower case, without the plural: "Cherries" and "cherry" meet, "glass" stays.

    Plurals only: a real stemmer would let "universe" meet "university".
    """
    word = word.lower().replace("’", "'")
    word = word.removesuffix("'s")
    if len(word) < 4 or word[-1] != "s" or word.endswith(_KEEP_S):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(_PLURAL_ES):
        return word[:-2]
    return word[:-1]


_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("date", re.compile(r"\d{4}-\d\d?-\d\d?$|\d\d?/\d\d?/\d{2,4}$")),
    ("version number", re.compile(r"\d+\.\d+\.\d+")),
    ("decimal number", re.compile(r"\d+\.\d+$")),
    ("verse number", re.compile(r"\d+:\d+$")),
    ("year", re.compile(r"(1[5-9]|20)\d\d$")),
    ("number", re.compile(r"\d")),
)
MARKS = {
    ",": "comma",
    ".": "full stop",
    ";": "semicolon",
    ":": "colon",
    "!": "exclamation mark",
    "?": "question mark",
    "(": "bracket",
    ")": "bracket",
    "[": "bracket",
    "]": "bracket",
    "{": "brace",
    "}": "brace",
    '"': "quotation mark",
    "“": "quotation mark",
    "”": "quotation mark",
    "'": "apostrophe",
    "-": "dash",
    "–": "dash",
    "—": "dash",
    "=": "equals sign",
    "+": "plus sign",
    "*": "asterisk",
    "/": "slash",
    "_": "underscore",
    "#": "hash sign",
    "%": "per cent sign",
    "$": "dollar sign",
    "@": "at-sign",
    "<": "angle bracket",
    ">": "angle bracket",
    "\n": "line break",
}
"""Marks that have a name; the name is a term."""
CLASSES: dict[str, frozenset[str]] = {
    name: frozenset(listed.split())
    for name, listed in {
        "article": "a an the",
        "pronoun": "i you he she it we they me him her us them my your his its our their thou thee "
        "thy thine ye mine yours hers ours theirs himself herself itself themselves",
        "preposition": "of in on at to for from by with without into onto over under above below "
        "between behind beside near through against among upon unto before after during",
        "conjunction": "and or but nor so yet because although though unless while whereas",
        "negation": "no not never none nothing nobody neither nor cannot can't don't didn't won't "
        "isn't wasn't doesn't shouldn't",
        "question word": "who whom whose what which when where why how",
        "number word": "one two three four five six seven eight nine ten eleven twelve twenty "
        "thirty forty fifty hundred thousand million first second third",
        "month": "january february march april may june july august september october november "
        "december",
        "weekday": "monday tuesday wednesday thursday friday saturday sunday",
    }.items()
}
"""Closed classes of words; "may" is a month only where it is written "May"."""
ENDINGS = ("ing", "ed", "ly", "tion", "ness", "ment", "est")
FIRST, LAST, CODE = "first word of a sentence", "last word of a sentence", "code"
SHAPE_NAMES = (
    frozenset(name for name, _ in _SHAPES)
    | {"capitals", "capitalised word", FIRST, LAST, CODE}
    | {f"word ending in {ending}" for ending in ENDINGS}
    | frozenset(CLASSES)
    | frozenset(MARKS.values())
)
ENGLISH_SHAPES = frozenset(
    f"#{name}" for name in (*CLASSES, *(f"word ending in {ending}" for ending in ENDINGS))
)
"""Terms of the shapes that know English words and endings."""
GENERAL = frozenset(("number", "capitals", "capitalised word", FIRST, LAST, CODE))
"""Shapes that other shapes are cases of: a month is a capitalised word, and better called one."""
_CODE_BESIDE = frozenset("(){}[]=;_<>\\")


@lru_cache(maxsize=100_000)
def shapes(word: str) -> tuple[str, ...]:
    """Shape terms of one word: "9.11" is a decimal number and a number, "ran" is none."""
    if word[0].isdigit():
        first = next(name for name, pattern in _SHAPES if pattern.match(word))
        return ("#number",) if first == "number" else (f"#{first}", "#number")
    found = ["#capitals"] if len(word) > 1 and word.isupper() else []
    if len(word) > 1 and word[0].isupper() and word[1:].islower():
        found.append("#capitalised word")
    small = word.lower().replace("’", "'")
    for name, members in CLASSES.items():
        if small in members and (name != "month" or word[0].isupper()):
            found.append(f"#{name}")
    for ending in ENDINGS:
        if small.endswith(ending) and len(small) > len(ending) + 2:
            found.append(f"#word ending in {ending}")
    return tuple(found)


@lru_cache(maxsize=1 << 18)
def shapes_at(text: str, start: int, end: int) -> tuple[str, ...]:
    """Shape terms of the word at [start, end) of a text: its own, then those of its place.

    The beginning of a text is no beginning of a sentence: a text may be an excerpt.
    """
    found = shapes(text[start:end])
    before, after = text[:start].rstrip(" \"“‘(['"), text[end : end + 3].lstrip("\"”’)]'")
    if before and before[-1] in ".!?\n":
        found = (*found, f"#{FIRST}")
    if after[:1] in (".", "!", "?") and not after[1:2].isalnum():
        found = (*found, f"#{LAST}")
    beside = text[start - 1 : start] + text[end : end + 1]
    word = text[start:end]
    if _CODE_BESIDE & set(beside) or (word[1:] != word[1:].lower() and not word.isupper()):
        found = (*found, f"#{CODE}")
    return found


def marks(text: str) -> set[str]:
    """Terms of the marks in a stretch of text."""
    return {f"#{MARKS[c]}" for c in text if c in MARKS}


def spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of every word."""
    return [match.span() for match in WORD.finditer(text)]


def grams(
    text: str, where: Sequence[tuple[int, int]], longest: int
) -> Iterator[tuple[str, int, int]]:
    """Terms of up to ``longest`` words, as (key, first word, last word).

    Words of a term touch with nothing but spaces between; no term of two words or more begins
    or ends with a stop word, so "french fries" is a term and "fries and" is not. Single stop
    words do come out: a caller who does not want them asks ``says_something``.
    """
    stems = [stem(text[a:b]) for a, b in where]
    for i, key in enumerate(stems):
        yield key, i, i
        if key in _EDGE:
            continue
        for j in range(i + 1, min(i + longest, len(stems))):
            if text[where[j - 1][1] : where[j][0]].strip(" "):
                break
            key = f"{key} {stems[j]}"
            if stems[j] not in _EDGE:
                yield key, i, j


CONCEPT = "@"
"""Begins the term of a concept of text that a program finds: "@months" (``labellers``)."""
PHRASE = '"'
"""Begins the term of words just as they stand, stop words too."""


def phrases_at(stems: Sequence[str], number: int) -> Iterator[str]:
    """Terms of the two or three words that stand around one, as they are: '"set to'."""
    for first in range(max(0, number - 2), number + 1):
        for last in range(max(number, first + 1), min(first + 3, len(stems))):
            some = stems[first : last + 1]
            if any(word in _EDGE for word in (some[0], some[-1])):
                yield PHRASE + " ".join(some)


def says_something(key: str) -> bool:
    """Whether a term could be a name: not a stop word, not a lone letter."""
    return key not in STOP and (len(key) > 1 or key.isdigit())


ONE = ("one", "thing")
"""The one count whose number is a stop word elsewhere."""
_SPLIT = re.compile(r"\s*(?:,|;|/|\bor\b|\band\b)\s*", re.IGNORECASE)
QUOTED = re.compile(r"[\"“]([^\"”]+)[\"”]")
NEAR = " near "
"""In a label, between what a feature fires on and what stands there: 'number near "million"'."""


def alternatives(label: str) -> list[tuple[str, ...]]:
    """The things that a label names, each as its telling stems, in order.

    "red circles or a mango" -> [("red", "circle"), ("mango",)].
    """
    found: list[tuple[str, ...]] = []
    for part in _SPLIT.split(QUOTED.sub(" ", label)):
        stems = tuple(stem(part[a:b]) for a, b in spans(part))
        telling = tuple(s for s in stems if says_something(s))
        if stems == ONE:
            telling = ONE
        if "background" in stems and telling and "background" not in telling:
            telling = (*telling, "background")
        if telling and telling not in found:
            found.append(telling)
    return found


def quoted(text: str) -> list[str]:
    """What stands in double quotes, lower case."""
    return [match.lower() for match in QUOTED.findall(text)]


SHAPE_OF = {alternatives(name)[0]: f"#{name}" for name in sorted(SHAPE_NAMES)}
"""What a label says, read back, to the shape that it names: "first word of a sentence"."""
