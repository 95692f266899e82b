"""What the features of one width become in the next: a gathering's family as plain records.

Joins the match of directions (``splitting``) with what was seen: how far parent and child fire on
the same tokens, and what either is called. Knows evidence and directions; knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.analysis.concepts import firing, match, telling
from semascope.evidence.analysis.families import FIELDS
from semascope.evidence.analysis.splitting import (
    ParentFeatures,
    SplittingBranch,
    grow,
    leaves,
    levels,
)
from semascope.evidence.gathering.neighbours import overlap
from semascope.evidence.store.evidence import Evidence
from semascope.subject.types import Kind

NAMED = 0.3
"""F1 from which a feature without words is called by the concept that it tells best."""
BAR = 0.5
"""Held-out F1 from which a concept is said to have a feature, as in completeness."""
_ANY = -2.0
"""A threshold that every cosine reaches."""

Words = Mapping[tuple[str, int], str]


@dataclass(frozen=True, slots=True)
class ConceptFeature:
    """The feature that stands for a concept."""

    place: int
    """Which dictionary of the family."""
    index: int
    concept: str
    why: str


class Lineage:
    """The dictionaries of one site and one gathering, narrowest first, and how they follow.

    ``dictionaries`` are those of ``members``, in the same order, whatever order that is. ``words``
    is what features are called, by (site/name, number). EvidenceError where there are not two
    widths.
    """

    def __init__(
        self,
        members: Sequence[Evidence],
        dictionaries: Sequence[Dictionary],
        *,
        words: Words | None = None,
        threshold: float = 0.6,
    ) -> None:
        by_width: dict[int, tuple[Evidence, Dictionary]] = {}
        for member, dictionary in zip(members, dictionaries, strict=True):
            by_width.setdefault(member.width, (member, dictionary))
        ordered = [by_width[width] for width in sorted(by_width)]
        self.members = [member for member, _ in ordered]
        self._dictionaries = [dictionary for _, dictionary in ordered]
        self.threshold, self.words = threshold, words or {}
        self.field = "name"  # of the concepts that features without words are called by
        self.alive = [member.alive() for member in self.members]
        self._nearest = levels(self._dictionaries, threshold=_ANY, alive=self.alive)
        self.levels = _cut(self._nearest, threshold)
        self._telling: dict[int, list[tuple[str, float]]] = {}
        self._fires: dict[int, sp.csc_matrix] = {}

    def at(self, threshold: float) -> Lineage:
        """The same family at another threshold; nothing is loaded or matched again."""
        other = copy(self)
        other.threshold, other.levels = threshold, _cut(self._nearest, threshold)
        return other

    def let_go(self) -> None:
        """Drop the dictionaries, which trees need no longer; ``steps`` then knows no chance."""
        self._dictionaries = []

    def steps(self, seed: int = 0) -> list[dict[str, Any]]:
        """One record a pair of neighbouring widths, as JSON values.

        ``kept`` features have one child, ``split`` several, ``ended`` none; ``new`` have no
        parent. ``chance``: the share of the wider's features that find a parent when the
        coordinates of the narrower's directions are shuffled; ``found`` is the share that does.
        """
        rng = np.random.default_rng(seed)
        out = []
        for place, step in enumerate(self.levels):
            children = self._children(step, self.alive[place])
            count = np.array([len(some) for some in children.values()])
            new = step.ids[step.parent < 0]
            out.append(
                {
                    "narrow": self.members[place].key,
                    "wide": self.members[place + 1].key,
                    "alive": [len(self.alive[place]), len(step.ids)],
                    "kept": int((count == 1).sum()),
                    "split": int((count > 1).sum()),
                    "ended": int((count == 0).sum()),
                    "new": len(new),
                    "found": _share(len(step.ids) - len(new), len(step.ids)),
                    "chance": self._chance(place, rng),
                    **self._along(place, step),
                    "becomes": {str(i): some for i, some in children.items() if some},
                    "new_features": new.tolist(),
                }
            )
        return out

    def most(self, count: int) -> list[tuple[int, int]]:
        """(feature of the narrowest, how many it has become in the end), the most first."""
        became = leaves(self.levels, self.alive[0])
        order = np.lexsort((self.alive[0], -became))[:count]
        return [(int(self.alive[0][i]), int(became[i])) for i in order]

    def ancestors(self, place: int, index: int) -> list[tuple[int, int]]:
        """(place, feature) from the first that it comes from down to itself."""
        line = [(place, index)]
        while place:
            step = self.levels[place - 1]
            at = np.flatnonzero(step.ids == index)
            if not len(at) or step.parent[at[0]] < 0:
                break
            place, index = place - 1, int(step.parent[at[0]])
            line.append((place, index))
        return line[::-1]

    def nearest(self, place: int, index: int) -> tuple[int, float] | None:
        """The nearest feature of the next narrower dictionary and its cosine, near enough or not.

        None in the narrowest, and for a feature that never fired.
        """
        if not place:
            return None
        step = self._nearest[place - 1]
        at = np.flatnonzero(step.ids == index)
        if not len(at):
            return None
        return int(step.parent[at[0]]), float(step.cosine[at[0]])

    @cached_property
    def concepts(self) -> dict[str, str]:
        """Every known concept of the scenes in small letters, and which field it is of."""
        shown = self.members[0].shown
        things = [o for n in range(len(shown)) for o in shown.get(n).truth.get("objects", ())]
        out: dict[str, str] = {}
        for field in FIELDS:
            for thing in things:
                if thing.get(field):
                    out.setdefault(str(thing[field]).lower(), field)
        return out

    def known(self, concept: str) -> ConceptFeature | None:
        """Of the narrowest dictionary that has one, the feature that tells a known concept.

        Chosen on one half of the scenes and judged on the other. None where no scene shows it, and
        where no feature of any dictionary is right about it even once.
        """
        field = self.concepts.get(concept.lower())
        if field is None:
            return None
        best, at = None, 0
        for place, member in enumerate(self.members):
            found = match(member, field=field, least=1)
            mine = [c for c in found if c.name.lower() == concept.lower() and c.feature >= 0]
            if mine and (best is None or mine[0].f1 > best.f1):
                best, at = mine[0], place
            if best is not None and best.f1 >= BAR:
                break
        if best is None or best.f1 == 0:
            return None
        why = f"tells {field} {best.name!r} best, F1 {best.f1:.2f} on scenes held out"
        return ConceptFeature(at, best.feature, best.name, why)

    def apart(
        self, found: ConceptFeature, tree: Mapping[str, Any], most: int
    ) -> list[dict[str, Any]]:
        """Features that tell a concept as well, and are not of its feature's tree, best first."""
        field = self.concepts[found.concept.lower()]
        inside, out = set(_ids(tree)), []
        for place, member in enumerate(self.members):
            told = telling(member, field)
            mine = [i for i in self.alive[place].tolist() if told[i][0] == found.concept]
            for i in sorted((i for i in mine if told[i][1] >= NAMED), key=lambda i: -told[i][1]):
                if f"{member.key}/{i}" not in inside:
                    line = self.ancestors(place, i)
                    came = f"{self.members[line[-2][0]].key}/{line[-2][1]}" if line[1:] else ""
                    out.append(self.called(place, i) | {"f1": told[i][1], "from": came})
        return sorted(out, key=lambda one: -one["f1"])[:most]

    def tree(self, place: int, index: int, most: int = 6) -> dict[str, Any]:
        """What one feature comes from and becomes, as JSON values.

        ``cosine`` and ``together`` (Jaccard overlap of tokens, null where unknown) are to the
        parent; ``within`` is the share of the feature's samples on which the parent fires too,
        ``usual`` that of all samples. At most so many ``children`` a feature, nearest first; of
        ancestors only the line that leads here; ``more`` counts those left out.
        """
        if not 0 <= place < len(self.members) or index not in self.alive[place]:
            key = self.members[place].key
            raise EvidenceError(f"{key}/{index} never fired, or is no feature: it has no tree.")
        line = self.ancestors(place, index)
        first, root = line[0]
        keys = [str(at) for at in range(first, len(self.members))]
        return self._record(grow(keys, self.levels[first:], root), None, dict(line), most)

    def _record(
        self,
        branch: SplittingBranch,
        above: tuple[int, int] | None,
        line: dict[int, int],
        most: int,
    ) -> dict[str, Any]:
        at = int(branch.dictionary)
        children = branch.children
        if at + 1 in line:  # an ancestor: the others of its children are another story
            shown = [c for c in children if c.index == line[at + 1]]
        else:
            shown = children[:most]
        edge: dict[str, Any] = {} if above is None else {"cosine": branch.cosine}
        if above is not None:
            edge |= self._edge(above, (at, branch.index))
        return {
            **self.called(at, branch.index),
            **edge,
            "leaves": branch.leaves(),
            "asked": at == max(line) and branch.index == line[at],
            "more": len(children) - len(shown),
            "children": [self._record(c, (at, branch.index), line, most) for c in shown],
        }

    def called(self, place: int, index: int) -> dict[str, Any]:
        """A feature by its place and number: its id, what to call it, and where that is from.

        ``f1`` is there where that is a concept.
        """
        member = self.members[place]
        about = {"feature": f"{member.key}/{index}", "place": place}
        words = self.words.get((member.key, index), "")
        if words:
            return about | {"name": words, "by": "words"}
        if place not in self._telling:
            self._telling[place] = telling(member, self.field)
        concept, f1 = self._telling[place][index]
        if f1 >= NAMED:
            return about | {"name": concept, "by": f"F1 {f1:.2f}", "f1": round(f1, 4)}
        token = _token(member, index)
        return about | {"name": token, "by": "strongest token" if token else ""}

    def _edge(self, above: tuple[int, int], below: tuple[int, int]) -> dict[str, Any]:
        parent, child = (self._samples(*one) for one in (above, below))
        together = self._together(
            above[0], np.array([above[1]], np.int64), np.array([below[1]], np.int64)
        )
        return {
            "together": None if together is None else _known(float(together[0])),
            "within": _share(len(np.intersect1d(parent, child)), len(child)),
            "usual": _share(len(parent), len(self.members[0].shown)),
        }

    def _along(self, place: int, step: ParentFeatures) -> dict[str, Any]:
        """How near children are to their parents, and how far the two fire together."""
        has = step.parent >= 0
        together = self._together(place, step.parent[has], step.ids[has])
        return {
            "cosine": _middle(step.cosine[has]),
            "together": None if together is None else _middle(together),
        }

    def _together(
        self, place: int, narrow: NDArray[np.int64], wide: NDArray[np.int64]
    ) -> NDArray[np.float32] | None:
        below, above = self.members[place].sketch(), self.members[place + 1].sketch()
        if below is None or above is None:
            return None
        return overlap(below[narrow], above[wide])

    def _samples(self, place: int, index: int) -> NDArray[np.int32]:
        """Shown samples on which a feature fires, rising."""
        if place not in self._fires:
            self._fires[place] = firing(self.members[place]).tocsc()
        table = self._fires[place]
        out: NDArray[np.int32] = table.indices[table.indptr[index] : table.indptr[index + 1]]
        return np.sort(out)

    def _chance(self, place: int, rng: np.random.Generator) -> float | None:
        if not self._dictionaries:
            return None
        narrow, step = self._dictionaries[place], self.levels[place]
        found = levels(
            [cast(Dictionary, _Shuffled(narrow, rng)), self._dictionaries[place + 1]],
            threshold=self.threshold,
            alive=self.alive[place : place + 2],
        )[0]
        return _share(int((found.parent >= 0).sum()), len(step.ids))

    @staticmethod
    def _children(
        step: ParentFeatures, narrow: NDArray[np.int64]
    ) -> dict[int, list[dict[str, Any]]]:
        """What every alive feature of the narrower becomes, nearest first."""
        out: dict[int, list[dict[str, Any]]] = {int(i): [] for i in narrow}
        for i in np.argsort(-step.cosine, kind="stable").tolist():
            if step.parent[i] >= 0:
                one = {"feature": int(step.ids[i]), "cosine": round(float(step.cosine[i]), 4)}
                out[int(step.parent[i])].append(one)
        return out


