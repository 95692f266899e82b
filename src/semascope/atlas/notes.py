"""What people keep: notes on features, and lists of them.

Both name a feature by its address (model, ``site/name``, index), beside which training it was of
and what it was called. So they stay when a dictionary is trained anew, with another width or not
at all. Knows tables; every function takes a connection that writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, select

from semascope.atlas import query
from semascope.atlas.database import tables as m
from semascope.atlas.database.connect import upsert
from semascope.atlas.records import DictionaryRow
from semascope.errors import AtlasError

Address = tuple[str, str, int]
"""(model, ``site/name``, index)."""
_MEMBERS = cast(Table, m.ListMember.__table__)


def add_note(
    connection: Connection, chosen: DictionaryRow, index: int, text: str, author: str
) -> None:
    """Keep a note on a feature; AtlasError where there is no such feature."""
    values = {**_about(connection, chosen, index), "author": author, "text": text}
    table = cast(Table, m.NoteTable.__table__)
    connection.execute(table.insert(), [values | {"created": m.now()}])


def set_list(
    connection: Connection, name: str, features: Sequence[tuple[str | int, int]], about: str
) -> None:
    """Make or replace a list; members that it has already may be gone by now."""
    had = _members(connection, name)
    rows: dict[Address, dict[str, Any]] = {}
    for dictionary, index in features:
        row = _member(connection, had, dictionary, index)
        rows.setdefault((row["model"], row["key"], row["index"]), row)
    row = {"name": name, "about": about, "created": m.now()}
    upsert(connection, cast(Table, m.ListTable.__table__), [row], ("name",), ("created",))
    number = connection.scalar(select(m.ListTable.id).where(m.ListTable.name == name)) or 0
    connection.execute(_MEMBERS.delete().where(_MEMBERS.c.list_id == number))
    placed = [{**r, "list_id": number, "place": p} for p, r in enumerate(rows.values())]
    if placed:
        connection.execute(_MEMBERS.insert(), placed)


def _member(
    connection: Connection,
    had: Sequence[dict[str, Any]],
    dictionary: str | int,
    index: int,
) -> dict[str, Any]:
    """A member of a list: a feature that is there, or one that the list held before."""
    for row in had:
        if row["index"] == index and dictionary in (row["key"], f"{row['model']}:{row['key']}"):
            return row
    return _about(connection, query.dictionary(connection, dictionary), index)


def _members(connection: Connection, name: str) -> list[dict[str, Any]]:
    columns = [c for c in _MEMBERS.c if c.name not in ("list_id", "place")]
    statement = select(*columns).join(m.ListTable, m.ListTable.id == _MEMBERS.c.list_id)
    rows = connection.execute(statement.where(m.ListTable.name == name)).mappings()
    return [dict(row) for row in rows]


def _about(connection: Connection, chosen: DictionaryRow, index: int) -> dict[str, Any]:
    """The address of a feature, with what it is called; AtlasError where it is not there."""
    found = connection.execute(
        select(m.FeatureTable.label).where(
            m.FeatureTable.dictionary_id == chosen.id, m.FeatureTable.index == int(index)
        )
    ).first()
    if found is None:
        raise AtlasError(
            f"Feature {index} is not in the atlas: write the dictionary's features first."
        )
    return {
        "model": chosen.model,
        "key": chosen.key,
        "index": int(index),
        "trained": str(chosen.about.get("trained", "")),
        "label": found.label,
    }
