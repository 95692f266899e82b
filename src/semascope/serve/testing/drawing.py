"""Pictures of coloured shapes by a seeded generator, and the heat of a feature on them."""

from __future__ import annotations

import io
import math
import random

from PIL import Image, ImageDraw

from semascope.serve.explorer.uploads import UploadedPictures
from semascope.serve.schema.responses import PictureRecord

SIDE, CELL = 128, 16
DICTIONARY = "resid_post.12/drawn"
COLOURS = {
    "red": "#d33c32", "blue": "#2c6fbb", "green": "#3c9a4e", "yellow": "#e8b92e",
    "purple": "#7d4ca8", "orange": "#e8792e", "black": "#2b2b2b", "pink": "#e58ab0",
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "ring", "diamond", "cross")
WORDS = ("dates", "Bible verses", "version numbers", "code", "questions", "negation")
Rect = tuple[float, float, float, float]


class Sheets:
    """Drawn pictures, each kept once among ``pictures``."""

    def __init__(self, pictures: UploadedPictures) -> None:
        self.pictures = pictures
        self._drawn: dict[tuple[str, str, int], tuple[str, tuple[int, ...]]] = {}

    def picture(self, colour: str, shape: str, n: int) -> tuple[str, tuple[int, ...]]:
        key = (colour, shape, n)
        if key not in self._drawn:
            rng = random.Random(f"{key}")
            ground = rng.choice(("#f4f1e8", "#dfe9ee", "#e9e4f0", "#cfd8cb"))
            sheet = Image.new("RGB", (SIDE, SIDE), ground)
            pen = ImageDraw.Draw(sheet)
            size = rng.randint(34, 56)
            left, top = rng.randint(4, SIDE - size - 4), rng.randint(4, SIDE - size - 4)
            other = rng.choice([c for c in COLOURS if c != colour])
            far = (left + SIDE // 2) % (SIDE - 30), (top + SIDE // 2) % (SIDE - 30)
            _draw(pen, rng.choice(SHAPES), COLOURS[other], (*far, far[0] + 28, far[1] + 28))
            box = (left, top, left + size, top + size)
            _draw(pen, shape, COLOURS[colour], box)
            buffer = io.BytesIO()
            sheet.save(buffer, "PNG")
            self._drawn[key] = (self.pictures.put(buffer.getvalue()).media, box)
        return self._drawn[key]


def _draw(pen: ImageDraw.ImageDraw, shape: str, colour: str, box: tuple[int, ...]) -> None:
    left, top, right, bottom = box
    x, y = (left + right) // 2, (top + bottom) // 2
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, top), (right, bottom), (left, bottom)], fill=colour)
    elif shape == "ring":
        pen.ellipse(box, outline=colour, width=9)
    elif shape == "diamond":
        pen.polygon([(x, top), (right, y), (x, bottom), (left, y)], fill=colour)
    else:
        pen.rectangle((x - 6, top, x + 6, bottom), fill=colour)
        pen.rectangle((left, y - 6, right, y + 6), fill=colour)


def lit(digest: str, box: tuple[int, ...], peak: float) -> PictureRecord:
    """Heat that falls with the distance from the shape's middle."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = (box[2] - box[0]) / 1.6
    rects: list[Rect] = []
    values: list[float] = []
    for top in range(0, SIDE, CELL):
        for left in range(0, SIDE, CELL):
            far = math.hypot(left + CELL / 2 - x, top + CELL / 2 - y)
            rects.append((left, top, left + CELL, top + CELL))
            values.append(round(max(0.0, peak * (1 - far / reach)), 3))
    return PictureRecord(media=digest, width=SIDE, height=SIDE, rects=rects, values=values)
