"""A picture of a dictionary's quality, as SVG: how often its latents fire, by kind of token.

It draws the record that ``semascope evaluate dictionary`` makes, and measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semascope import svg
from semascope.dictionary.metrics.quality import DENSITY_EDGES

COLOURS = ("#495057", "#1971c2", "#e8590c", "#2b8a3e", "#9c36b5")
"""Of all tokens, then of each kind."""
PLOT = (74, 84, 560, 300)
"""Left, top, width and height."""


def density(record: Mapping[str, Any]) -> str:
    """Latents by the share of tokens on which they fire, a line for each kind of token."""
    left, top, width, height = PLOT
    kinds: Mapping[str, Mapping[str, Any]] = record["kinds"]
    most = max((max(one["density"]) for one in kinds.values()), default=0) or 1
    body = [
        svg.text(left, 28, f"How often latents fire: {record['dictionary']}", "title"),
        svg.text(left, 48, f"{record['architecture']}, {record['width']} latents", "dim"),
    ]
    for share in (0.0, 0.5, 1.0):
        y = top + (1 - share) * height
        body.append(svg.line(left, y, left + width, y, "#e9ecef"))
        body.append(svg.text(left - 8, y + 4, f"{round(share * most)}", "dim", "end"))
    for power in range(round(DENSITY_EDGES[0]), round(DENSITY_EDGES[-1]) + 1):
        x = _x(power)
        body.append(svg.line(x, top + height, x, top + height + 5, "#868e96"))
        body.append(svg.text(x, top + height + 20, f"1e{power}", "dim", "middle"))
    words = "share of tokens on which a latent is active (log)"
    body.append(svg.text(left + width / 2, top + height + 42, words, "", "middle"))
    for place, (name, one) in enumerate(kinds.items()):
        body += _kind(name, one, COLOURS[place % len(COLOURS)], place, most)
    return svg.page(left + width + 320, top + height + 60, body)


def _kind(name: str, one: Mapping[str, Any], colour: str, place: int, most: int) -> list[str]:
    """A stepped line, and its figures beside the plot."""
    left, top, width, height = PLOT
    path = f"M{_x(DENSITY_EDGES[0]):.1f} {top + height}"
    for edge, count in zip(DENSITY_EDGES, one["density"], strict=False):
        path += f"H{_x(edge):.1f}V{top + (1 - count / most) * height:.1f}"
    path += f"H{_x(DENSITY_EDGES[-1]):.1f}V{top + height}"
    x, y = left + width + 24, top + 12 + 62 * place
    lines = [f"FVU {one['fvu']:.3f} · L0 {one['l0']:.1f} · never {one['dead_fraction']:.1%}"]
    if "ce_recovered" in one:
        lines.append(f"CE recovered {one['ce_recovered']:.3f} · KL {one['kl']:.3f}")
    return [
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{colour}"/>',
        svg.text(x + 12, y, f"{name}: {one['tokens']} tokens"),
        *(svg.text(x + 12, y + 16 + 14 * i, line, "dim") for i, line in enumerate(lines)),
    ]


def _x(power: float) -> float:
    low, high = float(DENSITY_EDGES[0]), float(DENSITY_EDGES[-1])
    return PLOT[0] + (float(power) - low) / (high - low) * PLOT[2]
