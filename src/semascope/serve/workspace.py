"""The Explorer over a workspace: atlas for words and figures, evidence for exemplars.

Joins what the rooms below hold and turns it into records; runs nothing. What runs the model
is handed to ``asker``, which loads it when first asked.
"""

from __future__ import annotations

import logging
import threading
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from semascope.atlas import Atlas, Embedder, Media, VectorIndex, embedder, search_features
from semascope.atlas.records import DictionaryRow
from semascope.atlas.records import FeatureRow as AtlasRow
from semascope.errors import AtlasError, EvidenceError, NotThere, ServeError
from semascope.evidence import Evidence
from semascope.explain.types import CATEGORIES
from semascope.serve import convert
from semascope.serve.asker import Asker
from semascope.serve.events import Emit, Reason
from semascope.serve.pictures import Pictures
from semascope.serve.questions import ChatAsk, CompareAsk, ListQuery, SearchQuery, WhyAsk
from semascope.serve.records import (
    DictionaryInfo,
    ExemplarRecord,
    FeatureList,
    FeaturePage,
    Neighbour,
    SubjectInfo,
    Upload,
)
from semascope.workspace import Workspace

log = logging.getLogger(__name__)
FIRST_SCORES = ("iou", "detection_auroc")
"""The order in which figures are offered; others follow by name."""
SMALL_WORDS = 24
QUESTIONS = [
    "What is in the picture?",
    "Describe the picture.",
    "What colour is it?",
    "How many things are there?",
]


