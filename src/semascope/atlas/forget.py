"""Taking a dictionary out of the atlas, when it is made anew and nothing said of it holds any more.

Knows tables; knows not why a dictionary goes.
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
