"""Attributions for the eye: by feature, by token, by region of the picture; in notebooks and pages.

Turns numbers into HTML and pictures and computes nothing anew. Colour is signed, red for what
helps the metric and blue for what hinders it, and its depth is the share of the strongest
value shown; nothing is thresholded to on or off.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.causal.attribution.result import Attribution, FeatureShare, at
from semascope.causal.steering.interventions import Region
from semascope.causal.steering.token_masks import region_mask
from semascope.causal.steering.units import Statistics, statistic
from semascope.subject.types import Kind, TokenMap, looking_at

HELPS = (200, 30, 30)
HINDERS = (30, 70, 200)
COMMON = 0.1
"""A feature that fires at more than this share of tokens is shown apart, as low-level."""


def heat(values: NDArray[np.float32], token_map: TokenMap, image: int = 0) -> NDArray[np.float32]:
    """(H, W) one value a pixel of the picture, each image token painted on its own rectangle.

    Where a base token and a tile's token look at one pixel, their values add up.
    """
    width, height = token_map.sizes[image]
    canvas = np.zeros((height, width), dtype=np.float32)
    kinds = (Kind.IMAGE, Kind.TILE)
    for position in np.flatnonzero(np.isin(token_map.kinds, kinds) & looking_at(token_map, image)):
        rect = token_map.rects[position]
        if position < len(values) and np.isfinite(rect).all():
            left, top, right, bottom = np.rint(rect).astype(int)
            canvas[top : max(bottom, top + 1), left : max(right, left + 1)] += values[position]
    return canvas


def overlay(picture: Image.Image, values: NDArray[np.float32], scale: float = 0.0) -> Image.Image:
    """The picture in grey with the heat on it; ``scale`` is the value of full colour."""
    scale = scale or float(np.abs(values).max(initial=0.0)) or 1.0
    strength = np.clip(np.abs(values) / scale, 0, 1)[..., None] * 0.75  # (H, W, 1)
    helps, hinders = (np.asarray(c, dtype=np.float32) for c in (HELPS, HINDERS))
    colour = np.where(values[..., None] >= 0, helps, hinders)  # (H, W, 3)
    grey = np.asarray(picture.convert("L").convert("RGB"), dtype=np.float32)
    return Image.fromarray((grey * (1 - strength) + colour * strength).astype(np.uint8))


def coloured_text(tokens: Sequence[str], values: NDArray[np.float32], scale: float = 0.0) -> str:
    """HTML: every token on a ground of its value's colour, the value on hover."""
    scale = scale or float(np.abs(values).max(initial=0.0)) or 1.0
    spans = []
    for token, value in zip(tokens, values.tolist(), strict=False):
        red, green, blue = HELPS if value >= 0 else HINDERS
        depth = min(1.0, abs(value) / scale)
        shown = html.escape(token).replace("\n", "⏎<br>")
        spans.append(
            f'<span title="{value:+.4g}" style="background:rgba({red},{green},{blue},{depth:.2f})">'
            f"{shown}</span>"
        )
    return f'<div style="white-space:pre-wrap;line-height:1.6">{"".join(spans)}</div>'


def by_region(attribution: Attribution, region: Region, prompt: int = 0) -> list[FeatureShare]:
    """Features summed over the image tokens that look at a region, strongest first."""
    own = attribution.of(prompt)
    return own.features(at(region_mask(region, own.maps[0])))


def set_apart(
    shares: Sequence[FeatureShare], statistics: Statistics, limit: float = COMMON
) -> tuple[list[FeatureShare], list[FeatureShare]]:
    """(specific, common): features by how often they fire on everything that was gathered.

    The common ones are mostly low-level: edges, positions, surfaces. They are shown apart
    rather than dropped, since they can matter.
    """
    density = {key: statistic(statistics, key, "density") for key in {s.key for s in shares}}
    common = [s for s in shares if density[s.key][s.index] > limit]
    specific = [s for s in shares if density[s.key][s.index] <= limit]
    return specific, common


@dataclass(frozen=True, slots=True)
class AttributionView:
    """An attribution as a notebook shows it."""

    attribution: Attribution
    pictures: Sequence[Image.Image] = ()
    labels: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """What is known of the features, by (dictionary, index)."""
    top: int = 15

    def _repr_html_(self) -> str:
        attribution = self.attribution
        token_map = attribution.maps[0]
        values = attribution.by_token()
        text = np.isin(token_map.kinds, (Kind.IMAGE, Kind.TILE, Kind.NEWLINE, Kind.PAD))
        tokens = ["" if hidden else t for t, hidden in zip(token_map.tokens, text, strict=True)]
        shown = np.where(text, 0, values[: len(tokens)]).astype(np.float32)
        parts = [f"<p><b>{attribution.metric}</b> = {attribution.values[0]:.4g}</p>"]
        for number, picture in enumerate(self.pictures[: len(token_map.sizes)]):
            parts.append(_picture(overlay(picture, heat(values, token_map, number))))
        parts.append(coloured_text(tokens, shown))
        parts.append(self._table())
        shares = ", ".join(f"{s.key} {s.error_share():.0%}" for s in attribution.sites)
        parts.append(f"<p>Share of what the dictionaries do not explain: {shares}</p>")
        return "".join(parts)

    def _table(self) -> str:
        """The strongest features as an HTML table."""
        rows = [
            f"<tr><td>{html.escape(s.key)}/{s.index}</td><td>{s.score:+.4g}</td>"
            f"<td>{s.peak:.3g}</td><td>{s.tokens}</td>"
            f"<td>{html.escape(self.labels.get(s.id, ''))}</td></tr>"
            for s in self.attribution.features()[: self.top]
        ]
        head = "<tr><th>feature</th><th>score</th><th>peak</th><th>tokens</th><th></th></tr>"
        return f"<table>{head}{''.join(rows)}</table>"


def _picture(image: Image.Image) -> str:
    """An <img> that carries its own bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="heat map" src="data:image/png;base64,{data}">'
