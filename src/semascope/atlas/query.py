"""Looking things up: lists that are sorted and filtered in the database, and single features.

Knows tables and records; every function takes a connection and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Executable, Select, and_, func, or_, select

from semascope.atlas.database import tables as m
from semascope.atlas.packing import unpack_activations, unpack_layout, unpack_patches
from semascope.atlas.records import (
    DictionaryRow,
    ExplanationRow,
    FeatureDetail,
    FeatureListRow,
    FeatureMap,
    Page,
    ScoreRow,
    StoredExemplar,
    StoredSample,
)
from semascope.corpus.sample import Moment
from semascope.errors import AtlasError

_SORTS = ("index", "density", "density_text", "density_image", "max", "samples", "confidence",
          "label", "category")  # fmt: skip
_F, _S, _D = m.FeatureTable, m.ScoreTable, m.DictionaryTable
_CHUNK = 800


def dictionaries(
    connection: Connection, *, model: str | None = None, key: str | None = None
) -> list[DictionaryRow]:
    """Those of a model, by a key, or all."""
    statement = select(_D.id, _D.model, _D.key, _D.width, _D.about).order_by(_D.id)
    if model is not None:
        statement = statement.where(_D.model == model)
    if key is not None:
        statement = statement.where(_D.key == key)
    return [DictionaryRow(*row) for row in connection.execute(statement)]


def dictionary(connection: Connection, name: str | int) -> DictionaryRow:
    """One by number, ``site/name``, or ``model:site/name``."""
    every = dictionaries(connection)
    found = [d for d in every if name in (d.id, d.key, f"{d.model}:{d.key}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise AtlasError(f"{name!r} is in several models; say which: {found[0].model}:{name}.")
    there = ", ".join(d.key for d in every) or "none yet; run `semascope gather`"
    raise AtlasError(f"No dictionary {name!r} in the atlas. There are: {there}.")


def feature_ids(
    connection: Connection, number: int, indices: Sequence[int] | None = None
) -> dict[int, int]:
    """Row numbers of features by their index."""
    statement = select(_F.index, _F.id).where(_F.dictionary_id == number)
    if indices is None:
        return pairs(connection, statement)
    out: dict[int, int] = {}
    for i in range(0, len(indices), _CHUNK):
        some = statement.where(_F.index.in_([int(x) for x in indices[i : i + _CHUNK]]))
        out.update(pairs(connection, some))
    return out


def pairs(connection: Connection, statement: Executable) -> dict[Any, Any]:
    return {row[0]: row[1] for row in connection.execute(statement)}


def sample_ids(connection: Connection, source: str) -> dict[int, int]:
    """Row numbers of samples by their row in the corpus."""
    statement = select(m.SampleTable.row, m.SampleTable.id).where(m.SampleTable.source == source)
    return pairs(connection, statement)


def score_kinds(connection: Connection, chosen: DictionaryRow | None) -> list[str]:
    """Kinds of figures, in alphabetical order."""
    statement = select(_S.kind).distinct().order_by(_S.kind)
    if chosen is not None:
        statement = statement.join(_F, _F.id == _S.feature_id).where(_F.dictionary_id == chosen.id)
    return list(connection.execute(statement).scalars())


def words(connection: Connection, chosen: DictionaryRow) -> list[tuple[int, str, str]]:
    """(index, label, description) where there are words."""
    statement = select(_F.index, _F.label, _F.description).where(
        _F.dictionary_id == chosen.id, _F.abstained.is_(False)
    )
    return [(i, a, b) for i, a, b in connection.execute(statement.order_by(_F.index))]


def features(
    connection: Connection,
    chosen: DictionaryRow | None,
    sort: str,
    where: Mapping[str, Any],
    offset: int,
    limit: int,
) -> Page:
    """One window of the list."""
    name = sort.lstrip("-")
    scored = name not in _SORTS
    if scored:
        _known_kind(connection, chosen, name)
        where = {"score": name} | {k: v for k, v in where.items() if k != "score" or v}
    conditions = _conditions(chosen, where)
    total = connection.scalar(select(func.count()).select_from(_F).where(*conditions)) or 0
    statement = select(_F.id).where(*conditions)
    if scored:
        join = and_(_S.feature_id == _F.id, _S.kind == name, _S.current.is_(True))
        statement = statement.outerjoin(_S, join)
    column = _S.value if scored else _sorted_by(name)
    order = column.desc() if sort.startswith("-") else column.asc()
    statement = statement.order_by(order.nulls_last(), _F.dictionary_id, _F.index)
    ids = connection.execute(statement.offset(max(offset, 0)).limit(max(limit, 0))).scalars()
    return Page(total, tuple(rows_of(connection, list(ids))))


def _sorted_by(name: str) -> Any:
    """A column to sort by; a feature without words comes last in both directions."""
    column = getattr(_F, name)
    return func.nullif(column, "") if name in ("label", "category") else column


def columns(
    connection: Connection,
    chosen: DictionaryRow,
    names: Sequence[str],
    where: Mapping[str, Any] | None = None,
) -> list[tuple[Any, ...]]:
    """Some columns of all features that a filter lets through, by index: no record is made."""
    conditions = _conditions(chosen, where or {})
    statement = select(*(getattr(_F, n) for n in names)).where(*conditions).order_by(_F.index)
    return [tuple(row) for row in connection.execute(statement)]


def feature_map(connection: Connection, chosen: DictionaryRow) -> FeatureMap:
    """The map of a dictionary, column by column."""
    columns_ = (_F.index, _F.x, _F.y, _F.region, _F.label)
    statement = select(*columns_).where(_F.dictionary_id == chosen.id, _F.x.is_not(None))
    rows = connection.execute(statement.order_by(_F.index)).all()
    index, x, y, region, label = zip(*rows, strict=True) if rows else ((),) * 5
    about = chosen.about.get("map") or {}
    return FeatureMap(
        index=np.array(index, np.int32),
        x=np.array(x, np.float32),
        y=np.array(y, np.float32),
        region=np.array(region, np.int16),
        label=tuple(label),
        regions=tuple(about.get("regions", ())),
        method=str(about.get("method", "")),
    )


def _known_kind(connection: Connection, chosen: DictionaryRow | None, name: str) -> None:
    kinds = score_kinds(connection, chosen)
    if name not in kinds:
        raise AtlasError(f"Cannot sort by {name!r}. There are: {', '.join((*_SORTS, *kinds))}.")


def _conditions(chosen: DictionaryRow | None, where: Mapping[str, Any]) -> list[Any]:
    known = {"category", "modality", "alive", "explained", "author", "text", "ids",
             "min_density", "max_density", "min_score", "score", "layer"}  # fmt: skip
    unknown = sorted(set(where) - known)
    if unknown:
        raise AtlasError(f"Cannot filter by {unknown[0]!r}. There are: {', '.join(sorted(known))}.")
    out: list[Any] = [] if chosen is None else [_F.dictionary_id == chosen.id]
    for name in ("category", "modality", "author"):
        if where.get(name):
            out.append(getattr(_F, name) == where[name])
    if where.get("alive") is not None:
        out.append(_F.alive.is_(bool(where["alive"])))
    if where.get("explained") is not None:
        # False: tried, and abstained from; those that nobody tried are neither.
        out.append(_F.abstained.is_(not where["explained"]))
    if where.get("min_density") is not None:
        out.append(_F.density >= float(where["min_density"]))
    if where.get("max_density") is not None:
        out.append(_F.density <= float(where["max_density"]))
    if where.get("ids") is not None:
        out.append(_F.index.in_([int(i) for i in where["ids"]]))
    if where.get("text"):
        out.append(_contains(str(where["text"])))
    if where.get("layer") is not None:
        at = select(_D.id).where(_D.key.like(f"%.{int(where['layer'])}/%"))
        out.append(_F.dictionary_id.in_(at))
    if where.get("min_score") is not None:
        out.append(_F.id.in_(_scoring(where)))
    return out


def _scoring(where: Mapping[str, Any]) -> Select[Any]:
    """Features whose figure of one kind is large enough."""
    if not where.get("score"):
        raise AtlasError("min_score needs a kind of score: sort by one, or name it as score.")
    return select(_S.feature_id).where(
        _S.kind == str(where["score"]),
        _S.current.is_(True),
        _S.value >= float(where["min_score"]),
    )


def _contains(text: str) -> ColumnElement[bool]:
    pattern = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return or_(
        _F.label.ilike(f"%{pattern}%", escape="\\"),
        _F.description.ilike(f"%{pattern}%", escape="\\"),
    )


def rows_of(connection: Connection, ids: Sequence[int]) -> list[FeatureListRow]:
    """Features by row number, in that order, with their current figures."""
    found: dict[int, FeatureListRow] = {}
    figures: dict[int, dict[str, ScoreRow]] = {i: {} for i in ids}
    for start in range(0, len(ids), _CHUNK):
        some = list(ids[start : start + _CHUNK])
        scores = _scores().where(_S.feature_id.in_(some), _S.current.is_(True))
        for feature_id, *rest in connection.execute(scores):
            figures[feature_id][rest[0]] = ScoreRow(*rest)
        statement = select(_F, _D.key).join(_D, _D.id == _F.dictionary_id).where(_F.id.in_(some))
        for row in connection.execute(statement):
            found[row.id] = _feature_row(row, figures[row.id])
    return [found[i] for i in ids]


def _scores() -> Select[Any]:
    return select(
        _S.feature_id, _S.kind, _S.value, _S.baseline, _S.low, _S.high, _S.n, _S.evidence,
        _S.author, _S.current,
    ).order_by(_S.kind, _S.id)  # fmt: skip


def _feature_row(row: Any, scores: Mapping[str, ScoreRow]) -> FeatureListRow:
    names = ("index", "alive", "modality", "density", "density_text", "density_image", "max",
             "samples", "label", "description", "category", "confidence", "abstained",
             "author")  # fmt: skip
    plain = {n: row._mapping[n] for n in names}
    return FeatureListRow(
        id=f"{row.key}/{plain['index']}", dictionary=row.key, scores=scores, **plain
    )


def feature(
    connection: Connection, chosen: DictionaryRow, index: int, exemplars: bool
) -> FeatureDetail:
    """All about one feature but what people keep of it (``notes.with_notes``)."""
    statement = select(_F.id, _F.stats, _F.near)
    found = connection.execute(
        statement.where(_F.dictionary_id == chosen.id, _F.index == int(index))
    ).first()
    if found is None:
        raise AtlasError(f"No feature {index} in {chosen.key}: it has {chosen.width}.")
    number = found.id
    scores = connection.execute(_scores().where(_S.feature_id == number))
    row = rows_of(connection, [number])[0]
    return FeatureDetail(
        row=row,
        stats=found.stats,
        near=found.near,
        explanations=_explanations(connection, number),
        scores=tuple(ScoreRow(*rest) for _, *rest in scores),
        exemplars=_exemplars(connection, number) if exemplars else (),
        notes=(),
        lists=(),
    )


def _explanations(connection: Connection, number: int) -> tuple[ExplanationRow, ...]:
    e = m.ExplanationTable
    statement = select(
        e.id, e.description, e.label, e.category, e.confidence, e.abstained, e.author,
        e.prompt_version, e.inputs, e.cost, e.created, e.current,
    ).where(e.feature_id == number)  # fmt: skip
    rows = connection.execute(statement.order_by(e.current.desc(), e.id.desc()))
    return tuple(ExplanationRow(*row) for row in rows)


def _exemplars(connection: Connection, number: int) -> tuple[StoredExemplar, ...]:
    e, s = m.ExemplarTable, m.SampleTable
    statement = (
        select(
            e.role, e.rank, e.interval, e.peak, e.activations, s.row, s.split, s.length, s.about,
            s.tokens, s.layout, s.patches,
        )
        .join(s, s.id == e.sample_id)
        .where(e.feature_id == number)
        .order_by(e.role.desc(), e.rank)
    )  # fmt: skip
    return tuple(
        StoredExemplar(
            sample=_sample(row),
            role=row.role,
            rank=row.rank,
            interval=row.interval,
            peak=row.peak,
            activations=unpack_activations(row.activations, row.length),
        )
        for row in connection.execute(statement)
    )


def _sample(row: Any) -> StoredSample:
    layout = unpack_layout(row.layout, row.length)
    truth = dict(row.about.get("truth") or {})
    if truth:
        patches = unpack_patches(row.patches, len(truth["objects"]))
        things = zip(truth["objects"], patches, strict=True)
        truth["objects"] = [o | {"patches": p} for o, p in things]
    return StoredSample(
        row=row.row,
        id=row.about["id"],
        split=row.split,
        tokens=tuple(row.tokens),
        kinds=layout.kinds,
        image=layout.image,
        rects=layout.rects,
        media=tuple(row.about["media"]),
        sizes=tuple((w, h) for w, h in row.about["sizes"]),
        truth=truth,
        spans=layout.spans,
        moments=tuple(m and Moment(*m) for m in row.about.get("moments", ())),
    )
