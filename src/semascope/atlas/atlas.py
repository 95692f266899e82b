"""The atlas: one object over the database, for those who write it and those who look things up.

Writers take batches, each one transaction; readers never wait for them. A dictionary is named
by its ``site/name``, or by ``model:site/name`` where several models share the atlas. Knows no
model, no tensor, no page.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, bindparam, update

from semascope.atlas import notes, query
from semascope.atlas.database import tables as m
from semascope.atlas.database.connect import reading, upsert, writable, writing
from semascope.atlas.database.migrations import opened
from semascope.atlas.feature_map import MapLayout
from semascope.atlas.records import (
    DictionaryRow,
    ExplanationLike,
    FeatureDetail,
    FeatureFigures,
    FeatureListRow,
    FeatureMap,
    NewExemplar,
    Note,
    Page,
    SampleRecord,
    ScoreLike,
)
from semascope.atlas.words import current_words, explanation_values, mark_scores, score_values
from semascope.errors import AtlasError

_BATCH = 2000


def _table(model: type[m.Base]) -> Table:
    assert isinstance(model.__table__, Table)
    return model.__table__


class Atlas:
    """``Atlas.open(path_or_url)``; close it, or use it as a context manager."""

    def __init__(self, url_or_path: str | Path, *, readonly: bool = False) -> None:
        self.engine = opened(url_or_path, readonly=readonly)
        weakref.finalize(self, self.engine.dispose)  # whoever forgets to close it

    @classmethod
    def open(cls, url_or_path: str | Path, *, readonly: bool = False) -> Atlas:
        """Open, creating or migrating as needed; ``readonly`` never writes, and waits for nobody.

        An SQLite file that cannot be written here is opened to be read; ``writable`` says so.
        Raises AtlasTooNew for one of a later version, AtlasError where there is no atlas.
        """
        return cls(url_or_path, readonly=readonly)

    @property
    def writable(self) -> bool:
        """Whether what is written here is kept; else writers raise AtlasError."""
        return writable(self.engine)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def __enter__(self) -> Atlas:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Dictionaries

    def add_dictionary(
        self, key: str, *, model: str, width: int, about: Mapping[str, Any] | None = None
    ) -> int:
        """Add a dictionary, or update what is said about it; returns its number."""
        row = {"model": model, "key": key, "width": width, "about": dict(about or {})}
        with writing(self.engine) as connection:
            found = query.dictionaries(connection, model=model, key=key)
            if found and found[0].width != width and not found[0].about.get("forgotten"):
                raise AtlasError(
                    f"{key} of {model} is in the atlas with {found[0].width} features, not "
                    f"{width}: call the new one by another name."
                )
            if about is None and found:
                row["about"] = dict(found[0].about)
            upsert(connection, _table(m.DictionaryTable), [row], ("model", "key"))
            return query.dictionaries(connection, model=model, key=key)[0].id

    def widen(self, dictionary: int, width: int) -> None:
        """Let a dictionary have more features than before."""
        table = _table(m.DictionaryTable)
        with writing(self.engine) as connection:
            connection.execute(update(table).where(table.c.id == dictionary).values(width=width))

    def dictionaries(self) -> list[DictionaryRow]:
        """All of them, in the order in which they were added."""
        with reading(self.engine) as connection:
            return query.dictionaries(connection)

    def dictionary(self, name: str | int) -> DictionaryRow:
        """One by number, ``site/name`` or ``model:site/name``; AtlasError where none or many."""
        with reading(self.engine) as connection:
            return query.dictionary(connection, name)

    # Writers

    def write_features(self, dictionary: str | int, figures: Iterable[FeatureFigures]) -> None:
        """Figures of features, in batches; words that are there stay."""
        number = self.dictionary(dictionary).id
        words = {"label": "", "description": "", "category": "", "author": ""}
        for batch in _batched(figures):
            rows = [
                {"dictionary_id": number, **words}
                | {n: getattr(f, n) for n in f.__slots__}
                | {"stats": dict(f.stats), "near": dict(f.near)}
                for f in batch
            ]
            with writing(self.engine) as connection:
                upsert(
                    connection,
                    _table(m.FeatureTable),
                    rows,
                    ("dictionary_id", "index"),
                    tuple(words),
                )

    def write_samples(self, source: str, samples: Iterable[SampleRecord]) -> None:
        """Samples of one gathering, in batches."""
        for batch in _batched(samples):
            rows = [{"source": source} | {n: getattr(s, n) for n in s.__slots__} for s in batch]
            with writing(self.engine) as connection:
                upsert(connection, _table(m.SampleTable), rows, ("source", "row"))

    def write_exemplars(
        self,
        dictionary: str | int,
        source: str,
        exemplars: Iterable[NewExemplar],
        *,
        of: Sequence[int] | None = None,
    ) -> None:
        """Exemplars of features, replacing those that they had; one feature's stand together.

        ``of``: the features whose exemplars are replaced; None for the whole dictionary.
        """
        number = self.dictionary(dictionary).id
        with writing(self.engine) as connection:
            features = query.feature_ids(connection, number)
            samples = query.sample_ids(connection, source)
            table = _table(m.ExemplarTable)
            chosen = features.values() if of is None else [features[i] for i in of]
            for some in _batched(chosen):
                connection.execute(table.delete().where(table.c.feature_id.in_(some)))
            for batch in _batched(exemplars):
                rows = [
                    {
                        "feature_id": features[e.feature],
                        "sample_id": samples[e.row],
                        "role": e.role,
                        "rank": e.rank,
                        "interval": e.interval,
                        "peak": e.peak,
                        "activations": e.activations,
                    }
                    for e in batch
                ]
                connection.execute(table.insert(), rows)

    def write_explanations(
        self,
        dictionary: str | int,
        explanations: Iterable[ExplanationLike],
        *,
        origin: str = "",
        own: bool = True,
        chosen: bool = False,
    ) -> None:
        """Words of features.

        The newest become the feature's own, unless they are an abstention and the feature has
        words already, or a person chose its words.

        Args:
            origin: ``run`` for what a stage derived; a stage done anew replaces these alone.
            own: False leaves the words of a feature that the run has explained as they are.
            chosen: a person asked for these words; words derived later do not replace them.
        """
        number = self.dictionary(dictionary).id
        for batch in _batched(explanations):
            with writing(self.engine) as connection:
                ids = self._ids(connection, number, [e.feature for e in batch])
                said = {"origin": origin, "chosen": chosen}
                rows = [explanation_values(e, ids[e.feature]) | said for e in batch]
                key = ("feature_id", "author", "prompt_version", "inputs")
                upsert(connection, _table(m.ExplanationTable), rows, key)
                written = [(ids[e.feature], e) for e in batch]
                current_words(connection, written, own=own, chosen=chosen)
                mark_scores(connection, list(ids.values()))

    def write_scores(
        self, dictionary: str | int, scores: Iterable[ScoreLike], *, origin: str = ""
    ) -> None:
        """Figures about words; one a (feature, kind, author). ``origin`` as of explanations."""
        number = self.dictionary(dictionary).id
        for batch in _batched(scores):
            with writing(self.engine) as connection:
                ids = self._ids(connection, number, [s.feature for s in batch])
                rows = [score_values(s, ids[s.feature]) | {"origin": origin} for s in batch]
                upsert(connection, _table(m.ScoreTable), rows, ("feature_id", "kind", "author"))
                mark_scores(connection, list(ids.values()))

    def _ids(self, connection: Connection, number: int, features: list[int]) -> dict[int, int]:
        ids = query.feature_ids(connection, number, features)
        missing = sorted(set(features) - set(ids))
        if missing:
            raise AtlasError(
                f"Feature {missing[0]} is not in the atlas: write the dictionary's features first."
            )
        return ids

    # Readers

    def features(
        self,
        dictionary: str | int | None = None,
        *,
        sort: str = "index",
        where: Mapping[str, Any] | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Page:
        """A window of a sorted, filtered list.

        ``sort`` is a column (index, density, max, confidence, label, samples…) or any kind of
        score, with "-" before it for the largest first; features without one come last.
        ``where``: category, modality, alive, explained, author, text (letters in the words),
        ids (indices), min_density, max_density, layer, and min_score, which reads ``score`` or
        else the sort's kind.
        """
        with reading(self.engine) as connection:
            chosen = None if dictionary is None else query.dictionary(connection, dictionary)
            return query.features(connection, chosen, sort, where or {}, offset, limit)

    def feature(
        self, dictionary: str | int, index: int, *, exemplars: bool = True
    ) -> FeatureDetail:
        """All about one feature; AtlasError where there is none."""
        with reading(self.engine) as connection:
            chosen = query.dictionary(connection, dictionary)
            detail = query.feature(connection, chosen, index, exemplars)
            return notes.with_notes(connection, chosen, detail)

    def score_kinds(self, dictionary: str | int | None = None) -> list[str]:
        """Kinds of figures that some feature has."""
        with reading(self.engine) as connection:
            chosen = None if dictionary is None else query.dictionary(connection, dictionary)
            return query.score_kinds(connection, chosen)

    def words(self, dictionary: str | int) -> list[tuple[int, str, str]]:
        """(index, label, description) of every feature that has words, by index."""
        with reading(self.engine) as connection:
            return query.words(connection, query.dictionary(connection, dictionary))

    # The map

    def write_map(self, dictionary: str | int, index: NDArray[np.int64], drawn: MapLayout) -> None:
        """Put features ``index`` (n,) on the map; those that were on it and are not now leave."""
        about = self.dictionary(dictionary)
        table = _table(m.FeatureTable)
        mine = table.c.dictionary_id == about.id
        rows = [
            {"b_index": int(i), "x": float(x), "y": float(y), "region": int(r)}
            for i, (x, y), r in zip(index, drawn.places, drawn.region, strict=True)
        ]
        regions = [asdict(region) for region in drawn.regions]
        said = {**about.about, "map": {"method": drawn.method, "regions": regions}}
        with writing(self.engine) as connection:
            connection.execute(update(table).where(mine).values(x=None, y=None, region=None))
            if rows:
                places = update(table).where(mine, table.c.index == bindparam("b_index"))
                connection.execute(places, rows)
            dictionaries = _table(m.DictionaryTable)
            connection.execute(
                update(dictionaries).where(dictionaries.c.id == about.id).values(about=said)
            )

    def map(self, dictionary: str | int) -> FeatureMap:
        """The whole map in one call, as columns; empty where none was drawn."""
        with reading(self.engine) as connection:
            chosen = query.dictionary(connection, dictionary)
            return query.feature_map(connection, chosen)

    def columns(
        self, dictionary: str | int, names: Sequence[str], where: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Some columns (index, density, max, label…) of all features that a filter lets through,
        by index: what ``features`` gives, without its records."""
        with reading(self.engine) as connection:
            return query.columns(connection, query.dictionary(connection, dictionary), names, where)

    # Notes and lists

    def add_note(self, dictionary: str | int, index: int, text: str, *, author: str = "") -> None:
        """Keep what a person wrote about a feature, whatever becomes of the feature."""
        with writing(self.engine) as connection:
            notes.add_note(
                connection, query.dictionary(connection, dictionary), index, text, author
            )

    def notes(self, dictionary: str | int, index: int) -> tuple[Note, ...]:
        """What people wrote about a feature, oldest first; of one that is gone, too."""
        with reading(self.engine) as connection:
            return notes.read_notes(connection, dictionary, index)

    def set_list(
        self, name: str, features: Sequence[tuple[str | int, int]], about: str = ""
    ) -> None:
        """Make or replace a named list of (dictionary, index), in this order.

        A member that the list has already may be a feature that is gone; a new one may not.
        """
        with writing(self.engine) as connection:
            notes.set_list(connection, name, features, about)

    def all_notes(self) -> tuple[Note, ...]:
        """Every note, oldest first; those on features that are gone say so."""
        with reading(self.engine) as connection:
            return notes.read_notes(connection)

    def lists(self) -> dict[str, int]:
        """Names of lists and how many features each holds."""
        with reading(self.engine) as connection:
            return notes.list_sizes(connection)

    def list_features(self, name: str) -> tuple[FeatureListRow, ...]:
        """The features of a list, in its order; those that are gone as ``gone`` rows.

        Raises AtlasError where there is no list by that name.
        """
        with reading(self.engine) as connection:
            return notes.list_features(connection, name)

    def prefer(self, dictionary: str | int, index: int, explanation: int) -> None:
        """Make one stored explanation the feature's own words, and keep it so."""
        detail = self.feature(dictionary, index, exemplars=False)
        chosen = [e for e in detail.explanations if e.id == explanation]
        if not chosen:
            raise AtlasError(f"{detail.row.id} has no explanation {explanation}.")
        number = self.dictionary(dictionary).id
        with writing(self.engine) as connection:
            row = self._ids(connection, number, [index])[index]
            table = _table(m.ExplanationTable)
            connection.execute(
                update(table)
                .where(table.c.feature_id == row)
                .values(current=table.c.id == explanation, chosen=table.c.id == explanation)
            )
            values = {
                n: getattr(chosen[0], n)
                for n in ("label", "description", "category", "confidence", "abstained", "author")
            }
            features = _table(m.FeatureTable)
            connection.execute(update(features).where(features.c.id == row).values(values))
            mark_scores(connection, [row])


def _batched(items: Iterable[Any]) -> Iterable[list[Any]]:
    source = iter(items)
    while batch := list(islice(source, _BATCH)):
        yield batch
