"""What a person knows of a name: of which kind the thing is, its colour, what a face feels.

A caption says "a penguin and a baby chick"; whoever reads it knows that both are birds, and a
feature that fires on all birds can be named only by one who does. The table is the sprite pack's
(kind, feeling and colour of every name, where all pictures of the name agree) and the common
nouns of ``data/kinds.txt``. It is general knowledge of names: it never sees a sample's truth, and
what it says of a banana is the same whether the banana is there or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources

from semascope.explain.text import terms

_SURFACES = frozenset("plain graded striped dotted checked brick wood grass sand stone".split())
"""What a background is said to be: no thing in a list."""
LONGEST = 4
"""Words of the longest name."""
THEMES = {"time": "clock"}
"""Groups of the sprite pack that are no kind of thing, and what their things are."""
NUMBERS = ("nothing", "one", "two", "three", "four", "five", "six")


def key_of(name: str) -> str:
    """A name as a term: telling stems joined by spaces; "in love" -> "love"."""
    stems = [terms.stem(name[a:b]) for a, b in terms.spans(name)]
    telling = [s for s in stems if terms.says_something(s)]
    return " ".join(telling)


def stems_of(name: str) -> str:
    """A name as it stands in a caption: all its stems joined by spaces."""
    return " ".join(terms.stem(name[a:b]) for a, b in terms.spans(name))


@lru_cache(maxsize=1)
def table() -> Mapping[str, frozenset[str]]:
    """Name (all stems) -> keys of its kinds, colour and feeling, kinds of kinds included."""
    direct: dict[str, set[str]] = {}
    for kind, things in _lines():
        for thing in things:
            direct.setdefault(stems_of(thing), set()).add(key_of(kind))
    for name, kinds in _pack():
        direct.setdefault(name, set()).update(kinds)
    return {name: frozenset(_above(kinds, direct)) - {name} for name, kinds in direct.items()}


@lru_cache(maxsize=1)
def kinds() -> frozenset[str]:
    """Keys of everything that is a kind, a colour or a feeling of something."""
    return frozenset(kind for some in table().values() for kind in some)


def of(name: str) -> frozenset[str]:
    """Keys of the kinds of a name, given as stems joined by spaces; none for an unknown one."""
    return table().get(name, frozenset())


def found(stems: Sequence[str]) -> list[tuple[int, int]]:
    """(first, past the last) of every known name in a row of stems; the longest name wins.

    What a written word says is no thing: "the word APPLE" is a word, not a fruit.
    """
    out, at = [], 0
    while at < len(stems):
        if stems[at] == "word" and at + 1 < len(stems):
            out.append((at, at + 2))
            at += 2
            continue
        for end in range(min(at + LONGEST, len(stems)), at, -1):
            if " ".join(stems[at:end]) in table():
                out.append((at, end))
                at = end
                break
        else:
            at += 1
    return out


def implied(stems: Sequence[str]) -> set[str]:
    """Keys of all kinds of the names in a caption, and of how many things it lists."""
    names = found(stems)
    keys = {kind for a, b in names for kind in of(" ".join(stems[a:b]))}
    if names and len(names) < len(NUMBERS) and _listed(stems, names):
        keys.add(f"{NUMBERS[len(names)]} thing")
    return keys


def counted(key: str) -> int:
    """How many things a key speaks of: "three thing" -> 3; 0 where it speaks of none."""
    first, _, rest = key.partition(" ")
    return NUMBERS.index(first) if rest == "thing" and first in NUMBERS else 0


def tells_number(label: str) -> bool:
    """Whether a label says how many things there are, and not what: "six things", "nothing"."""
    stems = stems_of(label)
    return bool(counted(stems)) or stems == NUMBERS[0]


def _listed(stems: Sequence[str], names: Sequence[tuple[int, int]]) -> bool:
    """Whether a caption is a list of known names and nothing else."""
    inside = {i for a, b in names for i in range(a, b)}
    rest = {s for i, s in enumerate(stems) if i not in inside}
    return not any(terms.says_something(s) for s in rest - _SURFACES - set(_colours()))


def _lines() -> Iterable[tuple[str, list[str]]]:
    text = resources.files("semascope.explain").joinpath("data/kinds.txt").read_text("utf-8")
    for line in text.splitlines():
        kind, _, things = line.partition(":")
        if things and not line.startswith("#"):
            yield kind.strip(), [thing.strip() for thing in things.split(",")]


def _pack() -> Iterable[tuple[str, set[str]]]:
    from semascope.corpus.scenes.sprites import SHAPES, TEXTURES, SpritePack

    groups: dict[str, list[tuple[str, str | None, str | None]]] = {}
    for s in SpritePack.load().sprites:
        kind = THEMES.get(s.category, s.category)
        groups.setdefault(stems_of(s.name), []).append((kind, s.colour, s.emotion))
    for name, rows in groups.items():
        agreed = [column[0] for column in zip(*rows, strict=True) if len(set(column)) == 1]
        yield name, {key_of(value) for value in agreed if value}
    for shape in SHAPES:
        if terms.stem(shape) not in groups:
            yield terms.stem(shape), {"shape"}
        for adjective in (*_colours(), *TEXTURES):
            yield f"{terms.stem(adjective)} {terms.stem(shape)}", {"shape", terms.stem(adjective)}


@lru_cache(maxsize=1)
def _colours() -> tuple[str, ...]:
    from semascope.corpus.scenes.colours import NAMES

    return NAMES


def _above(some: Iterable[str], direct: Mapping[str, set[str]]) -> set[str]:
    """The kinds, and the kinds of those.

    Colours and feelings do not climb: that the pack's one "bird" is blue says nothing of owls.
    """
    out: set[str] = set()
    left = list(some)
    while left:
        kind = left.pop()
        if kind not in out:
            out.add(kind)
            if kind not in _plain():
                left += [k for k in direct.get(kind, ()) if k not in _plain()]
    return out


@lru_cache(maxsize=1)
def feelings() -> frozenset[str]:
    """Keys of what faces of the pack feel."""
    from semascope.corpus.scenes.sprites import SpritePack

    return frozenset(key_of(s.emotion) for s in SpritePack.load().sprites if s.emotion)


@lru_cache(maxsize=1)
def _plain() -> frozenset[str]:
    return feelings() | set(_colours())
