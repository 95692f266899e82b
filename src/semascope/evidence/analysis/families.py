"""Completeness of a family of dictionaries: one gathering, one width after the other.

Knows evidence; knows no model and no workspace.
"""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from semascope.errors import EvidenceError
from semascope.evidence.analysis.concepts import Completeness, completeness, curve
from semascope.evidence.store.evidence import Evidence, dictionaries

FIELDS = ("name", "category", "colour", "emotion", "texture", "word")
"""Of a scene's objects, what may be a concept."""


def family(folder: Path | str) -> list[Evidence]:
    """The evidence of every dictionary of one gathering, the narrowest first."""
    found = [Evidence.open(folder, key) for key in _keys(folder)]
    return sorted(found, key=lambda e: (e.key.rpartition("/")[0], e.width, e.key))


def _keys(folder: Path | str) -> tuple[str, ...]:
    try:
        return dictionaries(folder)
    except FileNotFoundError as error:
        raise EvidenceError(
            f"No finished evidence in {folder}: run `semascope gather` first, or again."
        ) from error


def complete(
    folder: Path | str,
    *,
    field: str = "name",
    least: int = 4,
    bar: float = 0.5,
    seed: int = 0,
) -> dict[str, Any]:
    """Known concepts against features, for every dictionary of a gathering, as JSON values.

    By width: ``share`` of the concepts that have a feature, what ``chance`` gives, the frequency
    at which ``half`` of them have one with its 95 % interval (null where no curve fits), the
    ``curve`` by frequency, and every concept with its feature. EvidenceError where the samples
    carry no truth, or no concept occurs often enough.
    """
    if field not in FIELDS:
        raise EvidenceError(f"A concept is one of {', '.join(FIELDS)}; not {field!r}.")
    members = family(folder)
    shown = members[0].shown
    known = sum(bool(shown.get(number).truth) for number in range(len(shown)))
    if not known:
        raise EvidenceError(
            "Completeness needs samples whose truth is known: gather on a corpus of scenes, "
            "such as --corpus scenes."
        )
    found = [
        (member, completeness(member, field=field, least=least, bar=bar, seed=seed))
        for member in members
    ]
    if not found[0][1].concepts:
        raise EvidenceError(
            f"No {field} occurs {least} times in each half of {known} scenes: gather more "
            "--samples, or lower --least."
        )
    return {
        "concepts": field,
        "bar": bar,
        "scenes": known,
        "corpus": members[0].gathering["identity"]["corpus"],
        "dictionaries": [_one(member, one) for member, one in found],
    }


def _one(member: Evidence, found: Completeness) -> dict[str, Any]:
    return {
        "id": member.key,
        "width": member.width,
        "alive": len(member.alive()),
        "share": found.share,
        "chance": _known(found.chance),
        "half": _known(found.half),
        "half_low": _known(found.low),
        "half_high": _known(found.high),
        "curve": curve(found),
        "concepts": [asdict(one) | {"has": one.f1 >= found.bar} for one in found.concepts],
    }


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
