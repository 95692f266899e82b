"""What an explanation claims: its words taken apart, ready to be looked for in a sample.

A label names things ("months or years", 'number near "million"'); a description may add what the
feature fires on most ("Strongest on …"), what it fires on less ("Weaker on …") and what must stand
near ("Mostly near …"). These sentences are written by ``explainers.wording`` and read here. Words
that came from elsewhere are read by the same rules. Knows no sample and no feature.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from semascope.explain.text import lemmas
from semascope.explain.text import terms as words
from semascope.explain.text.labellers.labellers import concept_names
from semascope.explain.text.letters import LetterRule, letter_rule

_SEEN = re.compile(r"\b(pictures?|images?|photos?|drawings?|scenes?|visual)\b", re.IGNORECASE)
_READ = re.compile(r"\b(texts?|tokens?|sentences?|phrases?|passages?|written)\b", re.IGNORECASE)
_GENERAL = re.compile(r"^(?:Pictures of(?:, or text with,)?|Text with) (.+?)\. Strongest on ")
_END = r"\.(?= (?:Strongest|Weaker|Mostly|It|The) |$)"
_STRONGEST = re.compile(rf"\bStrongest on (.+?){_END}")
_WEAKER = re.compile(rf"\bWeaker on (.+?){_END}")
_NEAR = re.compile(rf"\bMostly near (.+?){_END}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What an explanation says."""

    phrases: tuple[tuple[str, ...], ...]
    """Alternatives, each as its telling stems."""
    shapes: tuple[str, ...]
    """Terms of shapes ("decimal number"), of concepts ("month names") and of families of words."""
    literal: tuple[str, ...]
    """What stands in quotes."""
    seen: bool
    """Whether it speaks of pictures."""
    read: bool
    """Whether it speaks of text. Neither means either."""
    above: Claim | None = None
    """What it says that the feature fires on most: "Strongest on the flag of Cuba"."""
    weaker: Claim | None = None
    """What it says that the feature fires on less: "Weaker on seasons"."""
    near: Claim | None = None
    """What must stand in the same sample: 'number near "million"'."""
    letters: LetterRule | None = None
    """Which written words it names, by their letters: "words that begin with S"."""

    @property
    def empty(self) -> bool:
        """Nothing that could be looked for."""
        return not (self.phrases or self.shapes or self.literal or self.letters)

    @property
    def parts(self) -> tuple[Claim, ...]:
        """All that it names, what must stand near left out: itself, the strongest, the weaker."""
        return (self, *(part for part in (self.above, self.weaker) if part is not None))


@lru_cache(maxsize=100_000)
def claim(label: str, description: str) -> Claim:
    """Take an explanation apart. The label says what; the description says where."""
    above, weaker = _of(_STRONGEST, description), _of(_WEAKER, description)
    if not label:
        above = weaker = ""
    source = label or description
    if above:
        # The label is what is strongest, or what is general: the description says both.
        general = _GENERAL.search(description)
        source = general.group(1) if general else source
    name, _, near = source.partition(words.NEAR)
    near = near or (_of(_NEAR, description) if label else "")
    rest = plain(description)
    return replace(
        _names(name, description),
        above=_names(above, rest) if above else None,
        weaker=_names(weaker, rest) if weaker else None,
        near=_names(near, rest) if near else None,
    )


def plain(description: str) -> str:
    """A description without what it says of what is strongest, weaker or near."""
    for pattern in (_STRONGEST, _WEAKER, _NEAR):
        description = pattern.sub("", description)
    return " ".join(description.split())


def strongest(description: str) -> str:
    """What a description says that a feature fires on most; empty where it does not.

    "Pictures of a flag. Strongest on the flag of Cuba." -> "the flag of Cuba".
    """
    return _of(_STRONGEST, description)


def _of(pattern: re.Pattern[str], description: str) -> str:
    found = pattern.search(description)
    return found.group(1) if found else ""


def _names(source: str, description: str) -> Claim:
    """What some words name, without what is strongest, weaker or near."""
    seen, read = bool(_SEEN.search(description)), bool(_READ.search(description))
    rule = letter_rule(source)
    if rule is not None:
        return Claim((), (), (), seen, read, letters=rule)
    concepts, source = _concepts(source, seen=seen or not read)
    families, source = lemmas.read_back(source)
    phrases = words.alternatives(source)
    shapes = (
        *concepts,
        *families,
        *(words.SHAPE_OF[p] for p in phrases if p in words.SHAPE_OF),
    )
    names = tuple(p for p in phrases if p not in words.SHAPE_OF or _a_word_too(p, source))
    literal = tuple(words.quoted(source))
    if literal:
        # 'word piece "ing"' asks for the piece; "word" and "piece" are not looked for.
        names = tuple(p for p in names if not set(p) <= {"word", "piece", "letter", "symbol"})
    return Claim(names, shapes, literal, seen, read)


def _a_word_too(phrase: tuple[str, ...], source: str) -> bool:
    """Whether a shape is named otherwise than by its name: "years" may be the word."""
    name = words.SHAPE_OF[phrase].removeprefix("#")
    return len(phrase) == 1 and re.search(rf"\b{name}\b", source.lower()) is None


@cache
def _concept_names() -> tuple[re.Pattern[str], dict[str, str]]:
    """A pattern of the names of all concepts of text, and the term of each name."""
    terms = concept_names()
    longest = sorted(terms, key=lambda name: (-len(name), name))
    either = "|".join(map(re.escape, longest))
    before, after = r"(?:^|(?<=; )|(?<=, )|(?<=\bor )|(?<=\band ))", r"(?=$|[;,]| or | and )"
    return re.compile(f"{before}(?:the )?({either}){after}", re.IGNORECASE), terms


def _concepts(source: str, *, seen: bool) -> tuple[list[str], str]:
    """Terms of the concepts of text that some words name, and the words without them.

    A name of one word ("animals") stays where pictures are meant too: captions know it as a kind.
    """
    pattern, terms = _concept_names()
    found = [match.group(1).lower() for match in pattern.finditer(source)]

    def rest(match: re.Match[str]) -> str:
        return match.group(0) if seen and " " not in match.group(1) else " "

    return [terms[name] for name in found], pattern.sub(rest, source)
