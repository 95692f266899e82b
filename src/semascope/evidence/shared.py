"""Features that fire on a thing's name and on its picture.

For drawn scenes it is known which image tokens show a thing and which words name it. A feature is
shared between text and picture so far as one name explains its firing on both sides. Knows
evidence; knows no model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.store import Evidence
from semascope.evidence.types import Exemplar, FeatureEvidence, Shown
from semascope.subject.types import Kind

COVERED = 0.25
"""Share of a token's rectangle from which it is said to show a thing."""


@dataclass(frozen=True, slots=True)
class Shared:
    """One feature's best name."""

    index: int
    name: str
    score: float
    """The smaller of the two shares below: 1 where all firing is on the word and on the thing."""
    control: float
    """The same for the word of this name and the picture of another one: the best of those."""
    on_word: float
    """Share of the activation on text that falls on the name."""
    on_picture: float
    """Share of the activation on pictures that falls on the thing."""


def shared(evidence: Evidence, *, k: int = 50, least: float = 0.02) -> list[Shared]:
    """Features by ``score``, best first, at most k.

    Looked at are features with at least ``least`` of their density on each side.
    """
    image = np.maximum(evidence.stats("density_image"), evidence.stats("density_tile"))
    text = evidence.stats("density_text")
    total = np.where(image + text > 0, image + text, 1)
    both = np.flatnonzero((image / total >= least) & (text / total >= least))
    found = [one for i in both if (one := measure(evidence.feature(int(i)))) is not None]
    return sorted(found, key=lambda s: (-s.score, s.index))[:k]


def measure(record: FeatureEvidence) -> Shared | None:
    """The best name of one feature; None where its exemplars show it on one side alone."""
    words: dict[str, float] = defaultdict(float)
    things: dict[str, float] = defaultdict(float)
    text = picture = 0.0
    for exemplar in {e.shown.row: e for e in (*record.intervals, *record.top)}.values():
        text += _on(exemplar, (Kind.TEXT,))
        picture += _on(exemplar, (Kind.IMAGE, Kind.TILE))
        for name, (word, thing) in _by_name(exemplar).items():
            words[name] += word
            things[name] += thing
    if not words or text <= 0 or picture <= 0:
        return None
    scores = {n: min(words[n] / text, things[n] / picture) for n in words}
    name = max(sorted(scores), key=lambda n: scores[n])
    others = [min(words[name] / text, things[n] / picture) for n in things if n != name]
    return Shared(
        index=record.index,
        name=name,
        score=scores[name],
        control=max(others, default=0.0),
        on_word=words[name] / text,
        on_picture=things[name] / picture,
    )


def _on(exemplar: Exemplar, kinds: tuple[Kind, ...]) -> float:
    return float(exemplar.activations[np.isin(exemplar.shown.kinds, kinds)].sum())


def _by_name(exemplar: Exemplar) -> dict[str, tuple[float, float]]:
    """Activation on the word, and on the picture, of every thing in the scene."""
    out: dict[str, tuple[float, float]] = {}
    for thing in exemplar.shown.truth.get("objects", ()):
        name = str(thing["name"])
        word = float(exemplar.activations[named(exemplar.shown, name)].sum())
        seen = float(exemplar.activations[thing["patches"] >= COVERED].sum())
        before = out.get(name, (word, 0.0))
        out[name] = (word, before[1] + seen)
    return out


def named(shown: Shown, name: str) -> NDArray[np.bool_]:
    """(T,) text tokens that are part of a name, found in the joined text, plural or not."""
    text = np.flatnonzero(shown.kinds == Kind.TEXT)
    pieces = [shown.tokens[i].lower() for i in text]
    ends = np.cumsum([len(p) for p in pieces])
    out = np.zeros(len(shown.tokens), bool)
    pattern = rf"(?<!\w){re.escape(name.lower())}(?:e?s)?(?!\w)"
    for found in re.finditer(pattern, "".join(pieces)):
        starts = ends - [len(p) for p in pieces]
        touched = (starts < found.end()) & (ends > found.start())
        out[text[touched]] = True
    return out
