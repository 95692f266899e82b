"""The page of a rating sheet: one file that opens from disk, asks no server, and keeps progress.

Pictures travel inside as data URIs, heat as a layer of its own that a key takes away. Everything
that comes from data is escaped, and a content security policy allows the page's own script alone.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import numpy as np
from PIL import Image

from semascope import heat, html
from semascope.evidence.types import Exemplar
from semascope.explain.crops import firing_picture
from semascope.explain.human.blind_rating import GRADES, MEANINGS
from semascope.explain.text.exemplar_terms import mode_of
from semascope.explain.types import Pictures
from semascope.subject import heatmap
from semascope.subject.types import Kind

AROUND = 28
"""Tokens shown on either side of the strongest."""
LARGEST = 512
"""Pixels of the longer side of a picture on the sheet."""


@dataclass(frozen=True, slots=True, eq=False)
class SheetItem:
    """One explanation to be rated."""

    task: str
    label: str
    description: str
    exemplars: Sequence[Exemplar]
    """Held out; strongest first."""


def sheet_page(
    items: Sequence[SheetItem], pictures: Pictures, *, dictionary: str, seed: int
) -> str:
    """The whole page as HTML."""
    parts = {name: _file(f"rating_sheet.{name}").strip() for name in ("html", "css", "js")}
    digest = base64.b64encode(hashlib.sha256(_script(parts["js"]).encode()).digest()).decode()
    about = {"dictionary": dictionary, "seed": seed, "size": len(items)}
    values = {
        "POLICY": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        "STYLE": parts["css"],
        "ABOUT": escape(json.dumps(about)),
        "SIZE": str(len(items)),
        "GRADES": "".join(_grade(key, name) for key, name in enumerate(GRADES.values(), 1)),
        "SCRIPT": _script(parts["js"]),
        "ITEMS": "".join(_item(item, pictures) for item in items),
    }
    # One pass: what comes from data may hold any of these names.
    return re.sub(
        "|".join(f"%{name}%" for name in values), lambda m: values[m[0][1:-1]], parts["html"]
    )


def _script(text: str) -> str:
    return f"\n{text}\n"


def _file(name: str) -> str:
    return resources.files("semascope.api").joinpath(f"data/{name}").read_text("utf-8")


def _grade(key: int, name: str) -> str:
    return (
        f'<button type="button" class="grade {name}" data-grade="{name}"><kbd>{key}</kbd>'
        f"<b>{name}</b><span>{escape(MEANINGS[name])}</span></button>"
    )


def _item(item: SheetItem, pictures: Pictures) -> str:
    top = max((exemplar.peak for exemplar in item.exemplars), default=0.0)
    figures = "".join(_figure(exemplar, top, pictures) for exemplar in item.exemplars)
    if not figures:
        figures = "<p>No held-out sample activates this feature.</p>"
    description = item.description if item.description != item.label else ""
    return (
        f'<article data-task="{escape(item.task)}" hidden><h2>{escape(item.label)}</h2>'
        f'<p class="about">{escape(description)}</p>'
        f'<div class="exemplars">{figures}</div></article>'
    )


def _figure(exemplar: Exemplar, top: float, pictures: Pictures) -> str:
    share = f"{exemplar.peak / top:.0%}" if top else ""
    caption = f'<figcaption><i style="width:{share}"></i>{share} of the strongest</figcaption>'
    if mode_of(exemplar) == "picture":
        return f'<figure class="seen">{_picture(exemplar, top, pictures)}{caption}</figure>'
    return f'<figure class="read">{_text(exemplar, top)}{caption}</figure>'


def _picture(exemplar: Exemplar, top: float, pictures: Pictures) -> str:
    number = firing_picture(exemplar)
    width, height = exemplar.shown.sizes[number]
    scale = min(1.0, LARGEST / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = pictures(exemplar.shown.media[number]).convert("RGB").resize(size)
    drawn = heatmap.heat(exemplar.shown, exemplar.activations, image=number)  # (H, W)
    layer = heat.overlay(drawn, top=top, opacity=0.6).resize(size, Image.Resampling.NEAREST)
    return (
        f'<div class="picture"><img alt="" src="{_data(image, "WEBP")}">'
        f'<img alt="" class="heat" src="{_data(layer, "PNG")}"></div>'
    )


def _data(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=82)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _text(exemplar: Exemplar, top: float) -> str:
    shown, peak = exemplar.shown, int(exemplar.activations.argmax())
    # Tokens of the chat template are left out, unless the feature is about them.
    kinds = {int(Kind.TEXT), int(shown.kinds[peak])}
    readable = np.flatnonzero(np.isin(shown.kinds, list(kinds)))
    at = int(np.searchsorted(readable, peak))
    near = readable[max(0, at - AROUND) : at + AROUND + 1]
    return html.by_activation([shown.tokens[n] for n in near], exemplar.activations[near], top)
