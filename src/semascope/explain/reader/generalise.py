"""From readings of one feature to phrases that may say what they share.

Candidates are what several readings name, wholly or in part ("golf flag", "flag", "sport"), and
unions of two or three of a kind ("golf flag or clock"). Which of them is right is not decided
here: they are tried on samples (``explainer``). Names of one reading alone are left out, unless it
is nearly all there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from semascope.explain.reader.readings import Reading, names, shared_parts
from semascope.explain.text.categories import COLOURS, TEXTURES
from semascope.explain.text.form import joined, presentable
from semascope.explain.text.letters import letter_rule

LEAST = 0.3
"""Share of the readings' weight that a phrase must cover."""
MOST_SHARE = 0.25
"""Readings of other features that have a part in this share are no news."""
ALTERNATIVES = 3
PHRASES = 12


class Phrase(NamedTuple):
    """A candidate."""

    names: tuple[str, ...]
    """One, or alternatives."""
    share: float
    """Of the readings' weight that it covers."""
    specific: float
    """``share`` less the share of other features' readings that it would cover."""

    @property
    def label(self) -> str:
        """As a label has it."""
        return joined([presentable(name) for name in self.names])


def phrases(readings: Sequence[Reading], common: Mapping[str, float]) -> list[Phrase]:
    """Candidates for some readings, the best covering first.

    Args:
        readings: of one feature.
        common: share of all features' readings that name each thing or part.
    """
    cover = _coverage(readings)
    total = sum(reading.strength for reading in readings)
    if not total:
        return []
    singles = [
        Phrase((name,), weight / total, weight / total - common.get(name, 0.0))
        for name, (weight, _) in cover.items()
    ]
    singles = [p for p in singles if common.get(p.names[0], 0.0) <= MOST_SHARE and p.specific > 0]
    # Of names that cover alike, the whole one: "glass of water" and not "glass".
    singles.sort(key=lambda p: (-round(p.specific, 3), -len(p.label.split()), p.label))
    things = [p.names[0] for p in singles if _joinable(p.names[0])]
    unions = _unions(things[:8], cover, total, common)
    found = [p for p in (*singles, *unions) if p.share >= LEAST]
    return sorted(found, key=lambda p: (-round(p.specific, 3), len(p.names)))[:PHRASES]


def commonness(readings: Sequence[Sequence[Reading]]) -> dict[str, float]:
    """For each thing and part, the share of features of which a reading has it, by weight."""
    found: dict[str, float] = {}
    for own in readings:
        total = sum(reading.strength for reading in own)
        for name, (weight, _) in _coverage(own).items():
            found[name] = found.get(name, 0.0) + weight / max(total, 1e-12)
    return {name: weight / max(len(readings), 1) for name, weight in found.items()}


def _coverage(readings: Sequence[Reading]) -> dict[str, tuple[float, frozenset[int]]]:
    """What is named, wholly or in part -> (weight of the readings, which they are)."""
    found: dict[str, tuple[float, frozenset[int]]] = {}
    for number, reading in enumerate(readings):
        things = names(reading.text)
        # A reading that lists several things says less of each.
        weight = reading.strength / max(1.0, len(things) ** 0.5)
        said = {part for thing in things for part in (thing, *shared_parts(thing))}
        for part in said:
            old, rows = found.get(part, (0.0, frozenset()))
            found[part] = (old + weight, rows | {number})
    return found


def _unions(
    names_: Sequence[str],
    cover: Mapping[str, tuple[float, frozenset[int]]],
    total: float,
    common: Mapping[str, float],
) -> list[Phrase]:
    """Alternatives, each of which covers readings that the others do not."""
    found = []
    for size in range(2, ALTERNATIVES + 1):
        for some in combinations(names_, size):
            rows = [cover[name][1] for name in some]
            alone = [len(r - frozenset().union(*(o for o in rows if o is not r))) for r in rows]
            if min(alone) < 1 or _alike(some):
                continue
            share = min(1.0, sum(cover[name][0] for name in some) / total)
            base = sum(common.get(name, 0.0) for name in some)
            found.append(Phrase(some, share, share - base - 0.05 * (size - 1)))
    return found


def _joinable(name: str) -> bool:
    """Whether a name may be one of several: colours and rules of letters stand alone."""
    return letter_rule(name) is None and name not in COLOURS | TEXTURES


def _alike(some: Sequence[str]) -> bool:
    """Whether alternatives share a word, or one is a part of another."""
    words = [set(name.lower().split()) for name in some]
    return any(a & b for a, b in combinations(words, 2)) or any(
        b in shared_parts(a) or a in shared_parts(b) for a, b in combinations(some, 2)
    )
