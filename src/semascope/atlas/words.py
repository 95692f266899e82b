"""Which words are a feature's own, and which figures are about them.

A feature may have been explained by several authors. One explanation is current; its words
stand in the feature's row, and the figures measured on that author's words are current too.
Knows tables; knows nothing of how words are found or judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from math import isfinite
from typing import Any, cast

from sqlalchemy import Column, Connection, Table, bindparam, select, update

from semascope.atlas.database import tables as m
from semascope.atlas.records import ExplanationLike, ScoreLike

RUN = "run"
"""Origin of what a stage of the workspace's own run derived."""
_MARKED = 500
_FEATURES = cast(Table, m.FeatureTable.__table__)
_EXPLANATIONS = cast(Table, m.ExplanationTable.__table__)
_SCORES = cast(Table, m.ScoreTable.__table__)


def explanation_values(words: ExplanationLike, feature_id: int) -> dict[str, Any]:
    """A row of ``explanations``."""
    cost = words.cost
    plain = asdict(cost) if is_dataclass(cost) and not isinstance(cost, type) else cost
    return {
        "feature_id": feature_id,
        "author": words.author,
        "prompt_version": words.prompt_version,
        "inputs": words.inputs,
        "description": words.description,
        "label": words.label,
        "category": words.category,
        "confidence": float(words.confidence),
        "abstained": bool(words.abstained),
        "cost": plain if isinstance(plain, dict) else {"total": plain},
        "created": m.now(),
        "current": False,
    }


def score_values(score: ScoreLike, feature_id: int) -> dict[str, Any]:
    """A row of ``scores``; a figure that is not finite is stored as absent."""
    evidence = dict(score.evidence)
    n = evidence.get("n")
    return {
        "feature_id": feature_id,
        "kind": score.kind,
        "author": score.author,
        "value": float(score.value),
        "baseline": _finite(score.baseline),
        "low": _finite(score.low),
        "high": _finite(score.high),
        "n": int(n) if isinstance(n, int | float) else None,
        "evidence": evidence,
        "current": False,
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None


def current_words(
    connection: Connection,
    written: Sequence[tuple[int, ExplanationLike]],
    *,
    own: bool = True,
    chosen: bool = False,
) -> None:
    """Let the newest words stand in the feature's row, unless they would hide words by none.

    Words that a person chose stay, unless these are ``chosen`` too. Without ``own``, so do words
    and abstentions of the run.
    """
    ids = [i for i, _ in written]
    told = _those(connection, ids, _FEATURES.c.id, _FEATURES.c.abstained.is_(False))
    kept: set[int] = set()
    row = _EXPLANATIONS.c.feature_id
    if chosen:
        _unchoose(connection, written)
    else:
        kept |= _those(connection, ids, row, _EXPLANATIONS.c.chosen.is_(True))
    if not own:
        mine = (_EXPLANATIONS.c.current.is_(True), _EXPLANATIONS.c.origin == RUN)
        kept |= _those(connection, ids, row, *mine)
    newest = {i: e for i, e in written if i not in kept and not (e.abstained and i in told)}
    if newest:
        _stand(connection, newest)


def _unchoose(connection: Connection, written: Sequence[tuple[int, ExplanationLike]]) -> None:
    """Of each feature, only the explanation just written is a person's choice."""
    for feature, words in written:
        same = (
            (_EXPLANATIONS.c.author == words.author)
            & (_EXPLANATIONS.c.prompt_version == words.prompt_version)
            & (_EXPLANATIONS.c.inputs == words.inputs)
        )
        others = update(_EXPLANATIONS).where(_EXPLANATIONS.c.feature_id == feature, ~same)
        connection.execute(others.values(chosen=False))


def _those(
    connection: Connection, ids: Sequence[int], column: Column[Any], *conditions: Any
) -> set[int]:
    """Of row numbers of features, those with a row that meets the conditions."""
    found: set[int] = set()
    for some in _some(ids):
        statement = select(column).where(column.in_(some), *conditions)
        found.update(connection.execute(statement).scalars())
    return found


def _stand(connection: Connection, newest: Mapping[int, ExplanationLike]) -> None:
    """Put words into the rows of their features, and mark them as current."""
    rows = [
        {
            "b_id": i,
            "label": e.label,
            "description": e.description,
            "category": e.category,
            "confidence": float(e.confidence),
            "abstained": bool(e.abstained),
            "author": e.author,
        }
        for i, e in newest.items()
    ]
    connection.execute(update(_FEATURES).where(_FEATURES.c.id == bindparam("b_id")), rows)
    for some in _some(list(newest)):
        connection.execute(
            update(_EXPLANATIONS).where(_EXPLANATIONS.c.feature_id.in_(some)).values(current=False)
        )
    keys = ("author", "prompt_version", "inputs")
    marks = [{"b_id": i} | {f"b_{k}": getattr(e, k) for k in keys} for i, e in newest.items()]
    statement = update(_EXPLANATIONS).where(_EXPLANATIONS.c.feature_id == bindparam("b_id"))
    for key in keys:
        statement = statement.where(_EXPLANATIONS.c[key] == bindparam(f"b_{key}"))
    connection.execute(statement.values(current=True), marks)


def stand_again(connection: Connection, features: Sequence[int]) -> None:
    """Let the words that are left stand: those that a person chose, else the newest, else none."""
    e = _EXPLANATIONS.c
    none = {"label": "", "description": "", "category": "", "author": "", "confidence": None,
            "abstained": None}  # fmt: skip
    best: dict[int, Any] = {}
    for some in _some(features):
        connection.execute(update(_FEATURES).where(_FEATURES.c.id.in_(some)).values(none))
        rows = select(_EXPLANATIONS).where(e.feature_id.in_(some))
        for row in connection.execute(rows.order_by(e.chosen, e.abstained.desc(), e.id)):
            best[row.feature_id] = row
    if best:
        _stand(connection, best)


def mark_scores(connection: Connection, features: Sequence[int]) -> None:
    """Of each kind of figure of each feature, mark the one that is about its own words.

    Where none is, the run's or else the newest is marked, so that a figure that needs no words
    counts too.
    """
    other = _SCORES.alias("other")
    author = select(_FEATURES.c.author).where(_FEATURES.c.id == other.c.feature_id)
    best = (
        select(other.c.id)
        .where(other.c.feature_id == _SCORES.c.feature_id, other.c.kind == _SCORES.c.kind)
        .order_by(
            (other.c.author == author.scalar_subquery()).desc(),
            (other.c.origin == RUN).desc(),
            other.c.id.desc(),
        )
        .limit(1)
        .scalar_subquery()
    )
    for some in _some(list(features)):
        connection.execute(
            update(_SCORES)
            .where(_SCORES.c.feature_id.in_(some))
            .values(current=_SCORES.c.id == best)
        )


def _some(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[i : i + _MARKED] for i in range(0, len(ids), _MARKED)]
