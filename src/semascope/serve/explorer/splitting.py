"""Feature splitting: a feature's parents in narrower dictionaries and children in wider ones.

The dictionaries of a site form a family. It is opened when one of its features is first asked
about, and opened again when evidence is gathered anew. Holds no tensor.
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
    """What ``name`` is: words of the atlas, the known concept that it detects best, or the token
    at which it fires most."""
    f1: float | None = None
    """F1 of its firing as a detector of the concept, where ``by`` is ``concept``."""
    held: bool = False
    """Whether the atlas has it, so that it has a page."""
    cosine: float | None = None
    """Cosine of its direction and its parent's; null without a parent."""
    together: float | None = None
    """Jaccard overlap of the tokens on which it and its parent fire."""
    within: float | None = None
    """Share of its samples on which its parent fires too."""
    usual: float | None = None
    """Share of all samples on which its parent fires."""
    leaves: int = 1
    """How many features it has split into in the widest dictionary."""
    more: int = 0
    """How many children are not listed."""
    children: list[BranchRecord] = Field(default_factory=list)
    """Nearest first."""


class SplittingRecord(Record):
    """A feature's ancestors and descendants in the dictionaries of its site."""

    feature: str
    threshold: float
    """Least cosine of a feature and its parent."""
    widths: list[WidthRecord] = Field(default_factory=list)
    """Narrowest first; empty where the site has one width only."""
    ancestors: list[BranchRecord] = Field(default_factory=list)
    """Its parent, its parent's parent and so on, narrowest first, without other children."""
    nearest: float | None = None
    """Largest cosine with a feature of the next narrower dictionary, above ``threshold`` or not."""
    tree: BranchRecord | None = None
    """The feature with its children; null where it never fired or has no family."""


class SplittingFamilies:
    """The families of dictionaries of one workspace."""

    def __init__(self, workspace: Workspace, feature_index: FeatureIndex) -> None:
        self.workspace = workspace
        self.feature_index = feature_index
        self._lock = threading.Lock()  # so that two pages at once open a family once
        self._gathered: tuple[int, ...] = ()
        self._lines: dict[str, Lineage | None] = {}

    def of(self, feature_id: str, query: SplittingQuery) -> SplittingRecord:
        """One feature's place. NotThere where neither the atlas nor its family has it."""
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
            record = SplittingRecord(feature=feature_id, threshold=query.threshold, widths=widths)
            if index not in line.alive[place]:
                return record
            tree = line.at(query.threshold).tree(place, index, query.children)
            nearest = line.nearest(place, index)
        ancestors, node = _parted(tree)
        rows = self._rows([*ancestors, node])
        return record.model_copy(
            update={
                "ancestors": [_branch(one, rows, below=False) for one in ancestors],
                "nearest": None if nearest is None else round(nearest[1], 4),
                "tree": _branch(node, rows),
            }
        )

    def _line(self, key: str) -> Lineage | None:
        """A dictionary's family; None where it has no sibling or no evidence."""
        from semascope.pipeline.lineage import lineage, members

        if (stamp := self._stamp()) != self._gathered:  # evidence was gathered again
            self._gathered, self._lines = stamp, {}
        if not stamp:
            return None
        if key not in self._lines:
            if key not in self._keys():
                return None
            site = key.rpartition("/")[0]
            family = members(self.workspace, site, key)
            line = None
            if len(family) > 1:
                line = lineage(self.workspace, site, found=family)
                line.let_go()
                for one in family:
                    self._lines.setdefault(one.key, line)
            self._lines[key] = line
        return self._lines[key]

    def _stamp(self) -> tuple[int, ...]:
        """Changes when evidence is gathered again; empty where there is none."""
        try:
            gathering = (self.workspace.evidence() / "gathering.json").stat()
        except OSError:
            return ()
        return gathering.st_mtime_ns, gathering.st_ino, gathering.st_size

    def _keys(self) -> tuple[str, ...]:
        from semascope.evidence.store.evidence import dictionaries

        return dictionaries(self.workspace.evidence())

    def _known(self, key: str, index: int) -> None:
        if (key, index) not in self._held([(key, index)]):
            raise NotThere(f"There is no feature '{key}/{index}' here.")

    def _rows(self, trees: list[dict[str, Any]]) -> Rows:
        return self._held([split_id(str(node["feature"])) for t in trees for node in _nodes(t)])

    def _held(self, features: list[Feature]) -> Rows:
        """Rows of the features that the atlas holds."""
        there = {row.key for row in self.feature_index.atlas.dictionaries()}
        return self.feature_index.rows({one for one in features if one[0] in there})


def _parted(tree: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The ancestors, and the feature that was asked about with its children."""
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
    figures = {key: node[key] for key in _FIGURES if key in node}
    return BranchRecord(
        id=node["feature"],
        name=name,
        by=by,
        f1=node.get("f1") if by == "concept" else None,
        held=row is not None,
        cosine=round(node["cosine"], 4) if "cosine" in node else None,
        children=[_branch(child, rows) for child in node["children"]] if below else [],
        **figures,
    )


_FIGURES = ("together", "within", "usual", "leaves", "more")
_BY: Mapping[str, Named] = {"words": "words", "strongest token": "token", "": "nothing"}
