"""The atlas on a real PostgreSQL server: what holds on SQLite holds there, and writers never block.

The server is Debian's (``apt install postgresql``), begun in a folder of its own and ended with
the tests; the driver is ``pip install semascope[postgres]``. Without either, skipped in words.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from test_atlas import (  # noqa: F401 - they run again, on this module's atlas
    KEY,
    Figure,
    Words,
    figures,
    test_exemplars_come_back_as_they_were,
    test_filters_combine,
    test_models_may_share_names_of_dictionaries,
    test_newest_words_stand_but_an_abstention_hides_none,
    test_notes_and_lists,
    test_questions_that_cannot_be_answered_say_what_can,
    test_sorting_puts_features_without_a_figure_last,
    test_writing_twice_changes_nothing,
)
from test_atlas_map import (  # noqa: F401
    test_features_without_words_come_last_in_both_directions,
    test_filters_by_layer_and_score_need_no_sorting,
    test_the_map_comes_back_in_columns,
)

from semascope.atlas import Atlas, MapLayout

DEBIAN = Path("/usr/lib/postgresql")


def programs() -> Path:
    """The newest server that is installed; a skip that says how to get one."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if not found:
        pytest.skip("No PostgreSQL server here: apt install postgresql to test on a real one.")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("No driver for PostgreSQL here: pip install semascope[postgres] to test it.")
    return found[-1].parent


def ordinary_user() -> str | None:
    """The server refuses to run as root: somebody else then."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on a socket of its own; what to put before and after a database's name."""
    bin_, user = programs(), ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user:
        shutil.chown(folder, user)

    def call(program: str, *words: str) -> None:
        subprocess.run(
            [bin_ / program, "-D", folder / "data", *words], check=True, user=user, cwd=folder,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    call("initdb", "-A", "trust", "-U", "atlas", "--no-sync", "-E", "UTF8", "--locale=C")
    call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-F -k {folder} -h ''", "start")
    try:
        yield f"postgresql://atlas@/{{}}?host={folder}"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    name = f"t{abs(hash(request.node.name)) % 10**9}"
    base = server.format("postgres").replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(base, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.format(name)


@pytest.fixture
def atlas(url: str) -> Iterator[Atlas]:
    """Twenty features, on the server."""
    with Atlas.open(url) as out:
        out.add_dictionary(KEY, model="tiny", width=20)
        out.write_features(KEY, figures(20))
        yield out


def test_readers_work_while_a_writer_writes(url: str) -> None:
    """Each read is one state, all scores of a batch or none; nobody waits for the writer."""
    with Atlas.open(url) as writer, Atlas.open(url) as reader:
        writer.add_dictionary(KEY, model="tiny", width=50)
        writer.write_features(KEY, figures(50))
        stop, seen, failed = threading.Event(), set(), []

        def read() -> None:
            try:
                while not stop.is_set():
                    rows = reader.features(KEY, limit=50).rows
                    scored = [r.scores["x"].value for r in rows if r.scores]
                    seen.add((len(scored), tuple(sorted(set(scored)))))
            except Exception as error:  # noqa: BLE001
                failed.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for value in range(8):
                writer.write_scores(KEY, [Figure(i, float(value), "x") for i in range(50)])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not failed
    # A list is put together by several statements; each of them sees whole batches.
    assert all(count in (0, 50) for count, _ in seen)
    assert all(len(values) <= 1 for _, values in seen)


def test_two_writers_take_turns_on_the_server(url: str) -> None:
    """Different dictionaries at once, and the same one: all of it is there at the end."""
    Atlas.open(url).close()
    failed: list[Exception] = []

    def write(name: str) -> None:
        try:
            with Atlas.open(url) as mine:
                mine.add_dictionary(name, model="tiny", width=30)
                mine.write_features(name, figures(30))
                mine.write_explanations(name, [Words(i) for i in range(30)])
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in ("s/a", "s/b", "s/b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with Atlas.open(url) as mine:
        assert mine.features().total == 60


def test_an_older_atlas_on_the_server(url: str) -> None:
    """Migrations run there too."""
    with Atlas.open(url) as old:
        old.add_dictionary(KEY, model="tiny", width=20)
        old.write_features(KEY, figures(20))
        with old.engine.begin() as connection:
            for name in ("x", "y", "region"):
                connection.execute(text(f"ALTER TABLE features DROP COLUMN {name}"))
            connection.execute(text("UPDATE meta SET value = '1'"))
    with Atlas.open(url) as new:
        places: Any = np.zeros((2, 2), np.float32)
        new.write_map(KEY, np.arange(2), MapLayout(places, np.zeros(2, np.int32), (), "x"))
        assert new.map(KEY).index.tolist() == [0, 1]
