"""The figures of a run in one record, each beside its baseline: for programs, and for people.

It reads what the stages measured when they ended. It measures nothing itself, and it invents
nothing: a figure whose stage is not done is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from semascope.pipeline.accounts.text import by_stage, lines

FIGURES = {
    "fvu": "train",
    "explained_variance": "train",
    "l0": "train",
    "dead_fraction": "gather",
    "features_alive": "gather",
    "features_explained": "explain",
    "iou_mean": "score",
    "iou_random": "score",
    "detection_auroc_mean": "score",
    "detection_auroc_shuffled": "score",
}
"""Each figure of the report, and the stage that measures it."""

WORDS = {
    "fvu": "variance that the dictionary leaves unexplained, on held-out tokens",
    "explained_variance": "1 − squared error over squared deviation from the mean",
    "l0": "features active at a token",
    "dead_fraction": "features that fired on none of the evidence",
    "features_alive": "features that did",
    "features_explained": "of those, features with words",
    "iou_mean": "overlap with the true masks of the thing named, held-out pictures",
    "iou_random": "the same with another feature's name",
    "detection_auroc_mean": "telling by the words where a feature fires, held-out samples",
    "detection_auroc_shuffled": "the same with another feature's words",
}
_ANSWERED = {"replies": "explain", "judgements": "score"}
"""What came of the questions to models, and the stage that asked them; there where any did."""
SHARES = ("fvu", "explained_variance", "dead_fraction", "iou_mean", "iou_random",
          "detection_auroc_mean", "detection_auroc_shuffled")  # fmt: skip
"""Figures that lie in [0, 1] and are drawn as bars."""


def figures(stages: Mapping[str, Mapping[str, Any]], dictionary: str = "") -> dict[str, Any]:
    """The report: every key of ``FIGURES``, ``dictionaries`` where there are several, a transcoder
    or a crosscoder, ``replies`` and ``judgements`` where models were asked (answers of no use by
    reason), ``read`` (what each stage read and left out), then ``seconds`` by stage.

    ``stages`` holds ``{"done": bool, "seconds": float, "figures": {...}}`` by name, in order;
    ``dictionary`` is the id of the run's, where it has one.
    """
    out: dict[str, Any] = {}
    for name, stage in FIGURES.items():
        out[name] = stages[stage].get("figures", {}).get(name) if _done(stages, stage) else None
    several = _dictionaries(stages, dictionary) if _done(stages, "train") else {}
    if several:
        out["dictionaries"] = several
    for name, stage in _ANSWERED.items():
        told = stages.get(stage, {}).get("figures", {}).get(name) if _done(stages, stage) else None
        if told:
            out[name] = told
    read = by_stage(stages)
    if read:
        out["read"] = read
    out["seconds"] = {
        name: round(float(record.get("seconds", 0.0)), 2) for name, record in stages.items()
    }
    return out


def _dictionaries(
    stages: Mapping[str, Mapping[str, Any]], dictionary: str
) -> dict[str, dict[str, Any]]:
    """FVU and L0 of each dictionary at what it gives; empty where one is as the report says."""
    measured = stages["train"].get("figures", {})
    if not measured.keys() & {"dictionaries", "writes", "sites"}:
        return {}
    out: dict[str, dict[str, Any]] = {}
    for name, one in measured.get("dictionaries", {dictionary: measured}).items():
        where = f" → {one['writes']}" if "writes" in one else ""
        for site, part in one.get("sites", {"": one}).items():
            label = f"{name}{where}{f' at {site}' if site else ''}"
            out[label] = {key: part[key] for key in ("fvu", "l0") if key in part}
    return out


def _unusable(report: Mapping[str, Any]) -> list[str]:
    """A line for each model some of whose answers were of no use, with the reasons."""
    lines = []
    for name in _ANSWERED:
        for author, of in report.get(name, {}).items():
            why = "; ".join(f"{reason}: {times}" for reason, times in of["unusable"].items())
            bad = sum(of["unusable"].values())
            lines += [f"{author}: {bad} of {of['asked']} {name} could not be used ({why})"] * (
                bad > 0
            )
    return lines


def table(report: Mapping[str, Any], title: str) -> RenderableType:
    """The report for a person, with a bar for each share."""
    rows = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("figure", "value", "", "what it is"):
        rows.add_column(column, justify="right" if column == "value" else "left")
    for name in FIGURES:
        value = report[name]
        rows.add_row(name, _text(value), _bar(name, value), WORDS[name])
    several = [_each(report["dictionaries"]), ""] if "dictionaries" in report else []
    read = [_account(report["read"]), ""] if "read" in report else []
    unusable = [Text(line) for line in _unusable(report)]
    unusable += [Text("")] if unusable else []
    return Group(rows, "", *several, *unusable, *read, _times(report["seconds"]))


def _account(read: Mapping[str, Any]) -> RenderableType:
    """What each stage read and left out."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("stage")
    rows.add_column("what it read, and what it left out")
    for stage, one in read.items():
        for number, line in enumerate(lines(one)):
            rows.add_row("" if number else stage, Text(line))
    return rows


def _each(dictionaries: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    rows = Table(box=None, pad_edge=False)
    for column in ("dictionary", "fvu", "l0", ""):
        rows.add_column(column, justify="right" if column in ("fvu", "l0") else "left")
    for name, one in dictionaries.items():
        fvu, l0 = one.get("fvu"), one.get("l0")
        rows.add_row(name, _text(fvu), _text(l0), _bar("fvu", fvu))
    return rows


def missing(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Stages that are not done, of those that measure something."""
    return [name for name in dict.fromkeys(FIGURES.values()) if not _done(stages, name)]


def _done(stages: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return bool(stages.get(name, {}).get("done"))


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.3f}" if isinstance(value, float) else f"{value}"


def _bar(name: str, value: Any) -> RenderableType:
    if name not in SHARES or value is None:
        return ""
    return Bar(size=1.0, begin=0.0, end=max(0.0, min(1.0, float(value))), width=20)


def _times(seconds: Mapping[str, float]) -> RenderableType:
    rows = Table(box=None, pad_edge=False)
    rows.add_column("stage")
    rows.add_column("seconds", justify="right")
    rows.add_column("")
    total = sum(seconds.values())
    for name, value in seconds.items():
        share = value / total if total else 0.0
        rows.add_row(name, f"{value:.1f}", Bar(size=1.0, begin=0.0, end=share, width=20))
    rows.add_row("all", f"{total:.1f}", "")
    return rows
