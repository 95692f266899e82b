"""What people keep about features: notes, lists, and blind ratings of explanations.

One object over an atlas and a file of ratings; every method is short and blocking.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from semascope.atlas import Atlas
from semascope.atlas.delete import remove_list, remove_note
from semascope.atlas.records import FeatureListRow as AtlasRow
from semascope.atlas.records import split_id
from semascope.errors import AtlasError, ExplainError, NotThere, ServeError
from semascope.explain.human.blind_rating import GRADES, JUDGES, BlindRatings
from semascope.explain.scorers.kinds import describe
from semascope.explain.types import Explanation
from semascope.serve.schema.notebook import (
    AgreementRecord,
    GradeRecord,
    GradeShare,
    JudgeAgreement,
    ListRecord,
    RatingReveal,
    RatingTask,
)
from semascope.serve.schema.requests import ListAsk, NoteAsk, RateAsk
from semascope.serve.schema.responses import ExemplarRecord, NoteRecord
from semascope.serve.session_store import READ_ONLY

HeldOut = Callable[[str, int], list[ExemplarRecord]]
"""(dictionary, index) to held-out exemplars, which no explainer saw."""
MOST_DEALT = 2_000
_GRADES = [GradeRecord(grade=grade, meaning=meaning) for grade, meaning in GRADES.items()]


class Notebook:
    """Notes, lists and ratings of one atlas."""

    def __init__(self, atlas: Atlas, ratings: Path, held_out: HeldOut) -> None:
        self.atlas = atlas
        self.file = ratings
        self.held_out = held_out
        self._ratings: BlindRatings | None = None
        self._dealt: str = ""
        self._lock = threading.Lock()

    # -- notes -----------------------------------------------------------------------------

    def notes(self, feature_id: str = "") -> list[NoteRecord]:
        """Notes on a feature, or all; oldest first. A feature that is gone keeps its notes."""
        if not feature_id:
            return [NoteRecord.of(note) for note in self.atlas.all_notes()]
        key, index = split_id(feature_id)
        notes = self.atlas.notes(key, index)
        if not notes:
            self._known(feature_id)
        return [NoteRecord.of(note) for note in notes]

    def add_note(self, ask: NoteAsk) -> NoteRecord:
        """Add a note. NotThere where there is no such feature."""
        self._writable()
        key, index = self._known(ask.feature)
        self.atlas.add_note(key, index, ask.text, author=ask.author)
        return self.notes(ask.feature)[-1]

    def remove_note(self, note: int) -> None:
        """Delete a note. NotThere where it is gone already."""
        self._writable()
        if not remove_note(self.atlas, note):
            raise NotThere("There is no note with that number: it was deleted already.")

    # -- lists -----------------------------------------------------------------------------

    def lists(self) -> list[ListRecord]:
        """Names and sizes of the lists."""
        return [ListRecord(name=name, size=size) for name, size in self.atlas.lists().items()]

    def listed(self, name: str) -> tuple[AtlasRow, ...]:
        """The features of a list, in its order. NotThere where there is no such list."""
        try:
            return self.atlas.list_features(name)
        except AtlasError as error:
            raise NotThere(str(error)) from error

    def save_list(self, name: str, ask: ListAsk) -> ListRecord:
        """Make a list, or replace it. NotThere where it names a feature that does not exist."""
        features = [split_id(feature) for feature in ask.features]
        try:
            self.atlas.set_list(name, features, ask.about)
        except AtlasError as error:
            self._writable()
            raise NotThere(str(error)) from error
        return ListRecord(name=name, size=len(set(features)))

    def remove_list(self, name: str) -> None:
        """Delete a list; its features stay. NotThere where there is none."""
        self._writable()
        if not remove_list(self.atlas, name):
            raise NotThere(f"There is no list {name!r}.")

    def _writable(self) -> None:
        """Raise ServeError where the run can only be read."""
        if not self.atlas.writable:
            raise ServeError(READ_ONLY)

    def _known(self, feature_id: str) -> tuple[str, int]:
        """The id of a feature that the atlas holds. NotThere for any other."""
        key, index = split_id(feature_id)
        try:
            page = self.atlas.features(key, where={"ids": [index]}, limit=1)
        except AtlasError as error:
            raise NotThere(str(error)) from error
        if not page.rows:
            raise NotThere(f"There is no feature {feature_id!r} here.")
        return key, index

    # -- ratings ---------------------------------------------------------------------------

    def next_rating(self, rater: str) -> RatingTask:
        """The next explanation to grade, with exemplars and without its author."""
        ratings = self._open()
        task = ratings.next(rater)
        done, total = ratings.progress(rater)
        if task is None:
            return RatingTask(grades=_GRADES, done=done, total=total)
        return RatingTask(
            task=task.id,
            description=task.description,
            exemplars=self.held_out(self._dealt, task.feature),
            grades=_GRADES,
            done=done,
            total=total,
        )

    def rate(self, ask: RateAsk) -> RatingReveal:
        """Keep a grade and reveal whose explanation it was."""
        self._writable()
        ratings = self._open()
        try:
            ratings.rate(ask.task, ask.rater, ask.grade, ask.seconds)
        except ExplainError as error:
            raise NotThere(str(error)) from error
        index, author, swapped = ratings.reveal(ask.task, ask.rater)
        done, total = ratings.progress(ask.rater)
        rows = self.atlas.features(self._dealt, where={"ids": [index]}, limit=1).rows
        return RatingReveal(
            feature=f"{self._dealt}/{index}",
            label=rows[0].label if rows else "",
            description=rows[0].description if rows else "",
            author=author,
            swapped=swapped,
            done=done,
            total=total,
        )

    def agreement(self) -> AgreementRecord:
        """How far raters agree so far."""
        ratings = self._open()
        judges = self._judges(ratings.features())
        try:
            agreement = ratings.agreement(judges)
        except ExplainError as error:
            raise ServeError("Nothing was rated yet: rate some explanations first.") from error
        mean, low, high = agreement.mean
        return AgreementRecord.of(
            agreement,
            mean=mean,
            low=low,
            high=high,
            shares=[GradeShare.of(one, name=name) for name, one in agreement.shares.items()],
            judges=[
                JudgeAgreement(
                    name=describe(kind).name,
                    rho=rho,
                    low=agreement.judge_intervals[kind][0],
                    high=agreement.judge_intervals[kind][1],
                    features=agreement.compared[kind],
                )
                for kind, rho in agreement.judges.items()
            ],
        )

    def _judges(self, features: Sequence[int]) -> dict[str, dict[int, float]]:
        """Kind of score -> feature -> value, of some features."""
        rows = self.atlas.features(
            self._dealt, where={"ids": list(features)}, limit=max(1, len(features))
        ).rows
        return {
            kind: {row.index: row.scores[kind].value for row in rows if kind in row.scores}
            for kind in JUDGES
            if any(kind in row.scores for row in rows)
        }

    def _open(self) -> BlindRatings:
        """The ratings, drawn from the first dictionary that has explanations."""
        with self._lock:
            if self._ratings is None:
                key, explanations = self._explanations()
                if not explanations:
                    raise ServeError(
                        "No feature has an explanation to rate: run semascope explain."
                    )
                self._dealt = key
                readonly = not os.access(self.file.parent, os.W_OK)
                self._ratings = BlindRatings(self.file, readonly=readonly)
                if not readonly:
                    self._ratings.deal(explanations)
            return self._ratings

    def _explanations(self) -> tuple[str, list[Explanation]]:
        for dictionary in self.atlas.dictionaries():
            rows = self.atlas.features(
                dictionary.key, where={"explained": True}, limit=MOST_DEALT
            ).rows
            if rows:
                return dictionary.key, [_explanation(row) for row in rows]
        return "", []


def _explanation(row: AtlasRow) -> Explanation:
    return Explanation(row.index, row.description, row.label, author=row.author)
