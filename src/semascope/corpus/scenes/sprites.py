"""The sprite pack: named pictures in two styles, letters in five typefaces, words, shapes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

DATA = files("semascope.corpus.scenes") / "data"
SHAPES = (
    "circle", "square", "triangle", "diamond", "pentagon", "hexagon",
    "star", "cross", "ring", "crescent", "oval", "arrow",
)  # fmt: skip
TEXTURES = ("brick", "wood", "grass", "water", "sand", "stone", "striped", "dotted", "checked")


@dataclass(frozen=True, slots=True)
class Sprite:
    """One named picture."""

    index: int
    name: str
    category: str
    article: str
    emotion: str | None
    colour: str | None
    key: str
    """Unicode code points, e.g. ``1F96D``."""


class SpritePack:
    """All pictures, decoded once."""

    def __init__(self) -> None:
        meta = json.loads((DATA / "sprites.json").read_text(encoding="utf-8"))
        self.cell: int = meta["cell"]
        self.columns: int = meta["columns"]
        self.letters: str = meta["letters"]
        self.sprites = tuple(
            Sprite(
                i, s["name"], s["category"], s["article"], s["emotion"], s["colour"], s["hexcode"]
            )
            for i, s in enumerate(meta["sprites"])
        )
        self._place = {
            style: {sprite: at for at, sprite in enumerate(order)}
            for style, order in meta["styles"].items()
        }
        self._sheets: dict[str, Image.Image] = {}
        with (DATA / "glyphs.npz").open("rb") as file, np.load(file) as strips:
            self._glyphs = {k: strips[k] for k in strips.files}
        self.fonts = tuple(sorted({k.split(".")[0] for k in self._glyphs}))
        self._letters: dict[str, tuple[NDArray[np.uint8], NDArray[np.int32]]] = {}
        self.words = tuple((DATA / "words.txt").read_text(encoding="utf-8").split())
        self.by_category: dict[str, list[Sprite]] = {}
        for sprite in self.sprites:
            self.by_category.setdefault(sprite.category, []).append(sprite)

    @staticmethod
    @lru_cache(maxsize=1)
    def load() -> SpritePack:
        """The pack, read from package data once a process."""
        return SpritePack()

    def styles(self, sprite: Sprite) -> list[str]:
        """Styles in which this picture exists; 'noto' always."""
        return [s for s, place in self._place.items() if sprite.index in place]

    def picture(self, sprite: Sprite, size: int, style: str = "noto") -> Image.Image:
        """The sprite at ``size`` × ``size`` pixels, mode RGBa (premultiplied alpha)."""
        if style not in self._sheets:
            with (DATA / f"{style}.webp").open("rb") as file:
                self._sheets[style] = Image.open(file).convert("RGBa")
        at, n = self._place[style][sprite.index], self.cell
        left, top = at % self.columns * n, at // self.columns * n
        how = Image.Resampling.BILINEAR if size <= n else Image.Resampling.BICUBIC
        return self._sheets[style].resize((size, size), how, (left, top, left + n, top + n))

    def word(self, text: str, font: str, height: int) -> Image.Image:
        """A word as an alpha mask (mode L) of the given height in pixels."""
        if font not in self._letters:
            self._letters[font] = (self._glyphs[f"{font}.alpha"], self._glyphs[f"{font}.edges"])
        alpha, edges = self._letters[font]
        at = [self.letters.index(c) for c in text if c in self.letters]
        strip = np.concatenate([alpha[:, edges[i] : edges[i + 1]] for i in at], axis=1)
        rows = np.flatnonzero(strip.any(1))
        strip = strip[rows[0] : rows[-1] + 1]
        width = max(1, round(strip.shape[1] * height / strip.shape[0]))
        return Image.fromarray(strip).resize((width, height), Image.Resampling.BILINEAR)


@lru_cache(maxsize=512)
def shape_mask(shape: str, size: int, turn: int = 0) -> Image.Image:
    """A shape as an alpha mask (mode L), ``size`` × ``size``, drawn at four times the size."""
    big = size * 4
    mask = Image.new("L", (big, big))
    pen = ImageDraw.Draw(mask)
    box = (big * 0.04, big * 0.04, big * 0.96, big * 0.96)
    if shape == "circle":
        pen.ellipse(box, 255)
    elif shape == "oval":
        pen.ellipse((box[0], big * 0.24, box[2], big * 0.76), 255)
    elif shape == "ring":
        pen.ellipse(box, 255)
        pen.ellipse((big * 0.27, big * 0.27, big * 0.73, big * 0.73), 0)
    elif shape == "crescent":
        pen.ellipse(box, 255)
        pen.ellipse((big * 0.32, -big * 0.06, big * 1.14, big * 0.78), 0)
    else:
        pen.polygon([(x * big, y * big) for x, y in _corners(shape)], 255)
    if turn:
        mask = mask.rotate(turn, Image.Resampling.BILINEAR)
    return mask.resize((size, size), Image.Resampling.BOX)


def _corners(shape: str) -> list[tuple[float, float]]:
    """Corners in the unit square."""
    fixed = {
        "square": [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)],
        "triangle": [(0.5, 0.06), (0.96, 0.9), (0.04, 0.9)],
        "diamond": [(0.5, 0.03), (0.82, 0.5), (0.5, 0.97), (0.18, 0.5)],
        "cross": [(0.36, 0.06), (0.64, 0.06), (0.64, 0.36), (0.94, 0.36), (0.94, 0.64),
                  (0.64, 0.64), (0.64, 0.94), (0.36, 0.94), (0.36, 0.64), (0.06, 0.64),
                  (0.06, 0.36), (0.36, 0.36)],
        "arrow": [(0.05, 0.36), (0.55, 0.36), (0.55, 0.1), (0.96, 0.5), (0.55, 0.9), (0.55, 0.64),
                  (0.05, 0.64)],
    }  # fmt: skip
    if shape in fixed:
        return fixed[shape]
    n, inner = {"pentagon": (5, 1.0), "hexagon": (6, 1.0), "star": (5, 0.42)}[shape]
    steps = n if inner == 1 else 2 * n
    angles = np.arange(steps) / steps * 2 * np.pi - np.pi / 2
    radii = np.where(np.arange(steps) % 2 == 0, 0.47, 0.47 * inner)
    return [
        (0.5 + float(r * np.cos(a)), 0.5 + float(r * np.sin(a)))
        for r, a in zip(radii, angles, strict=True)
    ]
