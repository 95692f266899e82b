"""The drawn Explorer: made-up features, lists, pages, notes, a register and tours.

Nothing in it was measured; see ``answers`` for what it says when asked.
"""

from __future__ import annotations

import math
import random
from functools import cached_property
from pathlib import Path

from semascope.atlas.records import split_id
from semascope.causal.steering.interventions import Intervention, dump
from semascope.errors import NotThere
from semascope.serve.explorer.feature_map import map_of
from semascope.serve.explorer.guides import Guides
from semascope.serve.explorer.notebook import Notebook
from semascope.serve.explorer.splitting import SplittingRecord
from semascope.serve.explorer.to_records import score_names
from semascope.serve.explorer.uploads import UploadedPictures
from semascope.serve.schema.requests import ConceptQuery, ListQuery, SearchQuery, SplittingQuery
from semascope.serve.schema.responses import (
    Bin,
    ConceptRecord,
    DictionaryInfo,
    ExemplarRecord,
    ExplanationRecord,
    FeatureList,
    FeaturePage,
    FeatureRow,
    MapRecord,
    Modality,
    ModelInfo,
    Neighbour,
    PromotedToken,
    ScoreRecord,
    SubjectInfo,
    TokenRecord,
    Upload,
)
from semascope.serve.testing.answers import MODELS, DrawnAnswers
from semascope.serve.testing.drawing import COLOURS, SHAPES, Sheets, lit
from semascope.serve.testing.kept import DrawnAtlas

KINDS = ["iou", "detection"]
"""Kinds of score that the drawn features have: names that real scorers write."""
DICTIONARY = "resid_post.12/drawn"
WORDS = ("dates", "Bible verses", "version numbers", "code", "questions", "negation")


