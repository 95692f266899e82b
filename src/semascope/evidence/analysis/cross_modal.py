"""Features that fire on a thing's name and on its picture.

For drawn scenes it is known which image tokens show a thing and which words name it. A feature is
shared between text and picture so far as one name explains its firing on both sides. Knows
evidence; knows no model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semascope.evidence.store.evidence import Evidence
from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence
from semascope.subject.types import Kind

COVERED = 0.25
"""Share of a token's rectangle from which it is said to show a thing."""


@dataclass(frozen=True, slots=True)
class CrossModalFeature:
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
    shuffled: float = 0.0
    """The score with the name that belongs to another feature; 0 where all have one name."""


@dataclass(frozen=True, slots=True)
class _Shares:
    """Of one feature's activation, what falls on each name and on each thing."""

    words: dict[str, float]
    things: dict[str, float]

    def score(self, word: str, thing: str) -> float:
        """The smaller of the two."""
        return min(self.words.get(word, 0.0), self.things.get(thing, 0.0))


def candidates(evidence: Evidence, least: float = 0.02) -> NDArray[np.int64]:
    """(n,) features with at least ``least`` of their density on text and on pictures each."""
    image = np.maximum(evidence.stats("density_image"), evidence.stats("density_tile"))
    text = evidence.stats("density_text")
    total = np.where(image + text > 0, image + text, 1)
    return np.flatnonzero((image / total >= least) & (text / total >= least))


def shared(
    evidence: Evidence, *, k: int | None = 50, least: float = 0.02
) -> list[CrossModalFeature]:
    """Features by ``score``, best first, at most k; looked at are ``candidates``."""
    found, shares = [], []
    for i in candidates(evidence, least):
        record = evidence.feature(int(i))
        one = _shares(record)
        if one is not None:
            found.append(_best(record.index, one))
            shares.append(one)
    found = [
        replace(one, shuffled=mine.score(other, other) if other else 0.0)
        for one, mine, other in zip(found, shares, _others(found), strict=True)
    ]
    return sorted(found, key=lambda s: (-s.score, s.index))[:k]


def measure(record: FeatureEvidence) -> CrossModalFeature | None:
    """The best name of one feature; None where its exemplars show it on one side alone."""
    shares = _shares(record)
    return None if shares is None else _best(record.index, shares)


def _best(index: int, shares: _Shares) -> CrossModalFeature:
    name = max(sorted(shares.things), key=lambda n: shares.score(n, n))
    others = [shares.score(name, n) for n in shares.things if n != name]
    return CrossModalFeature(
        index=index,
        name=name,
        score=shares.score(name, name),
        control=max(others, default=0.0),
        on_word=shares.words[name],
        on_picture=shares.things[name],
    )


def _others(found: Sequence[CrossModalFeature]) -> list[str]:
    """For each feature the name of the next one that has another; "" where none has."""
    names = [one.name for one in found]
    return [
        next((n for n in (*names[i + 1 :], *names[:i]) if n != name), "")
        for i, name in enumerate(names)
    ]


def _shares(record: FeatureEvidence) -> _Shares | None:
    """Over all exemplars; a name counts wherever it is written, be the thing there or not."""
    exemplars = list({e.shown.row: e for e in (*record.intervals, *record.top)}.values())
    text = sum(_on(e, (Kind.TEXT,)) for e in exemplars)
    picture = sum(_on(e, (Kind.IMAGE, Kind.TILE)) for e in exemplars)
    things: dict[str, float] = defaultdict(float)
    for exemplar in exemplars:
        for name, seen in _seen(exemplar.shown).items():
            things[name] += float(exemplar.activations[seen].sum())
    if not things or text <= 0 or picture <= 0:
        return None
    words = dict.fromkeys(things, 0.0)
    for exemplar in exemplars:
        written = _written(exemplar.shown)
        for name in words:
            if name.lower() in written:
                words[name] += float(exemplar.activations[named(exemplar.shown, name)].sum())
    return _Shares(
        {n: v / text for n, v in words.items()}, {n: v / picture for n, v in things.items()}
    )


def _seen(shown: EvidenceSample) -> dict[str, NDArray[np.bool_]]:
    """By name, (T,) the tokens that show a thing of that name; two of a name count once."""
    out: dict[str, NDArray[np.bool_]] = {}
    for thing in shown.truth.get("objects", ()):
        name, covered = str(thing["name"]), thing["patches"] >= COVERED
        out[name] = covered | out[name] if name in out else covered
    return out


def _written(shown: EvidenceSample) -> str:
    """All its text, in small letters."""
    text = np.flatnonzero(shown.kinds == Kind.TEXT)
    return "".join(shown.tokens[i] for i in text).lower()


def _on(exemplar: Exemplar, kinds: tuple[Kind, ...]) -> float:
    return float(exemplar.activations[np.isin(exemplar.shown.kinds, kinds)].sum())


def named(shown: EvidenceSample, name: str) -> NDArray[np.bool_]:
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
