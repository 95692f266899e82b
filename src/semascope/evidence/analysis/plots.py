"""Pictures of a family of dictionaries, as SVG: the tree of a feature, the curve of completeness.

They draw the records that ``lineage`` and ``families.complete`` give, and measure nothing. Knows
records only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

from semascope import svg

COLOURS = ("#9ecae1", "#4292c6", "#08519c", "#08306b", "#041c42")
"""Of the widths, the narrowest first."""
OTHERS = ("#2b8a3e", "#9c36b5", "#e8590c", "#c92a2a", "#5f3dc4")
"""Of dictionaries beyond the fifth."""
ASKED = "#e8590c"
"""Of the feature that was asked about."""
ROW, COLUMN, LEFT, TOP = 34, 290, 24, 92
"""Pixels of the tree: a row, a column, and the margins."""
WORD = 30
"""Letters of a name that are drawn."""
PLOT = (74, 56, 520, 300)
"""Left, top, width and height of the curve's plot."""


def tree(
    record: Mapping[str, Any],
    dictionaries: Sequence[Mapping[str, Any]],
    *,
    title: str,
    apart: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The picture of ``Lineage.tree``, a column a width; ``apart`` are drawn beneath, unjoined.

    ``dictionaries`` are records with ``id``, ``width`` and ``alive``, narrowest first.
    """
    body: list[str] = []
    rows = _branch(record, 0, body)
    if apart:
        body.append(svg.text(LEFT, TOP + rows * ROW + 12, "tell it too, not of this tree:", "dim"))
        rows += 1
        for one in apart:
            came = f"from #{one['from'].rpartition('/')[2]}" if one["from"] else "new here"
            note = f"{_note(one)} · F1 {one['f1']:.2f} · {came}"
            body.append(_node(one, rows, note, dashed=True))
            rows += 1
    for place, one in enumerate(dictionaries):
        x = LEFT + place * COLUMN
        body.append(svg.text(x, 58, one["id"], "head"))
        body.append(svg.text(x, 74, f"{one['width']} features, {one['alive']} alive", "dim"))
    body.append(svg.text(LEFT, 28, title, "title"))
    return svg.page(2 * LEFT + len(dictionaries) * COLUMN, TOP + rows * ROW + 12, body)


def _branch(record: Mapping[str, Any], row: int, body: list[str]) -> int:
    """Draw a feature and what hangs from it, from ``row`` down; the first row that is free."""
    free = row
    note = _note(record)
    for child in record["children"]:
        body.append(_edge(record, row, free, child["cosine"], len(note)))
        free = _branch(child, free, body)
    body.append(_node(record, row, note))
    if record["more"]:
        where = LEFT + (record["place"] + 1) * COLUMN + 14
        body.append(svg.text(where, TOP + free * ROW + 4, f"and {record['more']} more", "dim"))
        free += 1
    return max(free, row + 1)


def _note(record: Mapping[str, Any]) -> str:
    """Its number, and how near it is to its parent."""
    note = f"#{record['feature'].rpartition('/')[2]}"
    if "cosine" in record:
        note += f" · cos {record['cosine']:.2f}"
    if record.get("together") is not None:
        note += f" · together {record['together']:.2f}"
    return note


def _name(record: Mapping[str, Any]) -> str:
    name = str(record["name"]) or "(no name)"
    return name if len(name) <= WORD else name[: WORD - 1] + "…"


def _node(record: Mapping[str, Any], row: int, note: str, *, dashed: bool = False) -> str:
    x, y = LEFT + record["place"] * COLUMN, TOP + row * ROW
    fill = ASKED if record.get("asked") else _colour(record["place"])
    ring = f'fill="#fff" stroke="{fill}" stroke-dasharray="2 2"' if dashed else f'fill="{fill}"'
    return (
        f'<circle cx="{x}" cy="{y}" r="5" {ring}/>'
        + svg.text(x + 11, y + 1, _name(record))
        + svg.text(x + 11, y + 14, note, "dim")
    )


def _edge(record: Mapping[str, Any], row: int, below: int, cosine: float, note: int) -> str:
    """From the end of a feature's words to its child, thicker the nearer the directions are."""
    words = min(18 + max(7.6 * len(_name(record)), 6.6 * note), COLUMN - 60)
    x0, x1 = LEFT + record["place"] * COLUMN + words, LEFT + (record["place"] + 1) * COLUMN - 7
    y0, y1 = TOP + row * ROW, TOP + below * ROW
    bend = x1 - 35
    return (
        f'<path d="M{x0:.0f} {y0}H{bend - 35}C{bend} {y0} {bend - 25} {y1} {x1} {y1}" fill="none" '
        f'stroke="#adb5bd" stroke-width="{0.5 + 3 * max(cosine, 0):.2f}"/>'
    )


def completeness(found: Mapping[str, Any]) -> str:
    """The picture of ``families.complete``: share with a feature by frequency, a line a dictionary.

    The frequency at which half of the concepts have a feature is a diamond with its 95 % interval;
    dictionaries for which no curve fits, or that reach it beyond what occurs, have none.
    """
    members = found["dictionaries"]
    often = [c["frequency"] for one in members for c in one["concepts"]]
    low, high = min(often), max(often)
    if low == high:
        low, high = low / 2, high * 2
    axis = _Axis(log(low), log(high))
    body = [svg.text(LEFT, 28, f"Concepts ({found['concepts']}) that have a feature", "title")]
    body += axis.drawn(low, high)
    for place, one in enumerate(members):
        body += _curve(one, axis, place)
        body += _legend(one, axis, place)
    x, y, width, height = PLOT
    note = (
        f"{found['scenes']} scenes of {found['corpus']}; a concept has a feature where F1 is "
        f"{found['bar']:g} or more on scenes held out"
    )
    body.append(svg.text(x, y + height + 62, note, "dim"))
    return svg.page(x + width + 380, max(y + height + 82, y + 52 * len(members) + 30), body)


class _Axis:
    """From a logarithm of a frequency, and a share, to pixels."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def x(self, frequency: float) -> float:
        share = (log(max(frequency, 1e-12)) - self.low) / (self.high - self.low)
        return PLOT[0] + min(max(share, 0.0), 1.0) * PLOT[2]

    def holds(self, frequency: float | None) -> bool:
        """Whether it lies within what the concepts show."""
        return frequency is not None and self.low <= log(max(frequency, 1e-12)) <= self.high

    def y(self, share: float) -> float:
        return PLOT[1] + (1 - share) * PLOT[3]

    def drawn(self, low: float, high: float) -> list[str]:
        """Both axes with their marks, and the line of one half."""
        left, top, width, height = PLOT
        out = []
        for percent in (0, 25, 50, 75, 100):
            y = self.y(percent / 100)
            dash = ' stroke-dasharray="5 4"' if percent == 50 else ""
            grey = "#868e96" if percent == 50 else "#e9ecef"
            out.append(svg.line(left, y, left + width, y, grey, dash))
            out.append(svg.text(left - 8, y + 4, f"{percent} %", "dim", anchor="end"))
        marks = [low * (high / low) ** (i / 5) for i in range(6)]
        for mark in marks:
            x = self.x(mark)
            out.append(svg.line(x, top + height, x, top + height + 5, "#868e96"))
            out.append(
                svg.text(x, top + height + 20, f"{100 * mark:.2g} %", "dim", anchor="middle")
            )
        middle = left + width / 2
        words = "how often the concept occurs, share of scenes (log)"
        return [*out, svg.text(middle, top + height + 40, words, anchor="middle")]


def _curve(one: Mapping[str, Any], axis: _Axis, place: int) -> list[str]:
    """One dictionary: its bins, its chance level, the point of one half."""
    colour = _colour(place)
    bins = [(axis.x(b["frequency"]), axis.y(b["share"])) for b in one["curve"]]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in bins)
    out = [f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2.5"/>']
    out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in bins]
    if axis.holds(one["half"]):
        x, y = axis.x(one["half"]), axis.y(0.5)
        if one["half_low"] is not None:
            low, high = axis.x(one["half_low"]), axis.x(one["half_high"])
            under = y + 14 + 5 * place  # beneath the diamond, each at a height of its own
            out.append(svg.line(low, under, high, under, colour, ' stroke-width="2"'))
            out.append(svg.line(x, y + 8, x, under, colour))
        diamond = f"M{x:.1f} {y - 8}l7 8l-7 8l-7 -8z"
        out.append(f'<path d="{diamond}" fill="#fff" stroke="{colour}" stroke-width="2"/>')
    return out


def _legend(one: Mapping[str, Any], axis: _Axis, place: int) -> list[str]:
    x, y = PLOT[0] + PLOT[2] + 28, PLOT[1] + 14 + 52 * place
    chance = "" if one["chance"] is None else f", by chance {one['chance']:.0%}"
    half = "no point of one half"
    if one["half"] is not None:
        half = f"half at {_percent(one['half'])} %"
    if one["half"] is not None and not axis.holds(one["half"]):
        half += " by the fit, outside of what occurs"
    elif one["half_low"] is not None:
        half += f" ({_percent(one['half_low'])}–{_percent(one['half_high'])} %)"
    return [
        f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{_colour(place)}"/>',
        svg.text(x + 12, y, f"{one['id']}: {one['width']} features", "head"),
        svg.text(x + 12, y + 15, f"{one['share']:.0%} of concepts{chance}", "dim"),
        svg.text(x + 12, y + 29, half, "dim"),
    ]


def _percent(share: float) -> str:
    """Two digits, and no exponent."""
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"


def _colour(place: int) -> str:
    if place < len(COLOURS):
        return COLOURS[place]
    return OTHERS[(place - len(COLOURS)) % len(OTHERS)]
