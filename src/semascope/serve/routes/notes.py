"""Routes for notes, lists and blind ratings. None runs the model."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from semascope.serve.routes.browse import Data
from semascope.serve.schema.notebook import AgreementRecord, ListRecord, RatingReveal, RatingTask
from semascope.serve.schema.requests import FeatureId, ListAsk, NoteAsk, RateAsk, RaterName
from semascope.serve.schema.responses import FeatureList, NoteRecord

router = APIRouter(prefix="/api", tags=["keep"])
ListName = Annotated[str, Path(min_length=1, max_length=100)]


@router.get("/notes")
def notes(data: Data, feature: Annotated[FeatureId | None, Query()] = None) -> list[NoteRecord]:
    """Notes on a feature, or on all, oldest first."""
    return data.notebook.notes(feature or "")


@router.post("/notes", status_code=201)
def add_note(data: Data, ask: NoteAsk) -> NoteRecord:
    """Add a note."""
    return data.notebook.add_note(ask)


@router.delete("/notes/{note}", status_code=204)
def remove_note(data: Data, note: Annotated[int, Path(ge=0, le=2**62)]) -> None:
    """Delete a note."""
    data.notebook.remove_note(note)


@router.get("/lists")
def lists(data: Data) -> list[ListRecord]:
    """Named lists and their sizes."""
    return data.notebook.lists()


@router.get("/lists/{name}")
def listed(data: Data, name: ListName) -> FeatureList:
    """The features of a list, in its order."""
    return data.listed(name)


@router.put("/lists/{name}")
def save_list(data: Data, name: ListName, ask: ListAsk) -> ListRecord:
    """Make a list, or replace it."""
    return data.notebook.save_list(name, ask)


@router.delete("/lists/{name}", status_code=204)
def remove_list(data: Data, name: ListName) -> None:
    """Delete a list; its features stay."""
    data.notebook.remove_list(name)


@router.get("/rating")
def next_rating(data: Data, rater: Annotated[RaterName, Query()]) -> RatingTask:
    """The next explanation to grade, blind."""
    return data.notebook.next_rating(rater)


@router.post("/rating")
def rate(data: Data, ask: RateAsk) -> RatingReveal:
    """Keep a grade; the answer reveals whose explanation it was."""
    return data.notebook.rate(ask)


@router.get("/rating/agreement")
def agreement(data: Data) -> AgreementRecord:
    """How far raters agree."""
    return data.notebook.agreement()
