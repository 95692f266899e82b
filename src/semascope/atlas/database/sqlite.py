"""How an SQLite file can be opened here: to write, to read beside a writer, or as it stands.

A file in WAL mode cannot simply be read from a folder that cannot be written: SQLite wants its
shared-memory file beside it. Then the file is opened as immutable, or, where its log holds pages
that the file does not, as a copy. Knows SQLite; knows no table.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from semascope.errors import AtlasError

WRITE_SECONDS = 60
"""How long a writer waits for another one."""
READ_SECONDS = 5
"""How long a reader waits: in WAL mode it never has to."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SqliteAccess:
    """One way to open a file."""

    path: Path
    query: str = ""
    """What follows the path in an SQLite URI."""
    writable: bool = True
    wait: float = WRITE_SECONDS
    keep: list[object] = field(default_factory=list)
    """What must live as long as the file is in use: the folder of a copy."""

    def connect(self) -> sqlite3.Connection:
        """A connection of our own kind: foreign keys checked, BEGIN left to the caller."""
        name = f"file:{quote(str(self.path.absolute()))}?{self.query}"
        connection = sqlite3.connect(
            name, uri=True, timeout=self.wait, check_same_thread=False, isolation_level=None
        )
        pragmas = ["foreign_keys=ON"]
        if self.writable:
            pragmas = ["journal_mode=WAL", "synchronous=NORMAL", *pragmas]
        try:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").close()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def fails(self) -> sqlite3.Error | None:
        """Why the file cannot be opened so; None where it can."""
        try:
            connection = self.connect()
        except sqlite3.Error as error:
            return error
        try:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            return error
        finally:
            connection.close()
        return None


def released(owner: object, connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, closed with its owner at the latest: Python 3.13 warns of what is not."""
    weakref.finalize(owner, connection.close)
    return connection


def way_to(path: Path, *, readonly: bool = False) -> SqliteAccess:
    """The best way to open a file here, made where it is not there yet unless ``readonly``.

    Raises AtlasError where the folder cannot be made, or there is nothing to read.
    """
    if not readonly:
        _make_folder(path)
        way = SqliteAccess(path)
        failed = way.fails()
        if failed is None or not _is_forbidden(failed):
            return way  # what else is wrong is told when it is used
        if not path.is_file():
            raise AtlasError(f"{path} cannot be made ({failed}): the folder cannot be written.")
    if not path.is_file():
        raise AtlasError(f"There is no atlas at {path}.")
    return _reading(path)


def _reading(path: Path) -> SqliteAccess:
    way = SqliteAccess(path, "mode=ro", writable=False, wait=READ_SECONDS)
    failed = way.fails()
    if failed is None or not _is_forbidden(failed):
        return way
    log = path.with_name(f"{path.name}-wal")
    if not log.is_file() or not log.stat().st_size:
        return SqliteAccess(path, "mode=ro&immutable=1", writable=False, wait=READ_SECONDS)
    return copied(path)


def copied(path: Path) -> SqliteAccess:
    """A copy of the file with its log, in a temporary folder that goes when it is not used."""
    folder = Path(tempfile.mkdtemp(prefix="semascope-atlas-"))
    try:
        for name in (path.name, f"{path.name}-wal"):
            if path.with_name(name).is_file():
                shutil.copyfile(path.with_name(name), folder / name)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise AtlasError(f"{path} cannot be read ({error.strerror}).") from error
    way = SqliteAccess(folder / path.name)
    way.keep.append(weakref.finalize(way, shutil.rmtree, folder, ignore_errors=True))
    return way


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AtlasError(
            f"{path.parent} cannot be made ({error.strerror}): name another folder."
        ) from error


def _is_forbidden(error: sqlite3.Error) -> bool:
    """Whether it is the place that forbids to write, and not the file that is wrong."""
    codes = {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
    }
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in codes
