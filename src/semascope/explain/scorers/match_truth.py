"""Which of a scene's true objects do some words name, and which tokens do those cover?

For scoring only: the one place of this room that reads truth objects. Knows words and the
truth that stands in ``EvidenceSample.truth``; knows no feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import EvidenceSample
from semascope.explain.text import categories, hypernyms, terms
from semascope.explain.text.claims import Claim
from semascope.subject.types import IMAGE_KINDS, Kind, looking_at

_ATTRIBUTES = ("category", "colour", "texture", "emotion", "word")


@lru_cache(maxsize=100_000)
def _stems(text: str) -> frozenset[str]:
    return frozenset(terms.stem(text[a:b]) for a, b in terms.spans(text))


def names_object(claim: Claim, thing: Mapping[str, Any]) -> bool:
    """Whether the words name this object: by name, category, colour, texture, emotion or word.

    "red circle" names a red circle only; "circle" names any; "ripe mango" names a mango.
    """
    return _names(claim, str(thing["name"]), *(str(thing.get(key) or "") for key in _ATTRIBUTES))


@lru_cache(maxsize=100_000)
def _names(claim: Claim, called: str, *attributes: str) -> bool:
    name = _stems(called)
    written = attributes[_ATTRIBUTES.index("word")].lower()
    if written and any(q == written for q in claim.literal):
        return True
    known = name.union(*map(_stems, attributes))
    known |= {s for kind in hypernyms.of(hypernyms.stems_of(called)) for s in kind.split()}
    colour = _stems(attributes[_ATTRIBUTES.index("colour")])
    for phrase in claim.phrases:
        asked = frozenset(phrase)
        if asked <= known:
            return True
        if name and name <= asked:
            wrong_colour = bool(colour) and bool((asked & categories.COLOURS) - colour - name)
            if not wrong_colour:
                return True
    return False


def names_background(claim: Claim, background: str) -> bool:
    """Whether the words speak of what lies behind the objects."""
    there = _stems(background)
    for phrase in claim.phrases:
        rest = frozenset(phrase) - {"background"}
        if rest and rest <= there:
            return True
        if not rest:
            return True
    return False


def picture_tokens(shown: EvidenceSample, picture: int = 0) -> NDArray[np.int64]:
    """(n,) tokens of a picture that tile it once: the base picture, else the tiles."""
    placed = np.isfinite(shown.rects).all(1) & looking_at(shown, picture)
    base = np.flatnonzero(placed & (shown.kinds == Kind.IMAGE))
    return base if len(base) else np.flatnonzero(placed & np.isin(shown.kinds, IMAGE_KINDS))


def areas(shown: EvidenceSample, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) pixels under each token."""
    r = shown.rects[tokens].astype(np.float64)
    return np.asarray((r[:, 2] - r[:, 0]) * (r[:, 3] - r[:, 1]))


@dataclass(frozen=True, slots=True)
class NamedThings:
    """What some words name in one scene."""

    things: tuple[Mapping[str, Any], ...]
    inverted: bool = False
    """The background is named: all but the things."""


def named_things(claim: Claim, shown: EvidenceSample) -> NamedThings | None:
    """The objects, or the background, that the words name; None if nothing there is named.

    What they name above all, where that is there; what is weaker, where nothing else is.
    """
    if claim.above is not None:
        most = named_things(claim.above, shown)
        if most is not None and not most.inverted:
            return most
    objects = shown.truth.get("objects") or ()
    named = tuple(o for o in objects if names_object(claim, o))
    if named:
        return NamedThings(named)
    if any(hypernyms.counted(" ".join(p)) == len(objects) > 0 for p in claim.phrases):
        return NamedThings(tuple(objects))  # "three things" speaks of all three
    if names_background(claim, str(shown.truth.get("background", ""))):
        return NamedThings(tuple(objects), inverted=True)
    return named_things(claim.weaker, shown) if claim.weaker is not None else None


def coverage(named: NamedThings, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) share of each token's rectangle that the named things cover.

    Objects do not overlap in ``patches`` (each pixel belongs to what one sees), so shares add.
    """
    total = np.zeros(len(tokens))
    for thing in named.things:
        total += np.asarray(thing["patches"][tokens], np.float64)
    total = total.clip(0.0, 1.0)
    return 1.0 - total if named.inverted else total
