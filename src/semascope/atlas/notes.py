"""What people keep: notes on features, and lists of them.

Both name a feature by its address (model, ``site/name``, index), beside which training it was of
and what it was called. So they stay when a dictionary is trained anew, with another width or not
at all. Knows tables; every function takes a connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Connection, Table, func, select

from semascope.atlas import query
from semascope.atlas.database import tables as m
from semascope.atlas.database.connect import upsert
from semascope.atlas.records import DictionaryRow, FeatureDetail, FeatureListRow, Note
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


def read_notes(
    connection: Connection, dictionary: str | int | None = None, index: int = 0
) -> tuple[Note, ...]:
    """Notes on one feature, or, without a dictionary, all; oldest first.

    A note on a feature, a dictionary or a training that is there no longer says so in ``past``.
    """
    n = m.NoteTable
    every = query.dictionaries(connection)
    found = [d for d in every if dictionary in (d.id, d.key, f"{d.model}:{d.key}")]
    statement = select(n.id, n.model, n.key, n.index, n.trained, n.label, n.author, n.text,
                       n.created).order_by(n.id)  # fmt: skip
    if dictionary is not None:
        key = found[0].key if found else str(dictionary)
        statement = statement.where(n.key == key, n.index == int(index))
    there = {(d.model, d.key): d for d in every}
    rows = connection.execute(statement).all()
    return tuple(
        Note(
            r.id,
            f"{r.key}/{r.index}",
            r.author,
            r.text,
            r.created,
            past=_past(connection, r, there),
        )
        for r in rows
        if not found or r.model == found[0].model or (r.model, r.key) not in there
    )


def _past(connection: Connection, row: Any, there: Mapping[tuple[str, str], DictionaryRow]) -> str:
    """Why a note or a member of a list is not about a feature that is there; empty where it is."""
    called = f", then called {row.label!r}" if row.label else ""
    chosen = there.get((row.model, row.key))
    if chosen is None or not _is_there(connection, chosen, row.index):
        return f"About a feature that is there no longer{called}."
    now = str(chosen.about.get("trained", ""))
    if row.trained and now and row.trained != now:
        return f"About an earlier training of this dictionary{called}."
    return ""


def _is_there(connection: Connection, chosen: DictionaryRow, index: int) -> bool:
    """Whether a feature is part of its dictionary as it is now."""
    if index >= chosen.width or chosen.about.get("forgotten"):
        return False
    return bool(query.feature_ids(connection, chosen.id, [index]))


def list_sizes(connection: Connection) -> dict[str, int]:
    """How many features each list holds, by its name."""
    statement = (
        select(m.ListTable.name, func.count(m.ListMember.place))
        .outerjoin(m.ListMember, m.ListMember.list_id == m.ListTable.id)
        .group_by(m.ListTable.name)
        .order_by(m.ListTable.name)
    )
    return query.pairs(connection, statement)


def list_features(connection: Connection, name: str) -> tuple[FeatureListRow, ...]:
    """The features of a list, in its order; of one that is gone, a row that says so."""
    sizes = list_sizes(connection)
    if name not in sizes:
        raise AtlasError(f"No list {name!r}. There are: {', '.join(sizes) or 'none'}.")
    n = m.ListMember
    statement = select(n.model, n.key, n.index, n.trained, n.label)
    statement = statement.join(m.ListTable, m.ListTable.id == n.list_id)
    members = connection.execute(statement.where(m.ListTable.name == name).order_by(n.place)).all()
    there = {(d.model, d.key): d for d in query.dictionaries(connection)}
    return tuple(_member_row(connection, member, there) for member in members)


def _member_row(
    connection: Connection, member: Any, there: Mapping[tuple[str, str], DictionaryRow]
) -> FeatureListRow:
    past = _past(connection, member, there)
    chosen = there.get((member.model, member.key))
    if chosen is not None and _is_there(connection, chosen, member.index):
        number = query.feature_ids(connection, chosen.id, [member.index])[member.index]
        return replace(query.rows_of(connection, [number])[0], past=past)
    return FeatureListRow(
        id=f"{member.key}/{member.index}", dictionary=member.key, index=member.index, alive=False,
        modality="none", density=0.0, density_text=0.0, density_image=0.0, max=0.0, samples=0,
        label=member.label, description=past, category="", confidence=None, abstained=None,
        author="", scores={}, past=past,
    )  # fmt: skip


def with_notes(
    connection: Connection, chosen: DictionaryRow, detail: FeatureDetail
) -> FeatureDetail:
    """A feature with the notes on it and the lists that hold it."""
    member = m.ListMember
    statement = select(m.ListTable.name).join(member, member.list_id == m.ListTable.id)
    address = (
        member.model == chosen.model,
        member.key == chosen.key,
        member.index == detail.row.index,
    )
    names = connection.execute(statement.where(*address)).scalars()
    return replace(
        detail,
        notes=read_notes(connection, chosen.id, detail.row.index),
        lists=tuple(sorted(names)),
    )
