"""The connection: SQLite in WAL mode or PostgreSQL by URL, one writer, many readers.

Knows engines and transactions; knows no table but ``meta``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.sql.schema import Table

from semascope.errors import AtlasError, DiskFull

BUSY_SECONDS = 60
"""How long a writer waits for another one."""
_ROWS = 400
"""Rows of one INSERT."""


def engine_of(url_or_path: str | Path) -> Engine:
    """An engine for a database URL, or for the path of an SQLite file."""
    text = str(url_or_path)
    try:
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
        if url.get_backend_name() == "sqlite":
            return _sqlite(url)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        return create_engine(url, pool_pre_ping=True)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise AtlasError(
            f"{text!r} is no database that can be opened ({error}). Give the path of an SQLite "
            "file, or postgresql://user@host/name with `pip install semascope[postgres]`."
        ) from error


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _opened(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begins(connection: Connection) -> None:
        writer = connection.get_execution_options().get("writer")
        # A writer takes its lock at once: one that began as a reader could not wait for it.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes, all or nothing."""
    with (
        told(engine),
        engine.connect().execution_options(writer=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view; sees nothing that a writer has not finished."""
    with told(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def told(engine: Engine) -> Iterator[None]:
    """The database's own complaints, in the user's words."""
    where = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except OperationalError as error:
        reason = str(error.orig)
        if "full" in reason:
            raise DiskFull(f"No room left to write {where}; free some and run again.") from error
        if "locked" in reason:
            raise AtlasError(
                f"{where} has been locked by another writer for {BUSY_SECONDS} s; try again."
            ) from error
        raise AtlasError(f"{where} cannot be opened: {reason}.") from error
    except DatabaseError as error:
        if "not a database" in str(error.orig) or "malformed" in str(error.orig):
            raise AtlasError(f"{where} is damaged, or no atlas: {error.orig}.") from error
        raise


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    key: Sequence[str],
    keep: Sequence[str] = (),
) -> None:
    """Insert rows; where ``key`` is there already, replace all but ``key`` and ``keep``."""
    if not rows:
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    changed = [c for c in rows[0] if c not in key and c not in keep]
    statement = statement.on_conflict_do_update(
        index_elements=list(key), set_={c: statement.excluded[c] for c in changed}
    )
    for first in range(0, len(rows), _ROWS):
        connection.execute(statement, list(rows[first : first + _ROWS]))
