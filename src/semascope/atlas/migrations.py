"""Bringing an older atlas up to this version, step by step, in one transaction.

``STEPS[v]`` turns version v into v + 1. A newer file is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from sqlalchemy import Connection, Engine, Table, inspect, select, text

from semascope.atlas.database import writing
from semascope.atlas.models import VERSION, Base, Meta
from semascope.errors import AtlasError, AtlasTooNew

_META = cast(Table, Meta.__table__)


def _places(connection: Connection) -> None:
    """1 → 2: features have a place on a map."""
    kinds = {"x": "DOUBLE PRECISION", "y": "DOUBLE PRECISION", "region": "INTEGER"}
    for name, kind in kinds.items():
        connection.execute(text(f"ALTER TABLE features ADD COLUMN {name} {kind}"))


STEPS: dict[int, Callable[[Connection], None]] = {1: _places}


def migrate(engine: Engine) -> None:
    """Create the tables, or bring them up to date.

    Raises AtlasTooNew where a later version wrote them, AtlasError where the database holds
    something else.
    """
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