class _Shuffled:
    """A dictionary whose directions have their coordinates shuffled, all alike: a control."""

    def __init__(self, inner: Dictionary, rng: np.random.Generator) -> None:
        self.name, self.width, self._inner, self._rng = inner.name, inner.width, inner, rng

    def directions(self, ids: torch.Tensor) -> torch.Tensor:
        rows = self._inner.directions(ids)
        return rows[:, torch.from_numpy(self._rng.permutation(rows.shape[1]))]


def _cut(nearest: Sequence[ParentFeatures], threshold: float) -> list[ParentFeatures]:
    """Only those parents that are near enough."""
    return [
        step._replace(parent=np.where(step.cosine >= threshold, step.parent, -1))
        for step in nearest
    ]


def _ids(tree: Mapping[str, Any]) -> list[str]:
    return [str(tree["feature"]), *(i for child in tree["children"] for i in _ids(child))]


def _token(member: Evidence, index: int) -> str:
    """Where its strongest sample fires most: the token, or that it is a picture."""
    top = member.feature(index).top
    if not top:
        return ""
    at = int(top[0].activations.argmax())
    if top[0].shown.kinds[at] in (Kind.IMAGE, Kind.TILE):
        return "on pictures"
    return f"“{top[0].shown.tokens[at].strip()}”"


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _known(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _middle(values: NDArray[np.float32]) -> float | None:
    """The median of those that are known."""
    finite = values[np.isfinite(values)]
    return _known(float(np.median(finite))) if len(finite) else None
