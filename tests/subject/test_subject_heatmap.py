"""Heat maps: on the right pixels, at the right strength."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples_of_subjects import asked, picture

from semascope.errors import GeometryUnknown
from semascope.heat import blend, colours, paint
from semascope.subject.geometry.base import grid
from semascope.subject.heatmap import heat


class Placed(NamedTuple):
    rects: np.ndarray
    image: np.ndarray
    sizes: tuple[tuple[int, int], ...]


def placed(rows: int, columns: int, size: tuple[int, int]) -> Placed:
    rects = grid(rows, columns, (0, 0, *size))
    return Placed(rects, np.zeros(len(rects), np.int16), (size,))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 60), st.integers(1, 60))
def test_a_grid_covers_every_pixel_once_and_keeps_strength(rows, columns, width, height) -> None:
    """Rounding both edges alike leaves no seams and no gaps, however odd the size."""
    values = np.arange(1, rows * columns + 1, dtype=np.float32)
    drawn = heat(placed(rows, columns, (width, height)), values)
    assert drawn.shape == (height, width)
    assert (drawn > 0).all() and drawn.max() == values.max()
    if width >= columns and height >= rows:
        assert set(np.unique(drawn)) == set(values)


def test_the_strongest_token_on_a_pixel_shows() -> None:
    rects = np.array([[0, 0, 4, 4], [0, 0, 2, 2], [2, 2, 4, 4]], np.float32)
    where = Placed(rects, np.zeros(3, np.int16), ((4, 4),))
    drawn = heat(where, np.array([1.0, 0.5, -3.0]))
    assert drawn[0, 0] == 1 and drawn[3, 3] == -3 and drawn[0, 3] == 1


def test_only_the_picture_asked_for_is_drawn() -> None:
    rects = np.concatenate([grid(1, 1, (0, 0, 4, 4)), grid(1, 1, (0, 0, 6, 2))])
    where = Placed(rects, np.array([0, 1], np.int16), ((4, 4), (6, 2)))
    assert heat(where, np.array([1.0, 2.0]), image=1).tolist() == [[2.0] * 6] * 2


def test_tiles_are_stitched_on_the_original_picture(subject) -> None:
    """LLaVA-NeXT: a token of a tile lights its own place, not its place within the tile."""
    m = subject("llava_next").encode([asked("x", picture(150, 70))]).maps[0]
    last = np.flatnonzero(m.kinds == 4)[-1]
    drawn = heat(m, np.eye(len(m))[last])
    rows, columns = np.nonzero(drawn)
    assert drawn.shape == (70, 150)
    assert rows.min() > 35 and columns.min() > 120


def test_colours_grow_with_strength_and_tell_the_sign() -> None:
    drawn = colours(np.array([[0.0, 1.0, 2.0, -2.0]], np.float32), top=4.0)
    assert drawn.dtype == np.uint8 and drawn.shape == (1, 4, 4)
    assert drawn[0, 0, 3] == 0
    assert 0 < drawn[0, 1, 3] < drawn[0, 2, 3] == drawn[0, 3, 3] < 255
    assert drawn[0, 2, 0] > drawn[0, 2, 2] and drawn[0, 3, 0] < drawn[0, 3, 2]
    assert (colours(np.zeros((2, 2), np.float32))[..., 3] == 0).all()


def test_the_page_draws_heat_as_python_does() -> None:
    """The page has code of its own: without this, its rule and its colours drift away.

    ``heat.test.ts`` reads the same file.
    """
    file = Path(__file__).parents[2] / "web" / "src" / "lib" / "heat.golden.json"
    golden = json.loads(file.read_text())
    picture = golden["picture"]
    drawn = paint(picture["rects"], picture["values"], (golden["width"], golden["height"]))
    assert drawn.tolist() == golden["heat"]
    shades = colours(np.array(golden["scale"]["values"], np.float32), top=golden["scale"]["top"])
    assert shades.tolist() == golden["scale"]["colours"]


def test_a_silent_map_leaves_the_picture_as_it_is() -> None:
    image = picture(5, 7)
    assert (np.asarray(blend(image, np.zeros((7, 5), np.float32))) == np.asarray(image)).all()


def test_unknown_geometry_is_said_not_drawn(subject) -> None:
    from dataclasses import replace

    m = replace(subject("llava").encode([asked("x", picture(8, 8))]).maps[0], geometry="not known")
    with pytest.raises(GeometryUnknown, match="not known"):
        heat(m, np.ones(len(m)))
