"""Activations of image tokens drawn on the picture that the user gave, each on its own rectangle.

Whole views and tiles are stitched into one map, strength kept: where several tokens look at a
pixel the strongest shows. Knows token maps and pixels; nothing of features or models.

Colours are Okabe and Ito's, which people with any colour vision can tell apart: warm for
positive, blue for negative, both lighter and more opaque as they grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.errors import GeometryUnknown
from semascope.subject.types import PictureMap, looking_at

WARM = ((213, 94, 0), (230, 159, 0), (240, 228, 66))
"""Vermilion, orange, yellow: weak to strong."""
COLD = ((0, 114, 178), (43, 147, 205), (86, 180, 233))
"""Blue to sky blue."""


class LocatedTokens(PictureMap, Protocol):
    """Where tokens look: a ``TokenMap`` is one, and so is a sample kept as evidence."""

    @property
    def rects(self) -> NDArray[np.float32]:
        """(T, 4) left, top, right, bottom in pixels; NaN where none."""
        ...

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """(width, height) of each picture."""
        ...


def heat(
    where: LocatedTokens, activations: NDArray[np.floating], *, image: int = 0
) -> NDArray[np.float32]:
    """(H, W) the activation at every pixel of one picture, 0 where no token looks or fires.

    ``activations`` is (T,), signed or not. Raises ``GeometryUnknown`` where the subject's
    family has no adapter.
    """
    geometry = getattr(where, "geometry", "known")
    if geometry != "known":
        raise GeometryUnknown(geometry)
    width, height = where.sizes[image]
    drawn = np.zeros((height, width), np.float32)
    placed = looking_at(where, image) & ~np.isnan(where.rects[:, 0]) & (activations != 0)
    at = np.flatnonzero(placed)
    # Weak first, so that the strongest token on a pixel is the one that stays.
    for token in at[np.argsort(np.abs(activations[at]), kind="stable")]:
        rows, columns = _pixels(where.rects[token], width, height)
        drawn[rows, columns] = activations[token]
    return drawn


def overlay(
    heatmap: NDArray[np.float32], *, top: float | None = None, opacity: float = 0.8
) -> NDArray[np.uint8]:
    """(H, W, 4) colours to lay over the picture; silent pixels are clear.

    ``top`` is the activation drawn at full strength (the map's own largest by default): give
    the feature's maximum to make maps of several pictures comparable.
    """
    most = float(np.abs(heatmap).max(initial=0.0)) if top is None else float(top)
    share = np.clip(np.abs(heatmap) / (most or 1.0), 0, 1).astype(np.float32)  # (H, W)
    colours = np.where((heatmap < 0)[..., None], _scale(COLD, share), _scale(WARM, share))
    alpha = np.where(heatmap != 0, 255 * opacity * share, 0)
    return np.dstack([colours, alpha]).round().astype(np.uint8)


def blend(
    image: Image.Image,
    heatmap: NDArray[np.float32],
    *,
    top: float | None = None,
    opacity: float = 0.8,
) -> Image.Image:
    """The picture with its heat map over it, RGB."""
    colours = Image.fromarray(overlay(heatmap, top=top, opacity=opacity))
    return Image.alpha_composite(image.convert("RGBA"), colours).convert("RGB")


def _pixels(rect: NDArray[np.float32], width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of a rectangle: whole pixels, neighbours sharing none, never empty."""
    left, top, right, bottom = (float(x) for x in rect)
    return _span(top, bottom, height), _span(left, right, width)


def _span(start: float, end: float, size: int) -> slice:
    first = min(int(start + 0.5), size - 1)
    last = min(max(int(end + 0.5), first + 1), size)
    return slice(first, last)


def _scale(
    stops: Sequence[tuple[int, int, int]], share: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(…, 3) colour of each share of full strength."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(share, at, [s[c] for s in stops]) for c in range(3)], axis=-1)
