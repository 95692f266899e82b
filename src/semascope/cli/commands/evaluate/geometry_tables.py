"""The records of the verbs about geometry as tables and trees for a person.

Knows records only.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from semascope.cli.opened import rows_of


def _console() -> Any:
    return Console(highlight=False, soft_wrap=True)


def splitting(record: dict[str, Any]) -> None:
    """The widths, what splits most, the tree."""
    console = _console()
    console.print(f"{record['site']}, by directions of cosine {record['threshold']:g} or more")
    names = ("kept", "split", "ended", "new", "found", "chance", "cosine", "together")
    rows = [
        (f"{_name(step['narrow'])} → {_name(step['wide'])}", *(_text(step[n]) for n in names))
        for step in record["steps"]
    ]
    rows_of(console, ("widths", *names), rows)
    console.print("\nbecome most:")
    rows_of(
        console,
        ("feature", "becomes", "name"),
        [(one["feature"], str(one["leaves"]), escape(one["name"])) for one in record["most"]],
    )
    asked = record["asked"]
    console.print(f"\n{asked['feature']} {asked['why']}", markup=False)
    trunk = Tree(_line(record["tree"]))
    _grow(trunk, record["tree"])
    console.print(trunk)
    for one in record["apart"]:
        came = f"from {one['from']}" if one["from"] else "new there"
        console.print(
            f"not of this tree: {one['feature']}  {one['name']}  F1 {one['f1']:.2f}, {came}",
            markup=False,
        )
    print(record["picture"])


def _grow(trunk: Any, record: dict[str, Any]) -> None:
    for child in record["children"]:
        _grow(trunk.add(_line(child)), child)
    if record["more"]:
        trunk.add(f"and {record['more']} more")


def _line(record: dict[str, Any]) -> str:
    figures = [
        f"{name} {record[name]:.2f}"
        for name in ("cosine", "together", "within")
        if record.get(name) is not None
    ]
    line = "  ".join([record["feature"], escape(record["name"]), ", ".join(figures)])
    return f"[bold]{line}[/bold]" if record["asked"] else line


def shared(record: dict[str, Any]) -> None:
    """The counts beside their controls, then the features."""
    console = _console()
    console.print(
        f"{record['dictionary']}: {record['both']} of {record['alive']} alive features fire on "
        f"text and pictures; of {record['measured']} measured, {record['shared']} score "
        f"{record['bar']:g} or more (controls: {record['control']} with another thing's picture, "
        f"{record['shuffled']} with another feature's name)"
    )
    names = ("score", "control", "shuffled", "on_word", "on_picture")
    rows_of(
        console,
        ("feature", "name", *(n.replace("_", " ") for n in names), "label"),
        [
            (one["feature"], one["name"], *(_text(one[n]) for n in names), escape(one["label"]))
            for one in record["features"]
        ],
    )


def alignment(record: dict[str, Any]) -> None:
    """The counts by tenths, then the features."""
    console = _console()
    console.print(
        f"{record['dictionary']}: best neuron of {record['count']} features: median correlation "
        f"{_text(record['median'])}; {_text(record['half'])} of them reach 0.5, "
        f"{_text(record['strong'])} reach 0.8"
    )
    rows_of(
        console,
        ("|correlation|", "features"),
        [(f"{i / 10:.1f}–{(i + 1) / 10:.1f}", str(n)) for i, n in enumerate(record["tenths"])],
    )
    rows_of(
        console,
        ("feature", "neuron", "correlation", "label"),
        [
            (
                f"{record['dictionary']}/{one['index']}",
                str(one["neuron"]),
                _text(one["correlation"]),
                escape(one["label"]),
            )
            for one in record["features"]
        ],
    )


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "–" if value is None else str(value)
