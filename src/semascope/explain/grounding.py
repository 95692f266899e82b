"""Which of a scene's true objects do some words name, and which tokens do those cover?

For scoring only: the one place of this room that reads truth objects. Knows words and the
truth that stands in ``Shown.truth``; knows no feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.types import Shown
from semascope.explain import lexicon, words
from semascope.explain.docs import IMAGE_KINDS
from semascope.explain.judge import Claim
from semascope.subject.types import Kind

_ATTRIBUTES = ("category", "colour", "texture", "emotion", "word")


@lru_cache(maxsize=100_000)
def _stems(text: str) -> frozenset[str]:
    return frozenset(words.stem(text[a:b]) for a, b in words.spans(text))


def names_object(claim: Claim, thing: Mapping[str, Any]) -> bool:
    """Whether the words name this object: by name, category, colour, texture, emotion or word.

    "red circle" names a red circle only; "circle" names any; "ripe mango" names a mango.
    """
    name = _stems(str(thing["name"]))
    written = str(thing.get("word") or "").lower()
    if written and any(q == written for q in claim.literal):
        return True
    known = name.union(*(_stems(str(thing.get(key) or "")) for key in _ATTRIBUTES))
    colour = _stems(str(thing.get("colour") or ""))
    for phrase in claim.phrases:
        asked = frozenset(phrase)
        if asked <= known:
            return True
        if name and name <= asked:
            wrong_colour = bool(colour) and bool((asked & lexicon.COLOURS) - colour - name)
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


def picture_tokens(shown: Shown) -> NDArray[np.int64]:
    """Tokens of the first picture that tile it once: the base picture, else the tiles."""
    placed = np.isfinite(shown.rects).all(1) & (shown.image == 0)
    base = np.flatnonzero(placed & (shown.kinds == Kind.IMAGE))
    return base if len(base) else np.flatnonzero(placed & np.isin(shown.kinds, IMAGE_KINDS))


def areas(shown: Shown, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) pixels under each token."""
    r = shown.rects[tokens].astype(np.float64)
    return np.asarray((r[:, 2] - r[:, 0]) * (r[:, 3] - r[:, 1]))


def coverage(claim: Claim, shown: Shown, tokens: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """(n,) share of each token's rectangle that the named things cover; None if none is there.

    Objects do not overlap in ``patches`` (each pixel belongs to what one sees), so shares add.
    """
    objects = shown.truth.get("objects") or ()
    named = [o for o in objects if names_object(claim, o)]
    if named:
        return _sum(named, tokens)
    if names_background(claim, str(shown.truth.get("background", ""))):
        return np.asarray(1.0 - _sum(objects, tokens))
    return None


def _sum(objects: Any, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    total = np.zeros(len(tokens))
    for thing in objects:
        total += np.asarray(thing["patches"], np.float64)[tokens]
    return np.clip(total, 0.0, 1.0)
