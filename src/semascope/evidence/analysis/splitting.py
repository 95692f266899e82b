"""How one feature becomes several as dictionaries grow wider, and which features are new.

Features of two widths are matched by the cosine of their directions: a feature of the wider one
is a child of the nearest feature of the narrower one, where the cosine reaches a threshold, and
new where none does (feature splitting, Bricken et al. 2023). Knows directions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError

_BLOCK = 1024


class ParentFeatures(NamedTuple):
    """For each of the m features of the wider dictionary that were asked about."""

    ids: NDArray[np.int64]
    """(m,) their numbers."""
    parent: NDArray[np.int64]
    """(m,) the nearest feature of the narrower one, −1 where the feature is new."""
    cosine: NDArray[np.float32]
    """(m,) how near it is, also where that is not near enough."""


@dataclass(slots=True)
class SplittingBranch:
    """A feature and what it becomes in the next wider dictionary."""

    dictionary: str
    index: int
    cosine: float
    """To its parent; 1 at the root."""
    children: list[SplittingBranch] = field(default_factory=list)

    def leaves(self) -> int:
        """How many features it has become in the end; a feature that ends early counts as one."""
        return sum(child.leaves() for child in self.children) or 1


@torch.inference_mode()
def parents(
    narrow: Dictionary,
    wide: Dictionary,
    *,
    threshold: float = 0.6,
    narrow_ids: NDArray[np.int64] | None = None,
    wide_ids: NDArray[np.int64] | None = None,
) -> ParentFeatures:
    """Match ``wide`` to ``narrow``; the ids are the alive features, all where not given.

    A random pair of directions in d dimensions has a cosine of about 1/√d, so .6 is far from
    chance at any d that models have. Raises EvidenceError where the spaces differ.
    """
    below = np.arange(narrow.width) if narrow_ids is None else np.asarray(narrow_ids, np.int64)
    above = np.arange(wide.width) if wide_ids is None else np.asarray(wide_ids, np.int64)
    if not len(below):
        raise EvidenceError(f"{narrow.name} has no feature that is alive: nothing can split.")
    base = _unit(narrow, below)
    parent, cosine = np.zeros(len(above), np.int64), np.zeros(len(above), np.float32)
    for first in range(0, len(above), _BLOCK):
        rows = _unit(wide, above[first : first + _BLOCK])
        if rows.shape[1] != base.shape[1]:
            raise EvidenceError(
                f"{narrow.name} and {wide.name} write into spaces of {base.shape[1]} and "
                f"{rows.shape[1]} dimensions: only dictionaries of one site can be compared."
            )
        best = (rows @ base.T).max(dim=1)
        parent[first : first + _BLOCK] = below[best.indices.cpu().numpy()]
        cosine[first : first + _BLOCK] = best.values.cpu().numpy()
    return ParentFeatures(above, np.where(cosine >= threshold, parent, -1), cosine)


def _unit(dictionary: Dictionary, ids: NDArray[np.int64]) -> torch.Tensor:
    rows = dictionary.directions(torch.from_numpy(ids)).float()  # (n, d)
    return torch.nn.functional.normalize(rows, dim=1)


def tree(
    family: Sequence[Dictionary],
    root: int,
    *,
    threshold: float = 0.6,
    alive: Sequence[NDArray[np.int64]] | None = None,
) -> SplittingBranch:
    """What feature ``root`` of the narrowest dictionary becomes through the family, by width.

    Children come nearest first. ``alive`` holds the alive features of each dictionary.
    """
    order = sorted(range(len(family)), key=lambda i: family[i].width)
    ordered = [family[i] for i in order]
    found = levels(ordered, threshold=threshold, alive=[alive[i] for i in order] if alive else None)
    return grow([one.name for one in ordered], found, root)


def levels(
    family: Sequence[Dictionary],
    *,
    threshold: float = 0.6,
    alive: Sequence[NDArray[np.int64]] | None = None,
) -> list[ParentFeatures]:
    """Each dictionary of a family, narrowest first, matched to the one before it; one fewer."""
    if len(family) < 2:
        raise EvidenceError("Splitting needs dictionaries of at least two widths.")
    return [
        parents(
            family[low],
            family[high],
            threshold=threshold,
            narrow_ids=alive[low] if alive else None,
            wide_ids=alive[high] if alive else None,
        )
        for low, high in pairwise(range(len(family)))
    ]


def grow(names: Sequence[str], found: Sequence[ParentFeatures], root: int) -> SplittingBranch:
    """The tree of one feature of the narrowest dictionary, from ``levels``; names by width."""
    trunk = SplittingBranch(names[0], root, 1.0)
    level = {root: trunk}
    for name, step in zip(names[1:], found, strict=True):
        following: dict[int, SplittingBranch] = {}
        mine = np.flatnonzero(np.isin(step.parent, list(level)))  # few, of a million features
        for i in mine[np.argsort(-step.cosine[mine], kind="stable")].tolist():
            branch = SplittingBranch(name, int(step.ids[i]), float(step.cosine[i]))
            level[int(step.parent[i])].children.append(branch)
            following[branch.index] = branch
        level = following
    return trunk


def leaves(found: Sequence[ParentFeatures], narrowest: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) how many features each of ``narrowest`` (n,) has become in the end."""
    below = {int(i): 1 for i in found[-1].ids}
    for step in reversed(found):
        above: dict[int, int] = {}
        for own, parent in zip(step.ids.tolist(), step.parent.tolist(), strict=True):
            above[parent] = above.get(parent, 0) + below.get(own, 1)
        below = above
    return np.array([below.get(i, 1) for i in narrowest.tolist()], np.int64)
