"""Routes for stored conversations. They hold what the page sends, and run nothing."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from semascope.serve.schema.requests import RequestBody
from semascope.serve.schema.responses import Record
from semascope.serve.session_store import SessionStore

router = APIRouter(prefix="/api/sessions", tags=["keep"])
SessionId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class SessionBody(RequestBody):
    """A conversation to store."""

    title: str = Field("", max_length=200)
    body: dict[str, Any]
    """What the page needs to show it again."""


class SessionLine(Record):
    """A conversation in a list."""

    id: str
    title: str
    updated: float
    """Seconds since 1970."""


class SessionRecord(SessionLine):
    """A conversation."""

    body: dict[str, Any]
    own: bool
    """Whether this browser created it and may change it."""


def store_of(request: Request) -> SessionStore:
    """The store of conversations."""
    sessions: SessionStore = request.app.state.sessions
    return sessions


Keep = Annotated[SessionStore, Depends(store_of)]


@router.get("")
def listed(request: Request, sessions: Keep) -> list[SessionLine]:
    """This browser's conversations, newest first."""
    return [
        SessionLine(id=i, title=title, updated=updated)
        for i, title, updated in sessions.of(request.state.client)
    ]


@router.post("", status_code=201)
def made(request: Request, sessions: Keep, asked: SessionBody) -> SessionLine:
    """Store a new conversation."""
    return _saved(request, sessions, asked, "")


@router.put("/{session}")
def changed(
    request: Request, sessions: Keep, session: SessionId, asked: SessionBody
) -> SessionLine:
    """Change a conversation; another browser's is copied under a new id instead."""
    return _saved(request, sessions, asked, session)


@router.get("/{session}")
def read(request: Request, sessions: Keep, session: SessionId) -> SessionRecord:
    """One conversation, for anyone who knows its id."""
    stored = sessions.read(session)
    own = stored.owner == request.state.client
    return SessionRecord.of(stored, body=json.loads(stored.body), own=own)


@router.delete("/{session}", status_code=204)
def removed(request: Request, sessions: Keep, session: SessionId) -> None:
    """Delete a conversation of this browser."""
    sessions.remove(request.state.client, session)


def _saved(
    request: Request, sessions: SessionStore, asked: SessionBody, session: str
) -> SessionLine:
    body = json.dumps(asked.body)
    number = sessions.save(request.state.client, asked.title, body, session)
    return SessionLine(id=number, title=asked.title, updated=sessions.read(number).updated)
