"""Taking things out of the atlas: a note, a list, a dictionary that is made anew.

Knows tables; knows not why a thing goes.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import Table, select

from semascope.atlas import models as m
from semascope.atlas.atlas import Atlas
from semascope.atlas.database import writing

_ABOUT_FEATURES = (
    m.ExemplarTable,
    m.ScoreTable,
    m.ExplanationTable,
    m.NoteTable,
    m.ListMember,
)


def remove_dictionary(atlas: Atlas, key: str) -> None:
    """Remove what goes by ``site/name``: features, words, figures, exemplars, notes, in one
    transaction. Nothing happens where there is none. Samples stay: others may show them."""
    numbers = [row.id for row in atlas.dictionaries() if row.key == key]
    mine = select(m.FeatureTable.id).where(m.FeatureTable.dictionary_id.in_(numbers))
    with writing(atlas.engine) as connection:
        model: type[m.Base]
        for model in _ABOUT_FEATURES:
            table = cast(Table, model.__table__)
            connection.execute(table.delete().where(table.c.feature_id.in_(mine)))
        features = cast(Table, m.FeatureTable.__table__)
        connection.execute(features.delete().where(features.c.dictionary_id.in_(numbers)))
        dictionaries = cast(Table, m.DictionaryTable.__table__)
        connection.execute(dictionaries.delete().where(dictionaries.c.id.in_(numbers)))


def remove_note(atlas: Atlas, note: int) -> bool:
    """Take one note away; False where there is none by that number."""
    table = cast(Table, m.NoteTable.__table__)
    with writing(atlas.engine) as connection:
        return bool(connection.execute(table.delete().where(table.c.id == note)).rowcount)


def remove_list(atlas: Atlas, name: str) -> bool:
    """Take one list away; its features stay. False where there is none by that name."""
    lists, members = cast(Table, m.ListTable.__table__), cast(Table, m.ListMember.__table__)
    with writing(atlas.engine) as connection:
        number = connection.scalar(select(lists.c.id).where(lists.c.name == name))
        if number is None:
            return False
        connection.execute(members.delete().where(members.c.list_id == number))
        connection.execute(lists.delete().where(lists.c.id == number))
        return True
