"""A test of form for labels: would a person write this as the name of a feature?

A label is a short noun phrase ("flag of South Korea"), or a token in quotes. What the words claim
is judged elsewhere (``scorers``); this module looks at their shape alone. Its rules are literal and
its lists short, so a label that passes may still be odd, while one that is refused has a fault
that anyone can see. Depends on the names of the sprite pack and the word lists in ``explain/data``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import resources
from itertools import pairwise

from semascope.explain.text import hypernyms, terms
from semascope.explain.text.labellers.labellers import concept_names
from semascope.explain.text.lemmas import OPENING

LONGEST = 8
"""Words of the longest label."""
_QUOTES = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»')
_TOKEN = "\N{REPLACEMENT CHARACTER}"
"""Stands for a quoted token while the other words are looked at."""
_WORD = re.compile(rf"{_TOKEN}|[^\W_]+(?:['’.-][^\W_]+)*")
TOKEN, COUNTRY, SHAPE = "a token", "a country", "a kind of text"
COLOUR, FEELING = "a colour", "a feeling"
_SHARP = frozenset((TOKEN, COUNTRY, SHAPE))
"""Kinds that are recognised with certainty: what is not seen to be of them is of another."""
_OR = re.compile(r"\s*,?\s+or\s+", re.IGNORECASE)
_DIALECT = (
    ", above all",
    "pictures of",
    "images of",
    "photos of",
    "text with",
    "tokens of",
    "or text",
)
"""What belongs in a description, or in no English text."""
_LOOSE_END = frozenset(
    "of in on at to for from by with without into onto over under above below between behind "
    "beside near through against among upon about a an the and or but nor as than that which "
    "this these those such".split()
)
_STEM = re.compile(
    r"(?:[liu]at|[ae]rat|[it]cat|[aeiou]t(?:iv|at|ti)|[^aeiouy]iz|ectur|[ae]nc|iou|graphi|olog|amou)$"
)
"""Endings that are left when an English suffix is cut off: relat-e, differenc-e, biolog-y."""
_ORDINARY = frozenset(
    "new south north central united saint cape republic city islands coast ivory equatorial "
    "states kingdom great".split()
)
"""Words of countries' names that are ordinary words as well."""
_WHOLE = frozenset("splat squat concat eclat franc carat karat secretariat proletariat".split())
"""Words that end so and are whole."""
_ALSO = ("united states", "united kingdom", "great britain")
"""Countries that the pack calls otherwise."""
_AMBIGUOUS = frozenset("turkey china chad jordan guinea georgia mali niger".split())
"""Countries whose names are other words as well: names beside the word "flag" only."""


def refusals(label: str) -> list[str]:
    """Why a label is not well formed, each reason a few words; empty where it is."""
    if not label.strip():
        return ["it is empty"]
    if label.count('"') % 2 or any(label.count(a) != label.count(b) for a, b in ("“”", "«»", "()")):
        return ["its quotes or brackets are not balanced"]
    plain = _QUOTES.sub(f" {_TOKEN} ", label)
    found = [*_whole(label, plain), *_names(plain)]
    for sense, words in zip(_sense(label), _sense(plain), strict=False):
        parts = [_WORD.findall(part) for part in _OR.split(words)]
        found += _alternatives(sense, parts)
        for part in parts:
            found += _phrase(part)
    return list(dict.fromkeys(found))


def _sense(label: str) -> list[str]:
    """The senses of a label; what stands in quotes is never cut."""
    return re.split(r";\s+(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", label)


def joined(names: Sequence[str]) -> str:
    """Names as one label: "or" between things of a kind, a semicolon between senses.

    ["cat", "dog", "clock"] -> "cat or dog; clock".
    """
    senses: list[list[str]] = []
    for name in names:
        for sense in senses:
            if all(_of_a_kind(name, other) for other in sense):
                sense.append(name)
                break
        else:
            senses.append([name])
    return "; ".join(" or ".join(_families_last(sense)) for sense in senses)


def _families_last(names: Sequence[str]) -> list[str]:
    """Forms of words after what else there is, and that they are forms said once."""
    families = [name for name in names if name.startswith(OPENING)]
    others = [name for name in names if not name.startswith(OPENING)]
    return others + families[:1] + [name.removeprefix(OPENING) for name in families[1:]]


def _of_a_kind(a: str, b: str) -> bool:
    kinds = [_kinds(_WORD.findall(_QUOTES.sub(f" {_TOKEN} ", name))) for name in (a, b)]
    return bool(kinds[0] & kinds[1]) or not ((kinds[0] | kinds[1]) & _SHARP or all(kinds))


