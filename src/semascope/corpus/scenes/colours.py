"""The eleven colours that a person names, and which of them a picture mostly has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "orange": (245, 130, 32),
    "yellow": (250, 214, 32),
    "green": (44, 160, 44),
    "blue": (38, 92, 214),
    "purple": (136, 64, 182),
    "pink": (246, 130, 190),
    "brown": (132, 84, 46),
    "black": (24, 24, 24),
    "white": (248, 248, 248),
    "grey": (138, 138, 138),
}
NAMES = tuple(PALETTE)


def name_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.int8]:
    """(N, 3) -> (N,) index into ``NAMES``, by hue, saturation and value."""
    c = rgb.astype(np.float32) / 255
    high, low = c.max(1), c.min(1)
    span = np.maximum(high - low, 1e-6)
    r, g, b = c.T
    hue = np.where(
        high == r, (g - b) / span % 6, np.where(high == g, (b - r) / span + 2, (r - g) / span + 4)
    )
    degrees, saturation = hue * 60, np.where(high > 0, (high - low) / np.maximum(high, 1e-6), 0)
    edges = np.array([14, 40, 68, 165, 258, 292, 340])
    wheel = np.array(
        [NAMES.index(n) for n in "red orange yellow green blue purple pink red".split()]
    )
    out = wheel[np.searchsorted(edges, degrees)]
    warm = (degrees < 45) | (degrees > 345)
    out = np.where(warm & (high < 0.62) & (saturation > 0.25), NAMES.index("brown"), out)
    out = np.where(
        (degrees > 345) | (degrees < 14),
        np.where((saturation < 0.5) & (high > 0.75), NAMES.index("pink"), out),
        out,
    )
    grey = np.where(high > 0.87, NAMES.index("white"), NAMES.index("grey"))
    out = np.where(saturation < 0.16, grey, out)
    return np.where(high < 0.24, NAMES.index("black"), out).astype(np.int8)


def dominant(rgba: NDArray[np.uint8], share: float = 0.62) -> str | None:
    """The colour of at least ``share`` of the opaque pixels, or None."""
    opaque = rgba.reshape(-1, 4)
    opaque = opaque[opaque[:, 3] > 200]
    if len(opaque) < 32:
        return None
    counts = np.bincount(name_pixels(opaque[:, :3]), minlength=len(NAMES))
    best = int(counts.argmax())
    return NAMES[best] if counts[best] >= share * len(opaque) else None
