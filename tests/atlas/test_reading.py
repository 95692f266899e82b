"""Reading an atlas needs no writing: beside a writer, read-only files, older schemas, odd disks."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from test_atlas import KEY, figures
from test_people import OLD

from semascope.atlas import Atlas
from semascope.atlas.database import sqlite
from semascope.atlas.database.sqlite import SqliteAccess, way_to
from semascope.errors import AtlasError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An atlas with twenty features."""
    path = tmp_path / "run" / "atlas.db"
    with Atlas.open(path) as atlas:
        atlas.add_dictionary(KEY, model="tiny", width=20)
        atlas.write_features(KEY, figures(20))
    return path


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A place where neither the file nor anything beside it can be written, even by root."""
    tried: list[str] = []
    plain = SqliteAccess.fails

    def fails(self: SqliteAccess) -> sqlite3.Error | None:
        tried.append(self.query)
        if "immutable" in self.query or "semascope-atlas-" in str(self.path):
            return plain(self)
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY
        return error

    monkeypatch.setattr(SqliteAccess, "fails", fails)
    yield tried


def test_a_reader_does_not_wait_for_a_writer(path: Path) -> None:
    """Opening an atlas to read took the writer's lock: 60 seconds, then an error."""
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE meta SET value = value")
    begun = time.monotonic()
    for readonly in (True, False):
        with Atlas.open(path, readonly=readonly) as atlas:
            assert atlas.features(KEY).total == 20
    writer.execute("ROLLBACK")
    writer.close()
    assert time.monotonic() - begun < sqlite.WRITE_SECONDS / 2


def test_a_read_only_atlas_is_read_and_says_that_it_is_not_written(
    path: Path, forbidden: list[str]
) -> None:
    """As on a shared disk: what reads works, what writes is a sentence."""
    with Atlas.open(path) as atlas:
        assert not atlas.writable
        assert atlas.features(KEY).total == 20
        for write in (
            lambda: atlas.add_note(KEY, 1, "x"),
            lambda: atlas.set_list("a", []),
            lambda: atlas.add_dictionary("s/x", model="tiny", width=1),
        ):
            with pytest.raises(AtlasError, match="can be read and not written here"):
                write()
    assert forbidden == ["", "mode=ro"]


def test_a_log_that_was_not_written_back_is_read(
    path: Path, tmp_path: Path, forbidden: list[str]
) -> None:
    """Opened as immutable, pages that only the log holds would be missing, without a word."""
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute(
        "INSERT INTO notes (model, key, 'index', trained, label, author, text, created) "
        "VALUES ('tiny', ?, 1, '', '', '', 'in the log', '')",
        (KEY,),
    )
    copy = tmp_path / "copy" / "atlas.db"
    copy.parent.mkdir()
    for name in ("atlas.db", "atlas.db-wal"):
        shutil.copyfile(path.with_name(name), copy.with_name(name))
    writer.close()
    with Atlas.open(copy, readonly=True) as atlas:
        assert [n.text for n in atlas.all_notes()] == ["in the log"]


def test_an_older_atlas_that_cannot_be_written_is_read(
    tmp_path: Path, forbidden: list[str]
) -> None:
    """A migration writes; of a file that cannot be written, a copy is migrated."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(OLD)
    connection.close()
    before = path.read_bytes()
    with Atlas.open(path) as atlas:
        assert [n.text for n in atlas.all_notes()] == ["an hour of work"] and not atlas.writable
        with pytest.raises(AtlasError, match="can be read and not written"):
            atlas.set_list("a", [])
    assert path.read_bytes() == before


def test_what_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    """A reader that makes an empty atlas hides that the name was wrong."""
    with pytest.raises(AtlasError, match="no atlas at"):
        Atlas.open(tmp_path / "none" / "atlas.db", readonly=True)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(AtlasError, match="cannot be made"):
        Atlas.open(tmp_path / "file" / "atlas.db")


def test_names_with_letters_that_addresses_use(tmp_path: Path) -> None:
    """A folder may be called anything: % and ? are letters of an SQLite address."""
    path = tmp_path / "100% so? #1 [a]" / "atlas.db"
    with Atlas.open(path) as atlas:
        atlas.add_dictionary(KEY, model="tiny", width=1)
    assert path.is_file() and way_to(path, readonly=True).fails() is None
    with Atlas.open(path, readonly=True) as atlas:
        assert len(atlas.dictionaries()) == 1
