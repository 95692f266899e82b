"""Where in a picture a feature fired: the region, the crop, and the picture with its heat map.

Knows rectangles and pixels; knows no model. The heat map is that of ``semascope.heat``, with
strength kept, unlike an on/off mask.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.evidence.types import Exemplar
from semascope.heat import blend
from semascope.subject.heatmap import heat
from semascope.subject.types import IMAGE_KINDS, looking_at

Box = tuple[float, float, float, float]


def lit(exemplar: Exemplar, picture: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens that look at the picture, (n,), and their heat as a share of the peak there, (n,)."""
    shown = exemplar.shown
    placed = np.isfinite(shown.rects).all(1) & looking_at(shown, picture)
    tokens = np.flatnonzero(placed & np.isin(shown.kinds, IMAGE_KINDS))
    heat = exemplar.activations[tokens].astype(np.float64)
    return tokens, heat / max(float(heat.max(initial=0.0)), 1e-12)


def firing_picture(exemplar: Exemplar) -> int:
    """Which picture of the sample the strongest picture token looks at; −1 where none fires."""
    visible = np.isin(exemplar.shown.kinds, IMAGE_KINDS)
    heat = np.where(visible, exemplar.activations, 0.0)
    return int(exemplar.shown.image[int(heat.argmax())]) if heat.max(initial=0.0) > 0 else -1


def region(exemplar: Exemplar, picture: int = 0, share: float = 0.5) -> Box | None:
    """Bounding box, in pixels, of the blob around the strongest token; None where nothing fires.

    The blob is the connected set of tokens at ``share`` of the peak or more: a far-away spark
    would else stretch the box over everything between.
    """
    tokens, heat = lit(exemplar, picture)
    if not len(tokens) or heat.max() <= 0:
        return None
    strong = np.flatnonzero(heat >= share)
    rects = exemplar.shown.rects[tokens[strong]].astype(np.float64)
    inside = np.zeros(len(strong), bool)
    inside[int(heat[strong].argmax())] = True
    while True:
        blob = rects[inside]
        near = (
            (rects[:, None, 0] <= blob[None, :, 2] + 1)
            & (rects[:, None, 2] >= blob[None, :, 0] - 1)
            & (rects[:, None, 1] <= blob[None, :, 3] + 1)
            & (rects[:, None, 3] >= blob[None, :, 1] - 1)
        ).any(1)
        if not (near & ~inside).any():
            break
        inside |= near
    left, top = rects[inside, :2].min(0)
    right, bottom = rects[inside, 2:].max(0)
    return float(left), float(top), float(right), float(bottom)


def crop(image: Image.Image, box: Box, size: int = 128, padding: float = 0.25) -> Image.Image:
    """The square around a box, padded by a share of its longer side, resized to ``size``."""
    left, top, right, bottom = box
    half = max(right - left, bottom - top) * (0.5 + padding)
    half = min(half, min(image.size) / 2)
    x = float(np.clip((left + right) / 2, half, image.width - half))
    y = float(np.clip((top + bottom) / 2, half, image.height - half))
    square = (round(x - half), round(y - half), round(x + half), round(y + half))
    return image.convert("RGB").crop(square).resize((size, size), Image.Resampling.BICUBIC)


def overlay(image: Image.Image, exemplar: Exemplar, picture: int = 0) -> Image.Image:
    """The picture with the subject's heat map over it, clear enough to see what lies beneath."""
    drawn = heat(exemplar.shown, exemplar.activations, image=picture)
    if image.size != exemplar.shown.sizes[picture]:
        image = image.resize(exemplar.shown.sizes[picture])
    return blend(image, drawn, opacity=0.6)


def data_url(image: Image.Image) -> str:
    """The picture as a PNG data URL, the form in which OpenAI-compatible servers take it."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
