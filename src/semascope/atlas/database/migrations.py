"""Bringing an older atlas up to this version, step by step, in one transaction.

``STEPS[v]`` turns version v into v + 1. A newer file is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine, Table, inspect, select, text

from semascope.atlas.database.connect import engine_by, engine_of, reading, writable, writing
from semascope.atlas.database.sqlite import copied
from semascope.atlas.database.tables import VERSION, Base, ListMember, Meta, NoteTable
from semascope.errors import AtlasError, AtlasTooNew

_META = cast(Table, Meta.__table__)


def _places(connection: Connection) -> None:
    """1 → 2: features have a place on a map."""
    kinds = {"x": "DOUBLE PRECISION", "y": "DOUBLE PRECISION", "region": "INTEGER"}
    for name, kind in kinds.items():
        connection.execute(text(f"ALTER TABLE features ADD COLUMN {name} {kind}"))


def _addresses(connection: Connection) -> None:
    """2 → 3: notes and lists name features by address, and words say where they come from."""
    columns = {("explanations", "origin"): "VARCHAR NOT NULL DEFAULT ''",
               ("explanations", "chosen"): "BOOLEAN NOT NULL DEFAULT FALSE",
               ("scores", "origin"): "VARCHAR NOT NULL DEFAULT ''"}  # fmt: skip
    for (table, name), kind in columns.items():
        if name not in _columns(connection, table):
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {name} {kind}"))
    # What a stage of the run derived names its inputs by a hash; imports say "imported".
    connection.execute(
        text("UPDATE explanations SET origin = 'run' WHERE inputs NOT IN ('', 'imported')")
    )
    kept = (
        "EXISTS (SELECT 1 FROM explanations e WHERE e.feature_id = scores.feature_id "
        "AND e.author = scores.author AND e.origin = '')"
    )
    connection.execute(text(f"UPDATE scores SET origin = 'run' WHERE NOT {kept}"))
    own = {"notes": "t.id, t.author, t.text, t.created", "list_members": "t.list_id, t.place"}
    for model in (NoteTable, ListMember):
        _rebuild(connection, cast(Table, model.__table__), own[model.__tablename__])


def _rebuild(connection: Connection, table: Table, own: str) -> None:
    """Make one table of people's work anew, with addresses in place of row numbers."""
    name = table.name
    if "feature_id" not in _columns(connection, name):
        return
    rows = connection.execute(
        text(
            f'SELECT {own}, d.model, d.key, f."index", f.label FROM {name} t '
            "JOIN features f ON f.id = t.feature_id JOIN dictionaries d ON d.id = f.dictionary_id"
        )
    ).mappings()
    found = [{**row, "trained": ""} for row in rows]
    connection.execute(text(f"DROP TABLE {name}"))
    table.create(connection)
    if found:
        connection.execute(table.insert(), found)
    if "id" in table.c and connection.dialect.name == "postgresql":
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), "
                f"(SELECT COALESCE(MAX(id), 0) + 1 FROM {name}), false)"
            )
        )


def _columns(connection: Connection, table: str) -> set[str]:
    return {column["name"] for column in inspect(connection).get_columns(table)}


STEPS: dict[int, Callable[[Connection], None]] = {1: _places, 2: _addresses}


def opened(url_or_path: str | Path, *, readonly: bool = False) -> Engine:
    """An engine over an atlas whose tables are up to date.

    An atlas that is up to date is only read, so that one that cannot be written can be opened.
    Of an older SQLite file that cannot be written, a copy is brought up to date. Raises
    AtlasTooNew where a later version wrote it, AtlasError where the database holds something else.
    """
    engine = engine_of(url_or_path, readonly=readonly)
    if _is_current(engine):
        return engine
    if writable(engine):
        migrate(engine)
        return engine
    if engine.dialect.name != "sqlite":
        raise AtlasError(
            f"{engine.url.render_as_string(hide_password=True)} holds no atlas of this version, "
            "and is only read here: open it once to write."
        )
    engine.dispose()
    way = copied(Path(str(engine.url.database)))
    own = engine_by(way, engine.url, readonly=False)
    migrate(own)
    return own.execution_options(readonly=True)


def _is_current(engine: Engine) -> bool:
    with reading(engine) as connection:
        if "meta" not in inspect(connection).get_table_names():
            return False
        return connection.scalar(select(Meta.value).where(Meta.key == "schema")) == str(VERSION)


def migrate(engine: Engine) -> None:
    """Create the tables, or bring them up to date, in one transaction."""
    where = engine.url.render_as_string(hide_password=True)
    with writing(engine) as connection:
        tables = set(inspect(connection).get_table_names())
        if "meta" not in tables:
            if tables & set(Base.metadata.tables):
                raise AtlasError(f"{where} holds other tables; give the atlas its own database.")
            Base.metadata.create_all(connection)
            connection.execute(_META.insert().values(key="schema", value=str(VERSION)))
            return
        found = connection.scalar(select(Meta.value).where(Meta.key == "schema"))
        if found is None or not found.isdigit():
            raise AtlasError(f"{where} holds other tables; give the atlas its own database.")
        version = int(found)
        if version > VERSION:
            raise AtlasTooNew(
                f"{where} was written by a later semascope (schema {version}, this one knows "
                f"{VERSION}): run `pip install --upgrade semascope`."
            )
        for step in range(version, VERSION):
            STEPS[step](connection)
        if version < VERSION:
            connection.execute(
                _META.update().where(Meta.key == "schema").values(value=str(VERSION))
            )
