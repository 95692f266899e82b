"""SVG shapes for plots: lines, text, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.dim{fill:#777;font-size:11px}"
    ".head{font-weight:600}.title{font-size:16px;font-weight:600}"
)
"""Classes of text: ``dim``, ``head`` and ``title``."""


def line(x0: float, y0: float, x1: float, y1: float, colour: str, attributes: str = "") -> str:
    """A line, with further attributes as text."""
    at = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {at} stroke="{colour}"{attributes}/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Text, escaped; control characters, which XML forbids, become dots."""
    what = f' class="{kind}"' if kind else ""
    words = "".join(c if c.isprintable() else "·" for c in words)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{what}>{escape(words)}</text>'


def page(width: float, height: float, body: Sequence[str]) -> str:
    """The whole file, on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n'
    )
