"""HTML for notebooks: self-contained, without scripts, readable in light and dark themes."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.heat import COLD, WARM, css

BAR = 120
"""Pixels of the longest bar."""
PROMOTES, SUPPRESSES = WARM[1], COLD[1]


def block(*parts: str) -> str:
    """Parts one below the other."""
    return f'<div style="font-family:system-ui,sans-serif;line-height:1.45">{"".join(parts)}</div>'


def line(text: str, *, strong: bool = False) -> str:
    """A paragraph of plain text."""
    body = html.escape(text)
    return f'<p style="margin:4px 0">{f"<b>{body}</b>" if strong else body}</p>'


def turn(role: str, text: str, *, raw: bool = False) -> str:
    """One turn of a conversation; ``raw`` if the text is HTML already."""
    body = text if raw else html.escape(text)
    return f'<p style="margin:4px 0"><b>{html.escape(role)}</b> {body}</p>'


def picture(image: Image.Image, height: int = 160) -> str:
    """An ``<img>`` with embedded data, scaled for display."""
    style = f"height:{height}px;margin:2px 6px 2px 0;image-rendering:auto"
    return f'<img alt="" style="{style}" src="{data_url(image.convert("RGB"))}">'


def data_url(image: Image.Image) -> str:
    """The picture as a PNG data URL."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def table(rows: Iterable[tuple[object, object]]) -> str:
    """Names and values."""
    cells = "".join(
        f'<tr><td style="text-align:left">{html.escape(str(name))}</td>'
        f'<td style="text-align:left">{html.escape(_short(value))}</td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>"


def bars(rows: Sequence[tuple[str, float, str]], title: str = "") -> str:
    """Signed bars of (name, value, note); the longest is ``BAR`` pixels."""
    most = max((abs(value) for _, value, _ in rows if math.isfinite(value)), default=0.0) or 1.0
    cells = "".join(_bar(name, value, note, most) for name, value, note in rows)
    head = f'<tr><th colspan="4" style="text-align:left">{html.escape(title)}</th></tr>'
    return f"<table>{head if title else ''}{cells}</table>"


def _bar(name: str, value: float, note: str, most: float) -> str:
    width = round(abs(value) / most * BAR) if math.isfinite(value) else 0
    colour = "rgb({},{},{})".format(*(PROMOTES if value >= 0 else SUPPRESSES))
    left = BAR - width if value < 0 else BAR
    drawn = (
        f'<div style="width:{2 * BAR}px;height:10px;background:linear-gradient(#8884,#8884) '
        f'{BAR}px 0/1px 100% no-repeat"><div style="margin-left:{left}px;width:{width}px;'
        f'height:10px;background:{colour}"></div></div>'
    )
    cell = 'style="text-align:left;white-space:nowrap"'
    return (
        f"<tr><td {cell}>{html.escape(name)}</td><td>{drawn}</td>"
        f"<td {cell}>{value:+.3g}</td><td {cell}>{html.escape(note)}</td></tr>"
    )


def by_probability(words: Sequence[tuple[str, float]]) -> str:
    """Tokens from (text, log-probability), paler where the model was less sure."""
    spans = []
    for text, logprob in words:
        share = math.exp(min(0.0, logprob))
        spans.append(
            f'<span title="probability {share:.1%}" style="opacity:{0.35 + 0.65 * share:.2f}">'
            f"{_shown(text)}</span>"
        )
    return f'<span style="white-space:pre-wrap">{"".join(spans)}</span>'


def by_activation(tokens: Sequence[str], values: NDArray[np.float32], top: float) -> str:
    """Tokens on a ground coloured by their values, as heat maps are; ``top`` is full colour."""
    spans = []
    for text, value in zip(tokens, values.tolist(), strict=True):
        ground = f"background:{css(value, top)}"
        spans.append(f'<span title="{value:.3g}" style="{ground}">{_shown(text)}</span>')
    return f'<div style="white-space:pre-wrap;margin:4px 0">{"".join(spans)}</div>'


def _shown(text: str) -> str:
    return html.escape(text).replace("\n", "⏎<br>")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
