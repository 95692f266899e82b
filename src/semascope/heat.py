"""Heat maps: one rule for overlapping rectangles, one colour scale.

Everything that shows heat uses this module: attributions, exemplars, exports, tours, notebooks.
The page draws in the browser by the same rule and scale (``web/src/lib/heat.ts``); both are
tested against ``web/src/lib/heat.golden.json``.

*Rule*: each rectangle is painted with its value; where several cover a pixel, the strongest wins.
*Scale*: warm for positive values, blue for negative ones, lighter and more opaque as they grow.
The colours are Okabe and Ito's (2008), which people with any colour vision can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

WARM = ((213, 94, 0), (230, 159, 0), (240, 228, 66))
"""Vermilion, orange, yellow: weak to strong."""
COLD = ((0, 114, 178), (43, 147, 205), (86, 180, 233))
"""Blue to sky blue."""
OPACITY = 0.8
"""Opacity of the strongest value."""


def paint(rects: ArrayLike, values: ArrayLike, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) the value of the strongest rectangle at every pixel, 0 where there is none.

    Args:
        rects: (n, 4) left, top, right, bottom in pixels.
        values: (n,) signed or not.
        size: (width, height) of the picture.
    """
    width, height = size
    canvas = np.zeros((height, width), np.float32)
    boxes, strengths = np.asarray(rects, np.float64), np.asarray(values, np.float32)
    # Weak first, so that the strongest is painted last. Equal ones: the later in the list.
    for number in np.argsort(np.abs(strengths), kind="stable"):
        if strengths[number]:
            left, top, right, bottom = boxes[number].tolist()
            rows, columns = _span(top, bottom, height), _span(left, right, width)
            canvas[rows, columns] = strengths[number]
    return canvas


def colours(
    values: NDArray[np.floating], *, top: float | None = None, opacity: float = OPACITY
) -> NDArray[np.uint8]:
    """(…, 4) RGBA of every value; 0 is clear.

    ``top`` is the value drawn at full strength (the largest of ``values`` by default): give the
    feature's maximum to make several pictures comparable.
    """
    most = float(np.abs(values).max(initial=0.0)) if top is None else float(top)
    share = np.clip(np.abs(values) / (most or 1.0), 0, 1).astype(np.float32)
    shades = np.where((values < 0)[..., None], _scale(COLD, share), _scale(WARM, share))
    alpha = np.where(values != 0, 255 * opacity * share, 0)[..., None]
    rgba: NDArray[np.uint8] = np.concatenate([shades, alpha], axis=-1).round().astype(np.uint8)
    return rgba


def css(value: float, top: float) -> str:
    """A CSS colour for the ground of a token: one hue for each sign, opaque at ``top``."""
    red, green, blue = COLD[1] if value < 0 else WARM[1]
    share = min(1.0, abs(value) / top) if top else 0.0
    return f"rgba({red},{green},{blue},{OPACITY * share:.2f})"


def overlay(
    heatmap: NDArray[np.float32], *, top: float | None = None, opacity: float = OPACITY
) -> Image.Image:
    """RGBA picture to lay over another of the same size; see ``colours``."""
    return Image.fromarray(colours(heatmap, top=top, opacity=opacity))


def blend(
    image: Image.Image,
    heatmap: NDArray[np.float32],
    *,
    top: float | None = None,
    opacity: float = OPACITY,
) -> Image.Image:
    """The picture with its heat map, (H, W), over it, RGB."""
    layer = overlay(heatmap, top=top, opacity=opacity)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def _span(start: float, end: float, size: int) -> slice:
    """Whole pixels of a side of a rectangle: neighbours share none, and none is empty."""
    first = min(int(start + 0.5), size - 1)
    last = min(max(int(end + 0.5), first + 1), size)
    return slice(first, last)


def _scale(
    stops: Sequence[tuple[int, int, int]], share: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(…, 3) colour of each share of full strength."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(share, at, [s[c] for s in stops]) for c in range(3)], axis=-1)