@lru_cache(maxsize=50_000)
def presentable(name: str) -> str:
    """One name as a label has it: a token in quotes, a person or a place with its capital."""
    if _QUOTES.search(name):
        return name
    words = _WORD.findall(name)
    if len(words) == 2 and words[0] == "word":
        return f'word "{words[1]}"'
    if any("without quotes" in reason for reason in _phrase(words)):
        return f'"{name}"'
    people = _people()
    return re.sub(r"[^\W\d_]+", lambda m: m[0].capitalize() if m[0] in people else m[0], name)


def _whole(label: str, plain: str) -> Iterator[str]:
    """Faults of the label as a whole."""
    words = _WORD.findall(plain)
    quoted = sum(max(1, len(quote.split())) for quote in _QUOTES.findall(label))
    if quoted + sum(word != _TOKEN for word in words) > LONGEST:
        yield f"it has more than {LONGEST} words"
    lower = plain.lower()
    for phrase in _DIALECT:
        if phrase in lower:
            yield f'it says "{phrase.strip(", ")}"'
    if re.search(r"[.;:!?,]\s*$", plain) or re.search(r"[<>{}\n]|\.\s", plain):
        yield "it is punctuated as a sentence"
    if words and words[-1].lower() in _LOOSE_END and len(words) > 1:
        yield f'it ends with "{words[-1].lower()}"'
    if words and words[0].lower() in ("or", "and", "but", "nor", "of"):
        yield f'it begins with "{words[0].lower()}"'


def _phrase(words: Sequence[str]) -> Iterator[str]:
    """Faults of one alternative, as its words; a quoted token is one word."""
    spoken = [word for word in words if word != _TOKEN]
    small = [word.lower().replace("’", "'") for word in spoken]
    if spoken == list(words) and small:
        if all(word in _listed("function") for word in small):
            yield f'"{" ".join(spoken)}" is a function word without quotes'
        elif len(small) == 1 and small[0] in _listed("verb"):
            yield f'"{spoken[0]}" is a verb without quotes'
        elif len(small) == 1 and (len(small[0]) <= 2 or small[0].isdigit()):
            yield f'"{spoken[0]}" is a token without quotes'
        elif small[0] == "word" and len(small) == 2:
            yield f'"{spoken[1]}" is a written word without quotes'
    for word in small:
        if len(word) > 4 and _STEM.search(word) and word not in _WHOLE and not _known(word):
            yield f'"{word}" is a stem'


def _alternatives(label: str, parts: Sequence[Sequence[str]]) -> Iterator[str]:
    """Faults of what stands around "or"."""
    if len(parts) < 2:
        return
    sides = [_content(part) for part in _OR.split(label)]
    for i, left in enumerate(sides):
        for right in sides[i + 1 :]:
            for word in left:
                if any(_same(word, other) for other in right):
                    yield f'"{word}" is repeated around "or"'
    kinds = [_kinds(part) for part in parts]
    for a, b in pairwise(kinds):
        if ((a and b) or (a | b) & _SHARP) and not a & b:
            yield 'the "or" joins things that have no kind in common'


def _content(part: str) -> list[str]:
    """The telling words of one side of "or", quoted ones included."""
    words = [word.lower() for word in _WORD.findall(re.sub(r'["“”«»]', " ", part))]
    return [w for w in words if w not in _listed("function") and w not in ("word", "piece")]


def _same(a: str, b: str) -> bool:
    """Whether two words are one, or one is the other with an ending."""
    short, long = sorted((a, b), key=len)
    if short == long:
        return True
    if len(short) < 3 or not long.startswith(short[: max(3, len(short) - 1)]):
        return False
    return bool(re.fullmatch(r"e?(?:s|es|d|ed|ing|er|ly|'s|ies)", long[len(short) :])) or (
        short[-1] in "ey"
        and long.startswith(short[:-1])
        and long[len(short) - 1 :] in ("ing", "ed", "ies", "ied")
    )