class DrawnExplorer(DrawnAnswers):
    """``width`` made-up features: coloured shapes, and some of text; every fifth is dead.

    ``pause`` seconds pass between the tokens of an answer, as if a model were thinking.
    """

    def __init__(self, folder: Path, width: int = 240, pause: float = 0.0, namer: str = "") -> None:
        """``namer``: the model that is said to name concepts."""
        self.pictures = UploadedPictures(folder)
        self.width = width
        self.pause = pause
        self.namer = namer
        self._sheets = Sheets(self.pictures)

    # -- looking ---------------------------------------------------------------------------

    @property
    def sessions_file(self) -> Path | None:
        """Beside the pictures."""
        return self.pictures.folder / "sessions.db"

    @property
    def keeps(self) -> bool:
        """Always."""
        return True

    def info(self) -> SubjectInfo:
        """A subject that says that it is drawn."""
        alive = sum(1 for i in range(self.width) if i % 5 != 4)
        return SubjectInfo(
            name="drawn-subject",
            workspace="made-up data",
            has_vision=True,
            can_generate=True,
            dictionaries=[
                DictionaryInfo(
                    id=DICTIONARY, site="resid_post.12", width=self.width, alive=alive,
                    explained=alive - alive // 7, metrics={"fvu": 0.1, "l0": 32.0},
                )
            ],
            categories=["colour", "object", "text"],
            score_kinds=KINDS,
            score_names=score_names(KINDS),
            can_search=True,
            features=self.width,
            questions=["What is in the picture?", "Is there a red circle?"],
            models=[ModelInfo(name=name, dictionaries=[DICTIONARY]) for name in MODELS],
            namer=self.namer,
            corpus="made-up pictures",
            read={"train": ["read 90 of 96 rows: 90 pictures; tokens: 1,200 of words",
                            "6 rows skipped: missing file (6)"]},
        )  # fmt: skip

    def features(self, query: ListQuery) -> FeatureList:
        """Filter, sort, cut."""
        rows = [r for r in map(self._row, range(self.width)) if self._passes(r, query)]
        rows.sort(key=lambda r: self._key(r, query), reverse=query.order == "desc")
        return self._window(rows, query.offset, query.limit)

    def search(self, query: SearchQuery) -> FeatureList:
        """Nearest by shared words: enough to be sorted."""
        asked = set(query.q.lower().split())
        rows = []
        for row in map(self._row, range(self.width)):
            words = set(f"{row.label} {row.description}".lower().replace(".", "").split())
            if row.alive and (shared := len(asked & words)):
                near = shared / math.sqrt(len(asked) * len(words))
                rows.append(row.model_copy(update={"similarity": near}))
        rows.sort(key=lambda r: -(r.similarity or 0.0))
        return self._window(rows, 0, query.limit)

    def concept(self, query: ConceptQuery) -> ConceptRecord:
        """The first k of a search."""
        limit = min(query.k, 200)
        rows = self.search(SearchQuery(q=query.q, limit=limit, dictionary="")).rows
        if not rows:
            return ConceptRecord(query=query.q, note="No living feature speaks of this.")
        features = tuple(split_id(row.id) for row in rows)
        less = Intervention(features=features, how="ablate", name=f"without '{query.q}'")
        more = Intervention(features=features, strength=0.75, unit="quantile", name="more")
        note = "" if len(rows) == query.k else f"{len(rows)} features share a word with these."
        return ConceptRecord(
            query=query.q,
            rows=rows,
            share=len(rows) / self.width,
            suppress=dump([less])[0],
            strengthen=dump([more])[0],
            note=note,
        )

    @cached_property
    def kept(self) -> DrawnAtlas:
        """A small atlas of the same features, made when it is first asked for."""
        rows = [self._row(index) for index in range(self.width)]
        return DrawnAtlas(self.pictures.folder / "space", DICTIONARY, rows)

    @cached_property
    def notebook(self) -> Notebook:
        """Notes, lists and ratings over that atlas."""
        file = self.pictures.folder / "ratings.db"
        return Notebook(self.kept.atlas, file, lambda _, index: self._few(index))

    @cached_property
    def guides(self) -> Guides:
        """The register and the tours over that atlas."""
        file = self.pictures.folder / "register.json"
        return Guides(self.kept.feature_index, file, lambda _, index: self._few(index))

    def map(self, dictionary: str) -> MapRecord:
        """Features where their colour and shape put them."""
        return map_of(self.kept.atlas, dictionary)

    def listed(self, name: str) -> FeatureList:
        """A named list."""
        rows = [self._row(row.index) for row in self.notebook.listed(name)]
        return FeatureList(total=len(rows), offset=0, rows=rows)

    def feature(self, feature_id: str) -> FeaturePage:
        """All about one."""
        index = self._index(feature_id)
        row = self._row(index)
        if not row.alive:
            return FeaturePage(feature=row, stats={"tokens": 500_000, "fired": 0})
        rng = random.Random(index)
        near = [self._row(i) for i in range(self.width) if i != index and i % 8 == index % 8][:6]
        written = not row.abstained
        return FeaturePage(
            feature=self._with_exemplars(row),
            explanations=self._explanations(row) if written else [],
            top=[self._exemplar(index, n, 9) for n in range(12)],
            intervals=[self._exemplar(index, 20 + n, n // 3) for n in range(30)],
            silent=[self._exemplar(index, 60 + n, None) for n in range(4)],
            histogram=[
                Bin(low=i / 2, high=(i + 1) / 2, count=int(9_000 * math.exp(-i / 3.1)) + i % 3)
                for i in range(20)
            ],
            stats={
                "tokens": 500_000, "fired": 9_000 + index, "mean": 2.4, "max": row.maximum or 0,
                "density_image": 0.03, "density_text": 0.001,
            },
            neighbours=[
                Neighbour(id=r.id, label=r.label, value=0.8 - 0.1 * n, how="direction")
                for n, r in enumerate(near)
            ],
            promoted=[
                PromotedToken(text=t, value=3.0 - 0.4 * n)
                for n, t in enumerate((f" {row.label.partition(' ')[0]}", " round", " the", " a"))
            ],
            lowered=[PromotedToken(text=t, value=-rng.random()) for t in (" none", " no")],
            notes=self.notebook.notes(row.id),
        )  # fmt: skip

    def splitting(self, feature_id: str, query: SplittingQuery) -> SplittingRecord:
        """One width only: there is nothing to tell."""
        self._index(feature_id)
        return SplittingRecord(feature=feature_id, threshold=query.threshold)

    def media(self, digest: str) -> Path:
        """The drawn or uploaded file."""
        return self.pictures.path(digest)

    def warm(self) -> None:
        """Nothing to get ready."""

    def store(self, data: bytes) -> Upload:
        """Keep an upload."""
        return self.pictures.put(data)

    # -- making up -------------------------------------------------------------------------

    def _index(self, feature_id: str) -> int:
        dictionary, _, index = feature_id.rpartition("/")
        if dictionary != DICTIONARY or not index.isdigit() or int(index) >= self.width:
            raise NotThere(
                f"There is no feature {feature_id!r} here: the list shows those there are."
            )
        return int(index)

    def _concept(self, index: int) -> tuple[str, str] | None:
        """Colour and shape; None for a feature of text."""
        if index % 6 == 5:
            return None
        colours = tuple(COLOURS)
        return colours[index % len(colours)], SHAPES[(index // 3) % len(SHAPES)]

    def _row(self, index: int) -> FeatureRow:
        rng = random.Random(index)
        alive = index % 5 != 4
        abstained = index % 7 == 6
        concept = self._concept(index)
        label = " ".join(concept) if concept else WORDS[index // 6 % len(WORDS)]
        modality: Modality = "image" if concept else "text"
        value = 0.25 + 0.7 * rng.random()
        words = (
            f"A {label} anywhere in the picture, strongest at its middle and weaker at its rim."
            if concept
            else f"Text about {label}, most of all at the first word of it."
        )
        known = alive and not abstained
        return FeatureRow(
            id=f"{DICTIONARY}/{index}",
            dictionary=DICTIONARY,
            index=index,
            label=label if known else "",
            description=words if known else "",
            category=("colour" if index % 2 else "object") if concept else "text",
            author="drawn-explainer",
            confidence=round(value, 2) if known else None,
            abstained=abstained and alive,
            alive=alive,
            modality=modality if alive else "none",
            density=10 ** -(1 + 3 * rng.random()) if alive else 0.0,
            maximum=10.0 + index % 9 if alive else 0.0,
            scores=self._scores(value, concept is not None) if known else [],
        )

    def _scores(self, value: float, pictures: bool) -> list[ScoreRecord]:
        auroc = min(0.99, value + 0.1)
        scores = [
            ScoreRecord(kind="detection", value=auroc, baseline=0.5,
                        low=auroc - 0.06, high=min(1.0, auroc + 0.05), evidence="24 held out")
        ]  # fmt: skip
        if pictures:
            scores.insert(0, ScoreRecord(kind="iou", value=value, baseline=0.11,
                                         low=value - 0.1, high=value + 0.04))  # fmt: skip
        return scores

    def _explanations(self, row: FeatureRow) -> list[ExplanationRecord]:
        return [
            ExplanationRecord(
                label=row.label, description=row.description, category=row.category,
                confidence=row.confidence, author=row.author, prompt_version="1",
            ),
            ExplanationRecord(
                label=f"{row.label} <b>bold</b>", author="second-explainer",
                description="Words with <img src=x onerror=alert(1)> that must stay words.",
                category=row.category, confidence=0.3, prompt_version="1",
            ),
        ]  # fmt: skip

    def _exemplar(self, index: int, n: int, interval: int | None) -> ExemplarRecord:
        concept = self._concept(index)
        peak = (10.0 + index % 9) * ((interval + 0.9) / 10 if interval is not None else 0.0)
        if interval == 9:
            peak *= 1 - 0.015 * n
        if concept is None:
            return self._text(index, n, peak, interval)
        colour, shape = concept
        if interval is None:
            colour = "black" if colour != "black" else "red"
        digest, box = self._sheets.picture(colour, shape, n)
        return ExemplarRecord(
            sample=f"drawn-{n}",
            peak=peak,
            split="explain" if n % 2 else "score",
            interval=interval,
            pictures=[lit(digest, box, peak)],
            caption=f"a {colour} {shape}",
        )

    def _text(self, index: int, n: int, peak: float, interval: int | None) -> ExemplarRecord:
        topic = WORDS[index // 6 % len(WORDS)]
        words = f"On 9.11 she asked , once more , about {topic} and the year {1990 + n} ."
        rng = random.Random(f"{index}:{n}")
        tokens = [
            TokenRecord(
                text=f" {w}", value=peak if i == 8 else max(0.0, peak * (rng.random() - 0.7))
            )
            for i, w in enumerate(words.split(" "))
        ]
        return ExemplarRecord(
            sample=f"text-{n}", peak=peak, interval=interval, tokens=tokens,
            split="explain" if n % 2 else "score",
        )  # fmt: skip

    def _passes(self, row: FeatureRow, query: ListQuery) -> bool:
        first = self._score(row, query.score)
        known = bool(row.description)
        return (
            query.dictionary in ("", row.dictionary)
            and query.category in ("", row.category)
            and query.modality in ("", row.modality)
            and (query.alive is None or query.alive == row.alive)
            and (query.explained is None or query.explained == known)
            and (query.min_score is None or (first is not None and first >= query.min_score))
            and query.words.lower() in f"{row.label} {row.description}".lower()
        )

    def _score(self, row: FeatureRow, kind: str) -> float | None:
        kind = kind or "iou"
        return next((s.value for s in row.scores if s.kind == kind), None)

    def _key(self, row: FeatureRow, query: ListQuery) -> tuple[bool, float | str]:
        value: float | str | None
        if query.sort == "score":
            value = self._score(row, query.score)
        elif query.sort == "max":
            value = row.maximum
        elif query.sort == "label":
            value = row.label
        elif query.sort == "index":
            value = row.index
        else:
            value = row.confidence if query.sort == "confidence" else row.density
        if isinstance(value, str):
            return True, value
        return (value is not None) == (query.order == "desc"), value or 0.0

    def _window(self, rows: list[FeatureRow], offset: int, limit: int) -> FeatureList:
        seen = [self._with_exemplars(row) for row in rows[offset : offset + limit]]
        return FeatureList(total=len(rows), offset=offset, rows=seen)

    def _with_exemplars(self, row: FeatureRow) -> FeatureRow:
        if not row.alive:
            return row
        return row.model_copy(update={"exemplars": self._few(row.index)})

    def _few(self, index: int) -> list[ExemplarRecord]:
        return [self._exemplar(index, n, 9) for n in range(4)]
