"""Surfaces: plain, graded and textured pictures to put things on, or to fill shapes with.

Each texture is drawn once a process as a large tile; a scene takes a random window of it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

TILE = 320
Picture = NDArray[np.uint8]


def plain(size: tuple[int, int], colour: tuple[int, int, int]) -> Picture:
    """(H, W, 3) of one colour; ``size`` is (width, height)."""
    out = np.empty((size[1], size[0], 3), np.uint8)
    out[:] = colour
    return out


def graded(
    size: tuple[int, int], a: tuple[int, int, int], b: tuple[int, int, int], angle: float
) -> Picture:
    """(H, W, 3) from colour a to colour b along an angle in radians."""
    x = np.linspace(-0.5, 0.5, size[0], dtype=np.float32)[None, :]
    y = np.linspace(-0.5, 0.5, size[1], dtype=np.float32)[:, None]
    t = np.clip(0.5 + x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)), 0, 1)
    low, high = np.asarray(a, np.float32), np.asarray(b, np.float32)
    out: Picture = (low + t[..., None] * (high - low)).astype(np.uint8)
    return out


def textured(size: tuple[int, int], name: str, at: tuple[int, int] = (0, 0)) -> Picture:
    """(H, W, 3) window of a texture; ``at`` is its corner in the tile, which repeats."""
    tile = _tile(name)
    rows = (np.arange(size[1]) + at[1]) % TILE
    cols = (np.arange(size[0]) + at[0]) % TILE
    window: Picture = tile[rows[:, None], cols[None, :]]
    return window


@lru_cache(maxsize=16)
def _tile(name: str) -> Picture:
    rng = np.random.default_rng(sum(map(ord, name)))
    y, x = np.mgrid[:TILE, :TILE].astype(np.float32)
    makers = {
        "brick": _brick, "wood": _wood, "grass": _grass, "water": _water, "sand": _sand,
        "stone": _stone, "striped": _striped, "dotted": _dotted, "checked": _checked,
    }  # fmt: skip
    tile: Picture = np.clip(makers[name](x, y, rng), 0, 255).astype(np.uint8)
    return tile


def _mix(
    a: tuple[int, int, int], b: tuple[int, int, int], t: NDArray[np.float32]
) -> NDArray[np.float32]:
    low, high = np.asarray(a, np.float32), np.asarray(b, np.float32)
    mixed: NDArray[np.float32] = low + t[..., None] * (high - low)
    return mixed


def _noise(rng: np.random.Generator, scale: int) -> NDArray[np.float32]:
    """Smooth periodic noise in [0, 1] with features of about ``scale`` pixels."""
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE)))
    fy, fx = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :]
    soft = np.fft.irfft2(spectrum * np.exp(-((fx**2 + fy**2) * (scale * 2.5) ** 2)), (TILE, TILE))
    soft = (soft - soft.mean()) / soft.std()
    out: NDArray[np.float32] = np.clip(0.5 + 0.22 * soft, 0, 1).astype(np.float32)
    return out


def _brick(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    row = (y // 10).astype(int)
    shifted = x + (row % 2) * 10
    mortar = (y % 10 < 1.6) | (shifted % 20 < 1.6)
    shade = rng.random((TILE, TILE))[row, (shifted // 20).astype(int) % 16].astype(np.float32)
    return np.where(mortar[..., None], 205.0, _mix((150, 60, 44), (186, 88, 62), shade))


def _wood(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    rings = np.sin((x + 14 * _noise(rng, 30)) * 2 * np.pi / 16 + 5 * _noise(rng, 40))
    out = _mix((146, 96, 52), (196, 146, 90), (rings * 0.5 + 0.5).astype(np.float32))
    return np.where((x % 40 < 1.2)[..., None], 92.0, out)


def _grass(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    blades = rng.random((TILE // 4, TILE)).repeat(4, 0).astype(np.float32)
    return _mix((40, 110, 34), (116, 184, 66), 0.6 * blades + 0.4 * _noise(rng, 6))


def _water(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    waves = np.sin(y * 2 * np.pi / 10 + 9 * _noise(rng, 18)) * 0.5 + 0.5
    return _mix((44, 118, 190), (150, 208, 236), (waves**2).astype(np.float32))


def _sand(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    grain = rng.random((TILE, TILE)).astype(np.float32)
    return _mix((206, 176, 118), (244, 222, 172), 0.5 * grain + 0.5 * _noise(rng, 10))


def _stone(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    seeds = rng.random((60, 2)) * TILE
    points = np.stack([x, y], -1)[..., None, :]
    gap = np.abs(points - seeds)
    gap = np.minimum(gap, TILE - gap)
    near = np.sort((gap**2).sum(-1), axis=-1)[..., :2] ** 0.5
    crack = near[..., 1] - near[..., 0] < 2.6
    body = _mix((112, 112, 116), (166, 166, 170), _noise(rng, 8))
    return np.where(crack[..., None], 66.0, body)


def _striped(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    return _mix((244, 244, 240), (58, 88, 150), ((x + y) % 16 < 8).astype(np.float32))


def _dotted(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    inside = (x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 20
    return _mix((250, 236, 214), (206, 62, 76), inside.astype(np.float32))


def _checked(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    return _mix((240, 240, 240), (48, 48, 52), ((x // 10 + y // 10) % 2).astype(np.float32))
