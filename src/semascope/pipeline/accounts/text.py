"""What a stage read and what it left out, in lines for a person and as one record for programs.

It puts into words what ``pipeline.account`` has counted. It counts nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = {
    "text": "of words",
    "image": "of pictures",
    "tile": "of tiles",
    "newline": "of row ends",
    "special": "of the template",
}
"""Kinds of tokens by the names that an account has for them."""
MOST = 8
"""Columns, and reasons, that are named in one line; the rest are counted."""


def lines(read: Mapping[str, Any]) -> list[str]:
    """An account in sentences; empty where there is none, as in a run of before it was kept."""
    if not read:
        return []
    out = [_read(read), *(f"recognised: {line}" for line in read.get("layout", ()))]
    if read.get("columns"):
        used = (f"{role} from {_names(columns)}" for role, columns in read["columns"].items())
        out.append(f"columns: {'; '.join(used)}")
    if read.get("unused"):
        out.append(f"columns left unused: {_names(read['unused'])}")
    if read.get("cut_tokens"):
        out.append(
            f"cut {read['cut_tokens']:,} tokens from the ends of {read['cut_samples']:,} samples, "
            "which have more than --max-tokens of words"
        )
    for name, what in (("skipped", "rows skipped"), ("refused", "samples refused by the subject")):
        if read.get(name):
            out.append(f"{sum(read[name].values()):,} {what}: {_names(read[name])}")
    if read.get("features"):
        out.append(_of_features(read["features"], read.get("features_left", {})))
    out += read.get("notes", ())
    if read.get("left"):
        out.append(f"left out: {_names(read['left'])}")
    return out


def _read(read: Mapping[str, Any]) -> str:
    tokens = ", ".join(
        f"{number:,} {KINDS.get(kind, kind)}" for kind, number in read.get("tokens", {}).items()
    )
    videos = (
        f", {read['videos']:,} videos ({read['frames']:,} frames)" if read.get("videos") else ""
    )
    what = f"samples of the evidence ({read['split'] or 'all'})" if "split" in read else "rows"
    return (
        f"read {read.get('samples', 0):,} of {read.get('rows', 0):,} {what}: "
        f"{read.get('pictures', 0):,} pictures{videos}; tokens: {tokens or 'none'}"
    )


def _of_features(features: Mapping[str, Any], left: Mapping[str, int]) -> str:
    rest = f"; the others: {_names(left)}" if left else ""
    return f"{features['done']:,} of {features['of']:,} features {features['verb']}{rest}"


def _names(counts: Mapping[str, int]) -> str:
    """Names with their counts, the most frequent first."""
    order = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = len(order) - MOST
    shown = ", ".join(f"{name} ({number:,})" for name, number in order[:MOST])
    return shown + (f", and {rest} more" if rest > 0 else "")


def by_stage(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The accounts of the stages that are done and have one."""
    found = {
        name: stage.get("figures", {}).get("read")
        for name, stage in stages.items()
        if stage.get("done")
    }
    return {name: read for name, read in found.items() if read}
