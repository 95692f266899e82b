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

from semascope.atlas.database.sqlite import WRITE_SECONDS, SqliteAccess, way_to
from semascope.errors import AtlasError, DiskFull

_ROWS = 400
"""Rows of one INSERT."""


def engine_of(url_or_path: str | Path, *, readonly: bool = False) -> Engine:
    """An engine for a database URL, or for the path of an SQLite file.

    An SQLite file that cannot be written here is opened to be read, as is any with ``readonly``.
    Raises AtlasError where there is none to read, or the URL names no database.
    """
    text = str(url_or_path)
    try:
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
        if url.get_backend_name() == "sqlite":
            return _sqlite(url, readonly)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        return _sealed(create_engine(url, pool_pre_ping=True), readonly)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise AtlasError(
            f"{text!r} is no database that can be opened ({error}). Give the path of an SQLite "
            "file, or postgresql://user@host/name with `pip install semascope[postgres]`."
        ) from error


def _sqlite(url: URL, readonly: bool) -> Engine:
    if not url.database or url.database == ":memory:":
        return _begun(create_engine(url, connect_args={"isolation_level": None}))
    way = way_to(Path(url.database), readonly=readonly)
    return engine_by(way, url, readonly=readonly or not way.writable)


def engine_by(way: SqliteAccess, url: URL, *, readonly: bool) -> Engine:
    """An engine over one way to open an SQLite file; ``url`` names it in messages."""
    return _sealed(_begun(create_engine(url, creator=way.connect)), readonly)


def _sealed(engine: Engine, readonly: bool) -> Engine:
    """The same engine, which refuses to write where it should not."""
    return engine.execution_options(readonly=True) if readonly else engine


def _begun(engine: Engine) -> Engine:
    """An SQLite engine that says BEGIN itself."""

    @event.listens_for(engine, "begin")
    def _begins(connection: Connection) -> None:
        writer = connection.get_execution_options().get("writer")
        # A writer takes its lock at once: one that began as a reader could not wait for it.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes, all or nothing; AtlasError where nothing can be written."""
    if not writable(engine):
        raise AtlasError(_read_only(engine))
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


def writable(engine: Engine) -> bool:
    """Whether anything can be kept there, as far as is known."""
    return not engine.get_execution_options().get("readonly")


def _read_only(engine: Engine) -> str:
    where = engine.url.render_as_string(hide_password=True)
    return (
        f"{where} can be read and not written here, so nothing is kept in it. Copy the workspace "
        "to a folder of your own to write."
    )


@contextmanager
def told(engine: Engine) -> Iterator[None]:
    """The database's own complaints, in the user's words."""
    where = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except OperationalError as error:
        reason = str(error.orig)
        if "readonly" in reason or "read-only" in reason:
            raise AtlasError(_read_only(engine)) from error
        if "full" in reason:
            raise DiskFull(f"No room left to write {where}; free some and run again.") from error
        if "locked" in reason:
            raise AtlasError(
                f"{where} has been locked by another writer for {WRITE_SECONDS} s; try again."
            ) from error
        raise AtlasError(f"{where} cannot be opened: {reason}.") from error
    except DatabaseError as error:
        if "not a database" in str(error.orig) or "malformed" in str(error.orig):
            raise AtlasError(f"{where} is damaged, or no atlas: {error.orig}.") from error
        if "read-only transaction" in str(error.orig) or "permission denied" in str(error.orig):
            raise AtlasError(_read_only(engine)) from error
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
