"""What the verbs about causes share: a run's model, its dictionaries, names, and where files go.

Knows a workspace and its atlas; nothing of how attribution or steering is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from semascope.cli.base import InWorkspace
from semascope.errors import CausalError

if TYPE_CHECKING:
    from semascope.api.run import OpenRun
    from semascope.causal import Region, SteerableModel
    from semascope.corpus.sample import Sample
    from semascope.pipeline.run_context import Run
    from semascope.subject import Subject
    from semascope.workspace import Workspace

Feature = tuple[str, int]
SCORES = ("detection", "iou", "simulation")
"""By which features are best, in this order of preference."""
ARTICLE = re.compile(r"^(a|an|the|some)\s+", re.IGNORECASE)


class CausalVerb(InWorkspace):
    """Base of the verbs that run the model with a run's features."""

    device: str = "auto"
    """auto, cpu, cuda…"""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def opened(self, stage: str = "gather") -> Opened:
        """The run, once ``stage`` is done."""
        self.space.require(stage)
        return Opened(self.space, self.device)


class Opened:
    """A run as the causal verbs use it; what is heavy is loaded when first asked for."""

    def __init__(self, space: Workspace, device: str = "auto") -> None:
        """Name the workspace; nothing is loaded yet."""
        self.space, self.device = space, device

    @cached_property
    def front(self) -> OpenRun:
        """The run as Python opens it."""
        from semascope.api.run import OpenRun

        return OpenRun.of_workspace(self.space, self.device)

    @property
    def run(self) -> Run:
        """The run with its recorded options, on the device asked for."""
        return self.front.pipeline

    @property
    def key(self) -> str:
        """``site/name`` of the run's dictionary."""
        return self.run.dictionary_id

    @property
    def steerable(self) -> SteerableModel:
        """The model with every dictionary of the run that evidence was gathered for."""
        return self.front.steerable

    @cached_property
    def labels(self) -> dict[Feature, str]:
        """What the atlas calls the features; empty before the run is indexed."""
        from semascope.atlas import Atlas

        if not self.space.atlas.exists():
            return {}
        with Atlas.open(self.space.atlas, readonly=True) as atlas:
            return {
                (row.key, index): label or description
                for row in atlas.dictionaries()
                for index, label, description in atlas.words(row.key)
            }

    def search(self, words: str, limit: int = 24) -> list[Feature]:
        """Features by meaning, nearest first; none where nothing was indexed."""
        from semascope.atlas.records import split_id
        from semascope.errors import WorkspaceError
        from semascope.pipeline import search

        try:
            return [split_id(str(row["id"])) for row in search(self.space, words, limit)]
        except WorkspaceError:
            return []

    def feature(self, word: str) -> Feature:
        """A feature from its number (of the run's dictionary), its id, or words."""
        return self.front.resolve(word)

    def objects(self, count: int) -> list[tuple[tuple[Feature, ...], str]]:
        """The best-scored features of objects, each with others of its concept, and the concept.

        How many things there are is no object: nobody sees "six things" in an empty picture; and
        what was never under the heat of a held-out picture (IoU) is none that the subject sees."""
        from semascope.explain.text.hypernyms import tells_number

        seen = self._scored("iou")
        ranked = [
            (f, concept)
            for f, concept in self._ranked("object")
            if not tells_number(concept) and (seen is None or f in seen)
        ]
        by_concept: dict[str, list[Feature]] = {}
        for feature, concept in ranked:
            by_concept.setdefault(concept, []).append(feature)
        return [
            ((feature, *(other for other in by_concept[concept] if other != feature)), concept)
            for feature, concept in ranked[:count]
        ]

    @staticmethod
    def instances(concepts: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Names of things of each kind: of "person", woman and teacher among others."""
        from semascope.explain.text import hypernyms as kinds

        keys = {concept: kinds.key_of(concept) for concept in concepts}
        of_kind: dict[str, list[str]] = {}
        for name, above in kinds.table().items():
            for key in above:
                of_kind.setdefault(key, []).append(name)
        return {concept: tuple(of_kind.get(key, ())) for concept, key in keys.items()}

    def _scored(self, kind: str) -> set[Feature] | None:
        """Features with more than nothing of a score; None where nothing was scored so."""
        from semascope.atlas import Atlas

        self.space.require("index")
        with Atlas.open(self.space.atlas, readonly=True) as atlas:
            if kind not in atlas.score_kinds(self.key):
                return None
            rows = atlas.features(self.key, sort=f"-{kind}", limit=100_000).rows
        return {
            (row.dictionary, row.index)
            for row in rows
            if kind in row.scores and row.scores[kind].value > 0
        }

    def emotions(self, count: int = 4) -> list[Feature]:
        """The best-scored features of emotions, else what a search for emotions finds."""
        ranked = [feature for feature, _ in self._ranked("emotion")]
        return (ranked or self.search("emotion, a feeling, a face that smiles or cries"))[:count]

    def _ranked(self, category: str, order: Sequence[str] = SCORES) -> list[tuple[Feature, str]]:
        """Features of a category with their concepts, best-scored first."""
        from semascope.atlas import Atlas

        self.space.require("index")
        with Atlas.open(self.space.atlas, readonly=True) as atlas:
            kinds = atlas.score_kinds(self.key)
            sort = next((f"-{kind}" for kind in SCORES if kind in kinds), "-confidence")
            where = {"category": category, "alive": True, "explained": True}
            page = atlas.features(self.key, sort=sort, where=where, limit=100_000)
        named = [((row.dictionary, row.index), concept_of(row.label)) for row in page.rows]
        return [(feature, concept) for feature, concept in named if concept]

    def folder(self, *names: str) -> Path:
        """The folder for results of that name, made where it is not there yet."""
        from semascope.files import disk_guard

        folder = self.space.results(*names)
        with disk_guard(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder


def concept_of(label: str) -> str:
    """What a person would call it: the label's first noun phrase without its article."""
    first = re.split(r",|;|\(| and | or ", label)[0].strip().lower()
    return ARTICLE.sub("", first)


def slug(text: str) -> str:
    """A short name for a file."""
    from semascope.causal.search.ledger import stamp

    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")
    return f"{words or 'asked'}-{stamp(text)[:6]}"


def region_of(text: str) -> Region:
    """A region from ``left,top,right,bottom`` in pixels, with ``@2`` for the third picture."""
    from pydantic import ValidationError

    from semascope.causal import Region

    box, _, image = text.partition("@")
    try:
        left, top, right, bottom = (float(part) for part in box.split(","))
        return Region(left=left, top=top, right=right, bottom=bottom, image=int(image or 0))
    except ValidationError as error:
        raise CausalError(f"{error.errors()[0]['msg']} (--region {text})") from error
    except ValueError as error:
        raise CausalError(
            f"--region {text!r} is no box: write left,top,right,bottom in pixels, as 0,0,64,64."
        ) from error


def asked_of(subject: Subject, picture: str, question: str) -> dict[str, str]:
    """Picture and question, with what is asked where they are left out: of the first scene where
    the subject sees, and of no picture where it reads text only."""
    usual = (
        ("scene:1", "What is in the picture?") if subject.has_vision else ("none", "What is a dog?")
    )
    question = question or (usual[1] if picture != "none" else "What is a dog?")
    return {"picture": picture or usual[0], "question": question}


def sample_of(picture: str, question: str) -> Sample:
    """A question about a picture: a file, scene:SEED, blank, or none."""
    from semascope.corpus.prompts import pictures_of
    from semascope.corpus.sample import Sample, Turn

    images = pictures_of(picture)
    turn = Turn("user", question, images=len(images))
    return Sample(id=f"asked/{picture}", turns=(turn,), images=images)


def signed(value: float) -> str:
    """A score for a table."""
    return f"{value:+.4g}"


def rows_of(console: Any, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console.print(table)
