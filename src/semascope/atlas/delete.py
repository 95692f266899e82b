"""Taking things out of the atlas: a note, a list, what was derived of a dictionary.

What people made stays when what was derived goes: notes, lists, words of other authors, and the
words that a person chose. Knows tables; knows not why a thing goes.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import Connection, Table, func, select, update

from semascope.atlas import query
from semascope.atlas.atlas import Atlas
from semascope.atlas.database import tables as m
from semascope.atlas.database.connect import writing
from semascope.atlas.words import RUN, mark_scores, stand_again

_FEATURES = cast(Table, m.FeatureTable.__table__)
_EXPLANATIONS = cast(Table, m.ExplanationTable.__table__)
_SCORES = cast(Table, m.ScoreTable.__table__)
_EXEMPLARS = cast(Table, m.ExemplarTable.__table__)
_DICTIONARIES = cast(Table, m.DictionaryTable.__table__)


def remove_dictionary(atlas: Atlas, key: str) -> None:
    """Remove what was derived of ``site/name``: its features with their figures, exemplars and the
    run's words, in one transaction.

    Features that have words of another origin stay with these, as long as nothing new is written;
    notes and lists name their features by address and stay as they are. Nothing happens where
    there is no such dictionary. Samples stay: others may show them.
    """
    with writing(atlas.engine) as connection:
        for row in query.dictionaries(connection, key=key):
            _forget(connection, row.id)


def _forget(connection: Connection, number: int) -> None:
    mine = select(_FEATURES.c.id).where(_FEATURES.c.dictionary_id == number)
    for table in (_EXPLANATIONS, _SCORES):
        derived = (table.c.feature_id.in_(mine), table.c.origin == RUN)
        connection.execute(table.delete().where(*derived))
    connection.execute(_EXEMPLARS.delete().where(_EXEMPLARS.c.feature_id.in_(mine)))
    kept = {
        row
        for table in (_EXPLANATIONS, _SCORES)
        for row in connection.execute(
            select(table.c.feature_id).where(table.c.feature_id.in_(mine)).distinct()
        ).scalars()
    }
    gone = _FEATURES.delete().where(_FEATURES.c.dictionary_id == number)
    for table in (_EXPLANATIONS, _SCORES):
        held = select(table.c.feature_id).where(table.c.feature_id == _FEATURES.c.id)
        gone = gone.where(~held.exists())
    connection.execute(gone)
    if not kept:
        connection.execute(_DICTIONARIES.delete().where(_DICTIONARIES.c.id == number))
        return
    _blank(connection, number)
    stand_again(connection, sorted(kept))
    mark_scores(connection, sorted(kept))


def _blank(connection: Connection, number: int) -> None:
    """Features without a figure, of a dictionary that is to be made anew."""
    nothing = {"alive": False, "modality": "none", "density": 0.0, "density_text": 0.0,
               "density_image": 0.0, "max": 0.0, "samples": 0, "stats": {}, "near": {}, "x": None,
               "y": None, "region": None}  # fmt: skip
    mine = update(_FEATURES).where(_FEATURES.c.dictionary_id == number)
    connection.execute(mine.values(nothing))
    widest = connection.scalar(
        select(func.max(_FEATURES.c.index)).where(_FEATURES.c.dictionary_id == number)
    )
    about = {"about": {"forgotten": True}, "width": int(widest or 0) + 1}
    connection.execute(update(_DICTIONARIES).where(_DICTIONARIES.c.id == number).values(about))


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
