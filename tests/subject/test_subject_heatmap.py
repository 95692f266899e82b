"""Heat maps: on the right pixels, at the right strength."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples_of_subjects import asked, picture

from semascope.errors import GeometryUnknown
from semascope.subject.geometry.base import grid
from semascope.subject.heatmap import blend, heat, overlay


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
    colours = overlay(np.array([[0.0, 1.0, 2.0, -2.0]], np.float32), top=4.0)
    assert colours.dtype == np.uint8 and colours.shape == (1, 4, 4)
    assert colours[0, 0, 3] == 0
    assert 0 < colours[0, 1, 3] < colours[0, 2, 3] == colours[0, 3, 3] < 255
    assert colours[0, 2, 0] > colours[0, 2, 2] and colours[0, 3, 0] < colours[0, 3, 2]
    assert (overlay(np.zeros((2, 2), np.float32))[..., 3] == 0).all()


def test_a_silent_map_leaves_the_picture_as_it_is() -> None:
    image = picture(5, 7)
    assert (np.asarray(blend(image, np.zeros((7, 5), np.float32))) == np.asarray(image)).all()


def test_unknown_geometry_is_said_not_drawn(subject) -> None:
    from dataclasses import replace

    m = replace(subject("llava").encode([asked("x", picture(8, 8))]).maps[0], geometry="not known")
    with pytest.raises(GeometryUnknown, match="not known"):
        heat(m, np.ones(len(m)))
