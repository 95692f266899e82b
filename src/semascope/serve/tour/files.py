"""A played tour as a folder: ``tour.md``, ``tour.json`` and the tour's pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semascope.files import write_json, write_text
from semascope.heat import blend, paint
from semascope.serve.schema.responses import PictureRecord
from semascope.serve.schema.tours import TourEvent, TourRecord

_MARKS = {"ask": "> **Asked:** ", "answer": "> **Answered:** ", "concept": "* ", "note": "_Note:_ ",
          "expect": "**Measured.** "}  # fmt: skip


def write(
    folder: Path, tour: TourRecord, lines: Sequence[TourEvent], picture: Callable[[str], Path]
) -> Path:
    """Write a tour that was played; returns the Markdown file.

    Args:
        folder: where to; it is created if needed.
        tour: the tour.
        lines: its lines, in order.
        picture: gives the file of a picture by its hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"# {tour.title}", ""]
    for number, line in enumerate(lines):
        parts += [f"{_MARKS.get(line.line, '')}{line.text}", ""]
        if line.picture:
            name = f"{number:02d}.png"
            drawn(line, picture(line.picture)).save(folder / name)
            parts += [f"![{'where it fires' if line.heat else 'the picture'}]({name})", ""]
    file = folder / "tour.md"
    write_text(file, "\n".join(parts))
    records = [{"kind": line.line, "text": line.text, "figures": line.figures} for line in lines]
    record = {"tour": tour.name, "title": tour.title, "lines": records}
    write_json(folder / "tour.json", record)
    return file


def drawn(line: TourEvent, file: Path) -> Image.Image:
    """The picture of a line, with its heat where it has one."""
    with Image.open(file) as image:
        picture = image.convert("RGB")
    return picture if line.heat is None else blend(picture, heat(line.heat, picture.size))


def heat(record: PictureRecord, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) one value a pixel, the record's rectangles scaled to a picture of ``size``."""
    width, height = size
    scale = np.array([width / record.width, height / record.height] * 2)
    return paint(np.reshape(record.rects, (-1, 4)) * scale, record.values, size)
