"""Which words are a feature's own, and which figures are about them.

A feature may have been explained by several authors. One explanation is current; its words
stand in the feature's row, and the figures measured on that author's words are current too.
Knows tables; knows nothing of how words are found or judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from math import isfinite
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, select, update

from semascope.atlas import models as m
from semascope.atlas.records import ExplanationLike, ScoreLike

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


def current_words(connection: Connection, written: Sequence[tuple[int, ExplanationLike]]) -> None:
    """Let the newest words stand in the feature's row, unless they would hide words by none."""
    ids = [i for i, _ in written]
    has_words: set[int] = set()
    for some in _some(ids):
        found = connection.execute(
            select(_FEATURES.c.id).where(_FEATURES.c.id.in_(some), _FEATURES.c.abstained.is_(False))
        )
        has_words.update(found.scalars())
    newest = {i: e for i, e in written if not (e.abstained and i in has_words)}
    if not newest:
        return
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


def mark_scores(connection: Connection, features: Sequence[int]) -> None:
    """Of each kind of figure of each feature, mark the one that is about its own words.

    Where none is, the newest is marked, so that a figure that needs no words counts too.
    """
    other = _SCORES.alias("other")
    author = select(_FEATURES.c.author).where(_FEATURES.c.id == other.c.feature_id)
    best = (
        select(other.c.id)
        .where(other.c.feature_id == _SCORES.c.feature_id, other.c.kind == _SCORES.c.kind)
        .order_by((other.c.author == author.scalar_subquery()).desc(), other.c.id.desc())
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