def _kinds(words: Sequence[str]) -> frozenset[str]:
    """What kinds of thing an alternative is of; empty where none is known."""
    if _TOKEN in words:
        return frozenset((TOKEN,))
    text = " ".join(words)
    lower = text.lower()
    if lower.removeprefix("flag of ") in _countries() or lower in _countries():
        return frozenset((COUNTRY,))
    if terms.alternatives(lower) and terms.alternatives(lower)[0] in terms.SHAPE_OF:
        return frozenset((SHAPE,))
    if lower in concept_names():
        return frozenset((SHAPE,))
    kinds = set(hypernyms.of(hypernyms.stems_of(lower)))
    if words and not kinds:
        kinds |= hypernyms.of(terms.stem(words[-1]))
    name = hypernyms.key_of(lower)
    for kind, members in ((COLOUR, _colours()), (FEELING, hypernyms.feelings())):
        if name in members:
            return frozenset((kind,))
    return frozenset(kinds | ({name} if name in hypernyms.kinds() else set()))


def _names(plain: str) -> Iterator[str]:
    """Names without their capitals, and names that are cut."""
    words = [word for word in _WORD.findall(plain) if word != _TOKEN]
    lower = " ".join(words).lower()
    flags = re.search(r"\bflags?\b", lower) is not None
    for word in words:
        small = word.lower()
        if word == small and (small in _people() or (small in _AMBIGUOUS and flags)):
            yield f'"{word}" has no capital'
    rest = f" {lower} "
    for country in _countries():
        if f" {country} " in rest and (country not in _AMBIGUOUS or flags):
            at = rest.index(f" {country} ")
            written = f" {' '.join(words)} "[at + 1 : at + 1 + len(country)]
            if written == country:
                yield f'"{country}" has no capital'
            rest = rest.replace(f" {country} ", " " * (len(country) + 2))
    for word in rest.split():
        if word in _parts_of_names():
            yield f'"{word}" is a part of a name'
    cut = re.search(r"\bflag of ((?:south|north|new|central|cape|saint|el|san)\b)", rest)
    if cut:
        yield f'"{cut[1]}" is a part of a name'


@lru_cache(maxsize=1)
def _colours() -> frozenset[str]:
    """Names of colours."""
    from semascope.corpus.scenes.colours import NAMES

    return frozenset(NAMES)


@lru_cache(maxsize=1)
def _countries() -> tuple[str, ...]:
    """Countries in lower case, the most words first: "papua new guinea" before "guinea"."""
    from semascope.corpus.scenes.sprites import SpritePack

    flags = {s.name for s in SpritePack.load().sprites if s.name.startswith("flag of ")}
    names = {name.removeprefix("flag of ").lower() for name in flags} | set(_ALSO)
    return tuple(sorted(names, key=lambda name: (-len(name.split()), -len(name), name)))


@lru_cache(maxsize=1)
def _parts_of_names() -> frozenset[str]:
    """Words that stand in names of several words only: "lanka", "kitts"."""
    several = {word for name in _countries() if " " in name for word in name.split()}
    single = {name for name in _countries() if " " not in name}
    return frozenset(several - single - _ORDINARY - _people() - {"and", "of", "el", "dr"})


@lru_cache(maxsize=1)
def _people() -> frozenset[str]:
    """People, peoples, places, days and months, in lower case."""
    lines = _data("names.txt")
    countries = {name for name in _countries() if " " not in name} - _AMBIGUOUS
    return frozenset(word.lower() for line in lines for word in line.split()) | countries


@lru_cache(maxsize=4)
def _listed(kind: str) -> frozenset[str]:
    """Words of one kind in ``not_nouns.txt``."""
    for line in _data("not_nouns.txt"):
        name, _, words = line.partition(":")
        if name == kind:
            return frozenset(words.split())
    return frozenset()


def _data(name: str) -> list[str]:
    text = resources.files("semascope.explain").joinpath(f"data/{name}").read_text("utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


@lru_cache(maxsize=100_000)
def _known(word: str) -> bool:
    """Whether a word is a name of the sprite pack or of the kinds: whole, whatever its ending."""
    return any(terms.stem(word) in name.split() for name in hypernyms.table())


def figures(labels: Sequence[str]) -> dict[str, list[float]]:
    """``labels_refused`` and ``distinct_labels`` of each label, to be averaged over features.

    A label that n features share, case aside, counts 1 / n as distinct, so that the mean is the
    number of distinct labels as a share of all.
    """
    folded = [label.casefold().strip() for label in labels]
    shared = Counter(folded)
    return {
        "labels_refused": [float(bool(refusals(label))) for label in labels],
        "distinct_labels": [1.0 / shared[label] for label in folded],
    }


def reasons(labels: Sequence[str]) -> dict[str, int]:
    """How many labels are refused for each reason, the words that it quotes left out."""
    counts = Counter(
        re.sub(r'^".*?" ', "a word ", reason) for label in labels for reason in refusals(label)
    )
    return dict(counts.most_common())
