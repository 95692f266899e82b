"""The Explorer over a workspace: explanations and scores from the atlas, exemplars from evidence.

It turns them into records and runs nothing itself. ``ModelSession`` loads the model when it is
first asked.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from semascope.atlas import Atlas, Media
from semascope.atlas.records import DictionaryRow
from semascope.atlas.records import FeatureListRow as AtlasRow
from semascope.causal.steering.interventions import Intervention, dump
from semascope.errors import EvidenceError, ServeError
from semascope.evidence import Evidence
from semascope.explain.scorers.kinds import ordered
from semascope.explain.types import CATEGORIES
from semascope.pipeline.accounts.text import by_stage, lines
from semascope.serve.explorer import to_records
from semascope.serve.explorer.compare import SideBySide, compared_models, model_info
from semascope.serve.explorer.feature_index import FeatureIndex
from semascope.serve.explorer.feature_map import map_of
from semascope.serve.explorer.feature_page import feature_page
from semascope.serve.explorer.guides import Guides
from semascope.serve.explorer.lmm_names import BackgroundNaming
from semascope.serve.explorer.model import ModelSession
from semascope.serve.explorer.notebook import Notebook
from semascope.serve.explorer.splitting import SplittingFamilies, SplittingRecord
from semascope.serve.explorer.steer import SteeredAnswers
from semascope.serve.explorer.try_out import FeatureTrials
from semascope.serve.explorer.uploads import UploadedPictures
from semascope.serve.explorer.why import TokenExplainer
from semascope.serve.queue.jobs import More, taken
from semascope.serve.schema.events import Emit
from semascope.serve.schema.requests import (
    ChatAsk,
    CompareAsk,
    ConceptQuery,
    ExamplesAsk,
    ListQuery,
    MeasureAsk,
    ReadAsk,
    RequestBody,
    SearchQuery,
    SplittingQuery,
    SteerAsk,
    TourAsk,
    TryAsk,
    VersusAsk,
    WhyAsk,
)
from semascope.serve.schema.responses import (
    ConceptRecord,
    DictionaryInfo,
    ExemplarRecord,
    FeatureList,
    FeaturePage,
    MapRecord,
    SubjectInfo,
    Upload,
)
from semascope.serve.session_store import READ_ONLY
from semascope.serve.tour.player import play_step
from semascope.workspace import Workspace

__all__ = ["WorkspaceExplorer"]

log = logging.getLogger(__name__)
SMALL_WORDS = 24
"""Text tokens of an exemplar in a list."""
STRENGTHEN = 0.75
"""Times the quantile: how strongly a concept is strengthened at first."""
QUANTILE = 0.999
NO_EXPLANATION = "No living feature has an explanation to search: run semascope explain."
SUGGESTED = [
    "What is in the picture?",
    "Describe the picture.",
    "What colour is it?",
    "How many things are there?",
]


class WorkspaceExplorer:
    """What the page sees of one workspace.

    Args:
        workspace: the workspace that is served.
        naming: names concepts with an LMM; None where there is no server for it.
        beside: other workspaces, whose models can be compared with this one's.
    """

    def __init__(
        self,
        workspace: Workspace,
        naming: BackgroundNaming | None = None,
        beside: Sequence[Workspace] = (),
    ) -> None:
        self.workspace = workspace
        self.atlas = Atlas.open(workspace.atlas)
        self.media_store = Media(workspace.media)
        self.uploads = UploadedPictures(workspace.root / "uploads", keep=workspace.writable)
        self.session = ModelSession(workspace, self.picture)
        self.feature_index = FeatureIndex(workspace, self.atlas)
        self.explainer = TokenExplainer(self.session, self.feature_index, naming=naming)
        self.trials = FeatureTrials(self.session, self.feature_index)
        self.families = SplittingFamilies(workspace, self.feature_index)
        self._evidence: dict[str, Evidence] = {}
        self._without: set[str] = set()
        self._small = lru_cache(maxsize=4_096)(self._small_exemplars)
        self.notebook = Notebook(self.atlas, workspace.root / "ratings.db", self._held_out)
        self.guides = Guides(self.feature_index, workspace.root / "register.json", self._small)
        self.models = compared_models(
            workspace, self.session, self.feature_index, self.explainer, beside
        )

    # -- looking ---------------------------------------------------------------------------

    @property
    def sessions_file(self) -> Path | None:
        """In the workspace, so that conversations survive the server."""
        return self.workspace.root / "sessions.db"

    @property
    def keeps(self) -> bool:
        """Whether the workspace's folder and its atlas are writable."""
        return self.workspace.writable and self.atlas.writable

    def info(self) -> SubjectInfo:
        """The run, its dictionaries, and what can be done with them."""
        record = self.workspace.record()
        rows = self.atlas.dictionaries()
        why = self.session.why_not()
        stages = {name: stage.model_dump() for name, stage in record.stages.items()}
        kinds = self._score_kinds()
        return SubjectInfo(
            name=record.subject or (rows[0].model if rows else "no model yet"),
            workspace=str(self.workspace.root),
            has_vision=self._sees,
            can_generate=not why,
            why_not=why,
            dictionaries=[self._dictionary_info(row) for row in rows],
            categories=list(CATEGORIES),
            score_kinds=kinds,
            score_names=to_records.score_names(kinds),
            can_search=any(self.feature_index.has_vectors(row.key) for row in rows),
            features=sum(row.width for row in rows),
            questions=SUGGESTED if self._sees else [],
            models=[model_info(model) for model in self.models],
            namer=self.explainer.naming.namer.lmm.model if self.explainer.naming else "",
            corpus=record.corpus,
            read={name: lines(read) for name, read in by_stage(stages).items()},
            read_only="" if self.keeps else READ_ONLY,
        )

    def features(self, query: ListQuery) -> FeatureList:
        """One window of the sorted, filtered list. ServeError for a score that is not there."""
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
        rows = [to_records.feature(row, self._of(row)) for row in page.rows]
        return FeatureList(total=page.total, offset=query.offset, rows=rows)

    def search(self, query: SearchQuery) -> FeatureList:
        """Features by meaning, over one dictionary or all that have vectors."""
        matches = self.feature_index.nearest(query.q, query.limit, query.dictionary)
        rows = [
            to_records.feature(match.feature, self._of(match.feature), match.similarity)
            for match in matches
        ]
        return FeatureList(total=len(rows), offset=0, rows=rows)

    def concept(self, query: ConceptQuery) -> ConceptRecord:
        """The k features nearest in meaning, and the interventions on them."""
        matches = [
            match
            for match in self.feature_index.nearest(query.q, query.k, query.dictionary)
            if match.feature.alive
        ]
        if not matches:
            return ConceptRecord(query=query.q, note=NO_EXPLANATION)
        features = tuple((m.feature.dictionary, m.feature.index) for m in matches)
        widths = {d.key: d.width for d in self.atlas.dictionaries()}
        less = Intervention(features=features, how="ablate", name=f"without '{query.q}'")
        more = Intervention(
            features=features, how="clamp", strength=STRENGTHEN, unit="quantile",
            quantile=QUANTILE, name=f"more '{query.q}'",
        )  # fmt: skip
        short = f"Only {len(matches)} of {query.k} features: no more have an explanation."
        return ConceptRecord(
            query=query.q,
            rows=[to_records.feature(m.feature, (), m.similarity) for m in matches],
            share=len(matches) / max(1, sum(widths[key] for key in {key for key, _ in features})),
            suppress=dump([less])[0],
            strengthen=dump([more])[0],
            note=short if len(matches) < query.k else "",
        )

    def map(self, dictionary: str) -> MapRecord:
        """Every feature of a dictionary as a point."""
        return map_of(self.atlas, dictionary)

    def listed(self, name: str) -> FeatureList:
        """The features of a list, in its order."""
        rows = [to_records.feature(row, self._of(row)) for row in self.notebook.listed(name)]
        return FeatureList(total=len(rows), offset=0, rows=rows)

    def feature(self, feature_id: str) -> FeaturePage:
        """All about one feature. Raises NotThere."""
        return feature_page(feature_id, self.atlas, self._evidence_with, self._of, self.session)

    def splitting(self, feature_id: str, query: SplittingQuery) -> SplittingRecord:
        """The feature's parents and children in dictionaries of other widths."""
        return self.families.of(feature_id, query)

    def media(self, digest: str) -> Path:
        """The file of a picture, of the corpus or uploaded. Raises NotThere."""
        if digest in self.media_store:
            return self.media_store.path(digest)
        return self.uploads.path(digest)

    def warm(self) -> None:
        """Load the sentence embedder, so that the first search does not wait for it."""
        self.feature_index.warm()

    def store(self, data: bytes) -> Upload:
        """Keep an uploaded picture. Raises BadPicture."""
        return self.uploads.put(data)

    def picture(self, digest: str) -> Any:
        """A stored picture, decoded."""
        from PIL import Image

        with Image.open(self.media(digest)) as image:
            return image.convert("RGB")

    # -- asking ----------------------------------------------------------------------------

    def ask(self, question: RequestBody, emit: Emit) -> More:
        """Answer a question of ``QUESTIONS``; the most particular requests come first."""
        match question:
            case CompareAsk():
                self.session.compare(question, emit)
            case ReadAsk():
                self.explainer.read(question, emit)
            case WhyAsk():
                return self.explainer.why(question, emit)
            case SteerAsk():
                return taken(SteeredAnswers(self.session, question, emit).run())
            case VersusAsk():
                return taken(SideBySide(self.models, question, emit).run())
            case ChatAsk():
                return taken(self.session.chat(question, emit))
            case TryAsk():
                self.trials.attempt(question, emit)
            case ExamplesAsk():
                self.trials.examples(question, emit)
            case MeasureAsk():
                self._measure(question, emit)
            case TourAsk():
                return taken(play_step(self, question, emit))
            case _:
                raise ServeError(f"{type(question).__name__} is no question to a model.")
        return None

    def _measure(self, ask: MeasureAsk, emit: Emit) -> None:
        """What a feature does to a concept of the register; the figure is kept."""
        effect = self.trials.measure(ask, emit)
        if effect is not None:
            self.guides.keep(ask.concept, ask.feature, effect)

    # -- joining ---------------------------------------------------------------------------

    def _of(self, row: AtlasRow) -> list[ExemplarRecord]:
        return self._small(row.dictionary, row.index) if row.alive else []

    def _small_exemplars(self, key: str, index: int) -> list[ExemplarRecord]:
        evidence = self._evidence_with(key, index)
        if evidence is None:
            stored = self.atlas.feature(key, index).of("top")[:4]
            return [to_records.stored(e, window=SMALL_WORDS) for e in stored]
        top = evidence.feature(index).top[:4]
        return [to_records.exemplar(e, window=SMALL_WORDS) for e in top]

    def _evidence_of(self, key: str) -> Evidence | None:
        """A dictionary's evidence, opened once; None where the atlas came without it."""
        if key not in self._evidence:
            try:
                self._evidence[key] = Evidence.open(self.workspace.evidence(), key)
            except EvidenceError as error:
                if key not in self._without:  # warn once, but look again
                    log.warning("%s is shown as the atlas has it: %s", key, error)
                    self._without.add(key)
                return None
        return self._evidence[key]

    def _evidence_with(self, key: str, index: int) -> Evidence | None:
        """A dictionary's evidence, if it holds this feature."""
        evidence = self._evidence_of(key)
        return evidence if evidence is not None and index < evidence.width else None

    def _held_out(self, key: str, index: int) -> list[ExemplarRecord]:
        """The strongest held-out exemplars, without captions, for blind rating."""
        evidence = self._evidence_with(key, index)
        if evidence is None:  # or explanations were drawn before the dictionary was trained anew
            return []
        top = evidence.feature(index).split("score").top[:6]
        return [to_records.exemplar(e).model_copy(update={"caption": ""}) for e in top]

    def _score_kinds(self) -> list[str]:
        return ordered(self.atlas.score_kinds())

    @cached_property
    def _sees(self) -> bool:
        """Whether the corpus has pictures, found without loading the model."""
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
            metrics=to_records.metrics(row.about),
        )
