"""An Explorer over made-up features, for work on the page and for its tests.

Lists, searches, notes, ratings, the register and the map are those of ``WorkspaceExplorer`` over a
small atlas, so that their records cannot drift from a real run's. Pictures, exemplars and answers
are made up; nothing in them was measured.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

from semascope.atlas.records import split_id
from semascope.errors import NotThere
from semascope.serve.explorer.splitting import SplittingRecord
from semascope.serve.explorer.workspace import NO_EXPLANATION, WorkspaceExplorer
from semascope.serve.queue.jobs import More
from semascope.serve.schema.events import Emit
from semascope.serve.schema.questions import BY_BODY
from semascope.serve.schema.requests import ConceptQuery, RequestBody, SearchQuery, SplittingQuery
from semascope.serve.schema.responses import (
    Bin,
    ConceptRecord,
    ExemplarRecord,
    ExplanationRecord,
    FeatureList,
    FeaturePage,
    FeatureRow,
    ModelInfo,
    Neighbour,
    PromotedToken,
    SubjectInfo,
    TokenRecord,
)
from semascope.serve.testing.answers import MODELS, DrawnAnswers
from semascope.serve.testing.atlas import concept_of, peak_of, topic_of, write_atlas
from semascope.serve.testing.drawing import DICTIONARY, Sheets, lit
from semascope.workspace import Workspace

NEAR = 0.1
"""Cosine below which a search finds nothing."""


class DrawnExplorer(WorkspaceExplorer):
    """``width`` made-up features: coloured shapes, and some of text; every fifth is dead.

    Args:
        folder: where the atlas and the pictures go.
        width: how many features.
        pause: seconds between the tokens of an answer, as if a model were thinking.
        namer: the model that is said to name concepts; empty for none.
    """

    def __init__(self, folder: Path, width: int = 240, pause: float = 0.0, namer: str = "") -> None:
        space = Workspace(folder / "space")
        write_atlas(space, width)
        super().__init__(space)
        self.width = width
        self.answers = DrawnAnswers(self, pause, namer)
        self._sheets = Sheets(self.uploads)

    def info(self) -> SubjectInfo:
        """A model that says that it is made up."""
        return (
            super()
            .info()
            .model_copy(
                update={
                    "name": MODELS[0],
                    "workspace": "made-up data",
                    "has_vision": True,
                    "can_generate": True,
                    "why_not": "",
                    "questions": ["What is in the picture?", "Is there a red circle?"],
                    "models": [ModelInfo(name=name, dictionaries=[DICTIONARY]) for name in MODELS],
                    "namer": self.answers.namer,
                    "corpus": "made-up pictures",
                    "read": {
                        "train": [
                            "read 90 of 96 rows: 90 pictures; tokens: 1,200 of words",
                            "6 rows skipped: missing file (6)",
                        ]
                    },
                }
            )
        )

    def ask(self, question: RequestBody, emit: Emit) -> More:
        """Answer with the method of the question's name."""
        getattr(self.answers, BY_BODY[type(question)].name)(question, emit)
        return None

    def search(self, query: SearchQuery) -> FeatureList:
        """By meaning; words that mean nothing here find nothing."""
        rows = [row for row in super().search(query).rows if (row.similarity or 0) >= NEAR]
        return FeatureList(total=len(rows), offset=0, rows=rows)

    def concept(self, query: ConceptQuery) -> ConceptRecord:
        """As a search: words that mean nothing here find nothing."""
        if not self.search(SearchQuery(q=query.q, limit=1, dictionary="")).rows:
            return ConceptRecord(query=query.q, note=NO_EXPLANATION)
        return super().concept(query)

    def feature(self, feature_id: str) -> FeaturePage:
        """All about one feature, with made-up evidence."""
        page, index = super().feature(feature_id), split_id(feature_id)[1]
        if not page.feature.alive:
            return page.model_copy(update={"stats": {"tokens": 500_000, "fired": 0}})
        return page.model_copy(update=self._evidence_for(index, page))

    def splitting(self, feature_id: str, query: SplittingQuery) -> SplittingRecord:
        """There is one width only."""
        self.number(feature_id)
        return SplittingRecord(feature=feature_id, threshold=query.threshold)

    # -- what the answers need -------------------------------------------------------------

    def number(self, feature_id: str) -> int:
        """The number of a feature. NotThere for any that is not made up here."""
        key, index = split_id(feature_id)
        if key != DICTIONARY or index >= self.width:
            raise NotThere(f"There is no feature {feature_id!r} here: see the list for those.")
        return index

    def rows(self, indices: range) -> list[FeatureRow]:
        """Features by number, without exemplars."""
        from semascope.serve.explorer import to_records

        known = self.feature_index.rows((DICTIONARY, index) for index in indices)
        return [to_records.feature(known[DICTIONARY, index]) for index in indices]

    def few(self, index: int) -> list[ExemplarRecord]:
        """Four of a feature's strongest exemplars."""
        return [self._exemplar(index, n, 9) for n in range(4)]

    # -- making up -------------------------------------------------------------------------

    def _small_exemplars(self, key: str, index: int) -> list[ExemplarRecord]:
        return self.few(index)

    def _held_out(self, key: str, index: int) -> list[ExemplarRecord]:
        return self.few(index)

    def _evidence_for(self, index: int, page: FeaturePage) -> dict[str, object]:
        row, rng = page.feature, random.Random(index)
        near = self.rows(range(index % 8, self.width, 8))
        return {
            "explanations": [*page.explanations, _unsafe(row)] if row.description else [],
            "top": [self._exemplar(index, n, 9) for n in range(12)],
            "intervals": [self._exemplar(index, 20 + n, n // 3) for n in range(30)],
            "silent": [self._exemplar(index, 60 + n, None) for n in range(4)],
            "histogram": [
                Bin(low=i / 2, high=(i + 1) / 2, count=int(9_000 * math.exp(-i / 3.1)) + i % 3)
                for i in range(20)
            ],
            "stats": {
                "tokens": 500_000, "fired": 9_000 + index, "mean": 2.4, "max": row.maximum or 0,
                "density_image": 0.03, "density_text": 0.001,
            },
            "neighbours": [
                Neighbour(id=r.id, label=r.label, value=0.8 - 0.1 * n, how="direction")
                for n, r in enumerate([r for r in near if r.id != row.id][:6])
            ],
            "promoted": [
                PromotedToken(text=t, value=3.0 - 0.4 * n)
                for n, t in enumerate((f" {row.label.partition(' ')[0]}", " round", " the", " a"))
            ],
            "lowered": [PromotedToken(text=t, value=-rng.random()) for t in (" none", " no")],
        }  # fmt: skip

    def _exemplar(self, index: int, n: int, interval: int | None) -> ExemplarRecord:
        shape = concept_of(index)
        peak = peak_of(index) * ((interval + 0.9) / 10 if interval is not None else 0.0)
        if interval == 9:
            peak *= 1 - 0.015 * n
        split = "explain" if n % 2 else "score"
        if shape is None:
            return _text(index, n, peak, interval).model_copy(update={"split": split})
        colour, form = shape
        if interval is None:
            colour = "black" if colour != "black" else "red"
        digest, box = self._sheets.picture(colour, form, n)
        return ExemplarRecord(
            sample=f"drawn-{n}", peak=peak, split=split, interval=interval,
            pictures=[lit(digest, box, peak)], caption=f"a {colour} {form}",
        )  # fmt: skip


def _text(index: int, n: int, peak: float, interval: int | None) -> ExemplarRecord:
    words = f"On 9.11 she asked , once more , about {topic_of(index)} and the year {1990 + n} ."
    rng = random.Random(f"{index}:{n}")
    tokens = [
        TokenRecord(text=f" {w}", value=peak if i == 8 else max(0.0, peak * (rng.random() - 0.7)))
        for i, w in enumerate(words.split(" "))
    ]
    return ExemplarRecord(sample=f"text-{n}", peak=peak, interval=interval, tokens=tokens)


def _unsafe(row: FeatureRow) -> ExplanationRecord:
    """An explanation with markup, as a hostile model might write."""
    return ExplanationRecord(
        label=f"{row.label} <b>bold</b>", author="second-explainer",
        description="Words with <img src=x onerror=alert(1)> that must stay words.",
        category=row.category, confidence=0.3, prompt_version="1",
    )  # fmt: skip