class WorkspaceExplorer:
    """What the page sees of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.atlas = Atlas.open(workspace.atlas)
        self.media_store = Media(workspace.media)
        self.uploads = Pictures(workspace.root / "uploads")
        self.asker = Asker(workspace, self.picture)
        self._evidence: dict[str, Evidence] = {}
        self._vectors: dict[str, VectorIndex] = {}
        self._embedders: dict[str, Embedder] = {}
        self._loading = threading.Lock()
        self._small = lru_cache(maxsize=4_096)(self._small_exemplars)

    # -- looking ---------------------------------------------------------------------------

    @property
    def sessions_file(self) -> Path | None:
        """In the workspace, so that a conversation survives the server."""
        return self.workspace.root / "sessions.db"

    def info(self) -> SubjectInfo:
        """The run, its dictionaries, what can be done."""
        record = self.workspace.record()
        rows = self.atlas.dictionaries()
        why = self.asker.why_not()
        return SubjectInfo(
            name=record.subject or (rows[0].model if rows else "no model yet"),
            workspace=str(self.workspace.root),
            has_vision=self._sees,
            can_generate=not why,
            why_not=why,
            dictionaries=[self._dictionary_info(row) for row in rows],
            categories=list(CATEGORIES),
            score_kinds=self._score_kinds(),
            can_search=any(self._has_vectors(row.key) for row in rows),
            features=sum(row.width for row in rows),
            questions=QUESTIONS if self._sees else [],
        )

    def features(self, query: ListQuery) -> FeatureList:
        """One window, sorted and filtered by the database."""
        kinds = self._score_kinds()
        kind = query.score or (kinds[0] if kinds else "")
        if query.score and query.score not in kinds:
            raise ServeError(f"No score {query.score!r}; there are: {', '.join(kinds) or 'none'}.")
        sort = query.sort if query.sort != "score" else kind or "index"
        where: dict[str, Any] = {
            "category": query.category,
            "modality": query.modality,
            "alive": query.alive,
            "explained": query.explained,
            "text": query.words,
        }
        if query.min_score is not None and kind:
            where |= {"min_score": query.min_score, "score": kind}
        page = self.atlas.features(
            query.dictionary or None,
            sort=f"-{sort}" if query.order == "desc" else sort,
            where=where,
            offset=query.offset,
            limit=query.limit,
        )
        rows = [convert.feature(row, self._of(row)) for row in page.rows]
        return FeatureList(total=page.total, offset=query.offset, rows=rows)

    def search(self, query: SearchQuery) -> FeatureList:
        """By meaning, over one dictionary or all that have vectors."""
        keys = (
            [query.dictionary] if query.dictionary else [d.key for d in self.atlas.dictionaries()]
        )
        found = []
        for key in keys:
            vectors = self._vectors_of(key)
            found += search_features(
                self.atlas, vectors, query.q, query.limit, dictionary=key,
                embed=self._embedder(vectors.embedder),
            )  # fmt: skip
        found.sort(key=lambda match: -match.similarity)
        rows = [
            convert.feature(match.feature, self._of(match.feature), match.similarity)
            for match in found[: query.limit]
        ]
        return FeatureList(total=len(rows), offset=0, rows=rows)

    def feature(self, feature_id: str) -> FeaturePage:
        """All about one."""
        key, index = split_id(feature_id)
        try:
            detail = self.atlas.feature(key, index, exemplars=False)
        except AtlasError as error:
            raise NotThere(str(error)) from error
        page = FeaturePage(
            feature=convert.feature(detail.row, self._of(detail.row)),
            explanations=[convert.explanation(e) for e in detail.explanations],
            stats=convert.figures(detail.stats),
        )
        evidence = self._evidence_of(key)
        if evidence is None:
            return page
        found = evidence.feature(index)
        return page.model_copy(
            update={
                "top": [convert.exemplar(e) for e in found.top],
                "intervals": [convert.exemplar(e, tenth=True) for e in found.intervals],
                "silent": [convert.silent(s) for s in found.silent],
                "histogram": convert.histogram(*evidence.histogram(index)),
                "stats": convert.figures(found.stats),
                "neighbours": self._neighbours(evidence, key, index),
            }
        )

    def media(self, digest: str) -> Path:
        """A picture of the corpus, or one that was uploaded."""
        if digest in self.media_store:
            return self.media_store.path(digest)
        return self.uploads.path(digest)

    def warm(self) -> None:
        """Load what turns words into vectors, so that the first search does not wait for it."""
        for row in self.atlas.dictionaries():
            if self._has_vectors(row.key):
                self._embedder(self._vectors_of(row.key).embedder)

    def store(self, data: bytes) -> Upload:
        """Keep an upload beside the workspace's own pictures."""
        return self.uploads.put(data)

    def picture(self, digest: str) -> Any:
        """A stored picture, decoded."""
        from PIL import Image

        with Image.open(self.media(digest)) as image:
            return image.convert("RGB")

    # -- asking ----------------------------------------------------------------------------

    def compare(self, ask: CompareAsk, emit: Emit) -> None:
        """Unchanged and steered."""
        self.asker.compare(ask, emit)

    def chat(self, ask: ChatAsk, emit: Emit) -> None:
        """A conversation, continued."""
        self.asker.chat(ask, emit)

    def why(self, ask: WhyAsk, emit: Emit) -> None:
        """Reasons for a token, with the words that the atlas has for them."""
        found = self.asker.why(ask)
        emit(found.model_copy(update={"reasons": self._named(found.reasons)}))

    def _named(self, reasons: list[Reason]) -> list[Reason]:
        by_key: dict[str, list[int]] = {}
        for reason in reasons:
            key, index = split_id(reason.id)
            by_key.setdefault(key, []).append(index)
        rows = {
            row.id: row
            for key, wanted in by_key.items()
            for row in self.atlas.features(key, where={"ids": wanted}, limit=len(wanted)).rows
        }
        return [
            reason.model_copy(
                update={"label": rows[reason.id].label, "category": rows[reason.id].category}
            )
            if reason.id in rows
            else reason
            for reason in reasons
        ]

    # -- joining ---------------------------------------------------------------------------

    def _of(self, row: AtlasRow) -> list[ExemplarRecord]:
        return self._small(row.dictionary, row.index) if row.alive else []

    def _small_exemplars(self, key: str, index: int) -> list[ExemplarRecord]:
        evidence = self._evidence_of(key)
        if evidence is None:
            return []
        top = evidence.feature(index).top[:4]
        return [convert.exemplar(e, words=SMALL_WORDS) for e in top]

    def _neighbours(self, evidence: Evidence, key: str, index: int) -> list[Neighbour]:
        near = [
            (n, how)
            for by, how in (("cosine", "direction"), ("cofire", "firing"))
            for n in evidence.near(index, by)[:6]
            if n.strength > 0
        ]
        wanted = list({n.index for n, _ in near})
        rows = self.atlas.features(key, where={"ids": wanted}, limit=len(wanted)).rows
        labels = {row.index: row.label or "" for row in rows}
        return [
            Neighbour(
                id=f"{key}/{n.index}", label=labels.get(n.index, ""), value=n.strength, how=how
            )
            for n, how in near
        ]

    def _evidence_of(self, key: str) -> Evidence | None:
        """The dictionary's evidence, opened once; None where the atlas came without it."""
        if key not in self._evidence:
            try:
                self._evidence[key] = Evidence.open(self.workspace.evidence(), key)
            except EvidenceError as error:
                log.warning("No exemplars of %s can be shown: %s", key, error)
                return None
        return self._evidence[key]

    def _has_vectors(self, key: str) -> bool:
        return (self.workspace.vectors / key / "about.json").is_file()

    def _vectors_of(self, key: str) -> VectorIndex:
        if key not in self._vectors:
            self.atlas.dictionary(key)  # a name that the atlas knows, before it names a folder
            self._vectors[key] = VectorIndex(self.workspace.vectors / key)
        return self._vectors[key]

    def _embedder(self, name: str) -> Embedder:
        with self._loading:  # two searches at once load it once
            if name not in self._embedders:
                self._embedders[name] = embedder(name)
            return self._embedders[name]

    def _score_kinds(self) -> list[str]:
        kinds = self.atlas.score_kinds()
        first = [kind for kind in FIRST_SCORES if kind in kinds]
        return first + [kind for kind in kinds if kind not in first]

    @cached_property
    def _sees(self) -> bool:
        """Whether the corpus held pictures: known without loading the model."""
        return self.workspace.media.is_dir() and any(self.workspace.media.iterdir())

    def _dictionary_info(self, row: DictionaryRow) -> DictionaryInfo:
        def count(**where: bool) -> int:
            return self.atlas.features(row.id, where=where, limit=0).total

        return DictionaryInfo(
            id=row.key,
            site=row.key.split("/", 1)[0],
            width=row.width,
            alive=count(alive=True),
            explained=count(explained=True),
            metrics=convert.metrics(row.about),
        )


def split_id(feature_id: str) -> tuple[str, int]:
    """``site/dictionary/index`` in two; ``NotThere`` where it is no such id."""
    key, _, index = feature_id.rpartition("/")
    if not key or not index.isascii() or not index.isdigit() or len(index) > 9:
        raise NotThere(f"{feature_id!r} is no feature: write site/dictionary/number.")
    return key, int(index)
