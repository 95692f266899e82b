"""The dictionaries of several widths at one site of a workspace, opened as a ``Lineage``.

For whoever asks what features become in wider dictionaries: a verb, a server. Loads the
dictionaries; no model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semascope.errors import EvidenceError

if TYPE_CHECKING:
    from semascope.evidence import Evidence
    from semascope.evidence.analysis.lineage import Lineage, Words
    from semascope.workspace import Workspace

FAMILY = (
    "Splitting needs dictionaries of two widths or more at one site, and {where} has {what}. Train "
    "a family and gather its evidence: semascope train --widths 1x 4x 16x --workspace "
    "workspace/family; semascope gather --workspace workspace/family"
)


def members(space: Workspace, site: str, key: str = "") -> list[Evidence]:
    """The evidence of a site's dictionaries, one a width, the narrowest first.

    Where two are of one width, ``key`` (``site/name``) is taken before one that is called like
    it, and that before any other. EvidenceError where nothing was gathered, or not at this site.
    """
    from semascope.evidence.analysis.families import family

    every = family(space.evidence())
    mine = [one for one in every if _site(one.key) == site]
    if not mine:
        there = ", ".join(dict.fromkeys(_site(one.key) for one in every))
        raise EvidenceError(f"No dictionary at {site} was gathered; there are: {there}.")
    by_width: dict[int, Evidence] = {}
    for one in sorted(mine, key=lambda one: (one.key != key, _stem(one.key) != _stem(key))):
        by_width.setdefault(one.width, one)
    return [by_width[width] for width in sorted(by_width)]


def lineage(
    space: Workspace,
    site: str,
    *,
    found: Sequence[Evidence] | None = None,
    words: Words | None = None,
    threshold: float = 0.6,
) -> Lineage:
    """How the widths of a site follow each other; ``found`` are its ``members``, where known.

    EvidenceError, with what to run, where there is one width only.
    """
    from semascope.dictionary import load
    from semascope.evidence.analysis.lineage import Lineage

    ones = members(space, site) if found is None else list(found)
    if len(ones) < 2:
        what = f"one: {ones[0].key}, {ones[0].width} features"
        raise EvidenceError(FAMILY.format(where=space.root, what=what))
    loaded = [load(space.dictionary(*one.key.rsplit("/", 1))) for one in ones]
    return Lineage(ones, loaded, words=words, threshold=threshold)


def _site(key: str) -> str:
    return key.rpartition("/")[0]


def _stem(key: str) -> str:
    """``site/main`` of ``site/main-4x``."""
    return key.rpartition("-")[0]
