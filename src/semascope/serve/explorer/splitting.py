"""What a feature comes from in narrower dictionaries and becomes in wider ones, as records.

The family of a site is opened when one of its features is first asked about, and kept for as long
as its gathering stands. Joins ``evidence.lineage`` with the atlas's words; holds no tensor.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from semascope.atlas.records import FeatureListRow, split_id
from semascope.errors import NotThere
from semascope.serve.explorer.feature_index import Feature, FeatureIndex
from semascope.serve.schema.requests import SplittingQuery
from semascope.serve.schema.responses import Record
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from semascope.evidence.analysis.lineage import Lineage

Rows = Mapping[Feature, FeatureListRow]
Named = Literal["words", "concept", "token", "nothing"]


class WidthRecord(Record):
    """One dictionary of a family."""

    id: str
    """``site/name``."""
    width: int
    alive: int


class BranchRecord(Record):
    """A feature and what it becomes in the next wider dictionary."""

    id: str
    name: str = ""
    by: Named = "nothing"
    """What ``name`` is: words of the atlas, the known concept that its firing tells best, or the
    token that it fires most at."""
    f1: float | None = None
    """How well its firing tells the concept, where ``by`` is ``concept``."""
    held: bool = False
    """Whether the atlas holds it, so that it has a page."""
    cosine: float | None = None
    """Of its direction with that of the feature it comes from; null where it comes from none."""
    together: float | None = None
    """Jaccard overlap of the tokens on which it and that feature fire."""
    within: float | None = None
    """The part of its samples on which that feature fires too."""
    usual: float | None = None
    """The part of all samples on which that feature fires."""
    leaves: int = 1
    """How many features it has become in the end."""
    more: int = 0
    """How many children are left out."""
    children: list[BranchRecord] = Field(default_factory=list)
    """Nearest first."""


class SplittingRecord(Record):
    """Where a feature stands in the family of widths at its site."""

    feature: str
    threshold: float
    """Cosine from which a feature comes from another."""
    widths: list[WidthRecord] = Field(default_factory=list)
    """Narrowest first; empty where there is one width only."""
    ancestors: list[BranchRecord] = Field(default_factory=list)
    """The line that leads to it, the narrowest first, without their other children."""
    nearest: float | None = None
    """The greatest cosine with a feature of the next narrower dictionary, near enough or not."""
    tree: BranchRecord | None = None
    """The feature with what it becomes; null where it never fired, or has no family."""


class SplittingFamilies:
    """The families of one workspace."""

    def __init__(self, workspace: Workspace, words: FeatureIndex) -> None:
        self.workspace = workspace
        self.words = words
        self._lock = threading.Lock()  # two pages at once open a family once
        self._gathered: tuple[int, ...] = ()
        self._lines: dict[str, Lineage | None] = {}

    def of(self, feature_id: str, query: SplittingQuery) -> SplittingRecord:
        """One feature's; NotThere where neither the atlas nor its family has it."""
        key, index = split_id(feature_id)
        with self._lock:
            line = self._line(key)
            if line is None:
                self._known(key, index)
                return SplittingRecord(feature=feature_id, threshold=query.threshold)
            place = [one.key for one in line.members].index(key)
            if index >= line.members[place].width:
                raise NotThere(f"There is no feature {feature_id!r} here.")
            widths = [
                WidthRecord(id=one.key, width=one.width, alive=len(alive))
                for one, alive in zip(line.members, line.alive, strict=True)
            ]
            told = SplittingRecord(feature=feature_id, threshold=query.threshold, widths=widths)
            if index not in line.alive[place]:
                return told
            tree = line.at(query.threshold).tree(place, index, query.children)
            nearest = line.nearest(place, index)
        line_down, own = _parted(tree)
        rows = self._rows([*line_down, own])
        return told.model_copy(
            update={
                "ancestors": [_branch(node, rows, below=False) for node in line_down],
                "nearest": None if nearest is None else round(nearest[1], 4),
                "tree": _branch(own, rows),
            }
        )

    def _line(self, key: str) -> Lineage | None:
        """The family of a dictionary; None where it is alone, or nothing was gathered for it."""
        from semascope.pipeline.lineage import lineage, members

        if (stamp := self._stamp()) != self._gathered:  # gathered again: all is new
            self._gathered, self._lines = stamp, {}
        if not stamp:
            return None
        if key not in self._lines:
            if key not in self._keys():
                return None
            site = key.rpartition("/")[0]
            found = members(self.workspace, site, key)
            line = None
            if len(found) > 1:
                line = lineage(self.workspace, site, found=found)
                line.let_go()
                for one in found:
                    self._lines.setdefault(one.key, line)
            self._lines[key] = line
        return self._lines[key]

    def _stamp(self) -> tuple[int, ...]:
        """Which gathering it is; empty where there is none."""
        try:
            told = (self.workspace.evidence() / "gathering.json").stat()
        except OSError:
            return ()
        return told.st_mtime_ns, told.st_ino, told.st_size

    def _keys(self) -> tuple[str, ...]:
        from semascope.evidence.store.evidence import dictionaries

        return dictionaries(self.workspace.evidence())

    def _known(self, key: str, index: int) -> None:
        if (key, index) not in self._held([(key, index)]):
            raise NotThere(f"There is no feature '{key}/{index}' here.")

    def _rows(self, trees: list[dict[str, Any]]) -> Rows:
        return self._held([split_id(str(node["feature"])) for t in trees for node in _nodes(t)])

    def _held(self, features: list[Feature]) -> Rows:
        """Of these, the rows of those that the atlas holds."""
        there = {row.key for row in self.words.atlas.dictionaries()}
        return self.words.rows({one for one in features if one[0] in there})


def _parted(tree: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The line of ancestors, and the feature that was asked about with all below it."""
    line = []
    while not tree["asked"]:
        line.append(tree)
        (tree,) = tree["children"]
    return line, tree


def _nodes(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield tree
    for child in tree["children"]:
        yield from _nodes(child)


def _branch(node: dict[str, Any], rows: Rows, *, below: bool = True) -> BranchRecord:
    row = rows.get(split_id(str(node["feature"])))
    name, by = node["name"], _BY.get(node["by"], "concept")
    if row is not None and not row.abstained and (row.label or row.description):
        name, by = row.label or row.description, "words"
    return BranchRecord(
        id=node["feature"],
        name=name,
        by=by,
        f1=node.get("f1") if by == "concept" else None,
        held=row is not None,
        cosine=round(node["cosine"], 4) if "cosine" in node else None,
        together=node.get("together"),
        within=node.get("within"),
        usual=node.get("usual"),
        leaves=node["leaves"],
        more=node["more"],
        children=[_branch(child, rows) for child in node["children"]] if below else [],
    )


_BY: Mapping[str, Named] = {"words": "words", "strongest token": "token", "": "nothing"}
