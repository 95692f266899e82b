"""Conversations that survive the server: one SQLite file, one row per conversation.

A row is written in one transaction, so a server that is killed loses no answer. Whoever knows a
conversation's id can read it (that is how one is shared); only the browser that made it can change
it.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from pathlib import Path
from typing import NamedTuple

from semascope.atlas.database.sqlite import released, way_to
from semascope.errors import NotThere, ServeError, TooMuch

MAX_BODY = 2 * 2**20
MOST = 500
"""Conversations kept per browser; the oldest are deleted."""

READ_ONLY = (
    "This run is served from a folder that cannot be written: notes, lists, grades and "
    "conversations are not kept. Copy the workspace to a folder of your own and serve that."
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    updated REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS sessions_by_owner ON sessions (owner, updated DESC);
"""


class StoredSession(NamedTuple):
    """A conversation as it is stored; ``body`` is JSON."""

    id: str
    owner: str
    title: str
    body: str
    updated: float


class SessionStore:
    """The conversations of one workspace; without a file they are kept in memory."""

    def __init__(self, file: Path | None, *, readonly: bool = False) -> None:
        """With ``readonly``, stored conversations can be read and none is written."""
        self._lock = threading.Lock()
        self.readonly = readonly
        try:
            if file is not None and readonly and file.is_file():
                self._db = released(self, way_to(file, readonly=True).connect())
                return
            if file is not None and not readonly:
                file.parent.mkdir(parents=True, exist_ok=True)
            place = ":memory:" if file is None or readonly else str(file)
            self._db = released(self, sqlite3.connect(place, check_same_thread=False, timeout=20))
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ServeError(
                f"The conversations at {file} cannot be opened ({error}): move the file away."
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def save(self, owner: str, title: str, body: str, session: str = "") -> str:
        """Store a conversation and return its id: a new one if it has none or another owner.

        Raises:
            TooMuch: the body is larger than 2 MB.
            ServeError: the workspace is read-only.
        """
        self._writable()
        if len(body.encode()) > MAX_BODY:
            raise TooMuch("The conversation has grown past 2 MB: begin a new one.")
        with self._lock, self._db:
            if not session or self._owner(session) != owner:
                session = secrets.token_hex(16)
            row = (session, owner, title, body, time.time())
            self._db.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)", row)
            self._db.execute(
                "DELETE FROM sessions WHERE owner = ? AND id NOT IN "
                "(SELECT id FROM sessions WHERE owner = ? ORDER BY updated DESC LIMIT ?)",
                (owner, owner, MOST),
            )
        return session

    def read(self, session: str) -> StoredSession:
        """One conversation by its id. Raises NotThere."""
        with self._lock:
            row = self._db.execute(
                "SELECT id, owner, title, body, updated FROM sessions WHERE id = ?", (session,)
            ).fetchone()
        if row is None:
            raise NotThere("There is no conversation with that id here.")
        return StoredSession(*row)

    def of(self, owner: str) -> list[tuple[str, str, float]]:
        """(id, title, updated) of one browser's conversations, newest first."""
        with self._lock:
            return self._db.execute(
                "SELECT id, title, updated FROM sessions WHERE owner = ? ORDER BY updated DESC",
                (owner,),
            ).fetchall()

    def remove(self, owner: str, session: str) -> None:
        """Delete a conversation of this owner. Raises NotThere."""
        self._writable()
        with self._lock, self._db:
            gone = self._db.execute(
                "DELETE FROM sessions WHERE id = ? AND owner = ?", (session, owner)
            ).rowcount
        if not gone:
            raise NotThere("You have no conversation with that id here.")

    def _writable(self) -> None:
        if self.readonly:
            raise ServeError(READ_ONLY)

    def _owner(self, session: str) -> str | None:
        row = self._db.execute("SELECT owner FROM sessions WHERE id = ?", (session,)).fetchone()
        return None if row is None else str(row[0])
