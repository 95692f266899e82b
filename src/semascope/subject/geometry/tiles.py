"""Families that cut the picture into square tiles and add the whole: Idefics3, InternVL, Aya, Ovis.

Each tile's patches are folded together by pixel shuffle into a square grid of tokens. The
picture is stretched to a whole number of tiles, never padded, so tiles divide it evenly.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from semascope.errors import GeometryUnknown
from semascope.subject.geometry.base import (
    AdapterInput,
    Size,
    TokenClaims,
    VideoClaims,
    claims,
    folded,
    grid,
    join,
    option,
)
from semascope.subject.types import Kind

OVIS = re.compile("<IMG_GRID>(.*?)<IMG_END>", re.DOTALL)
"""Text of the tiles of one picture; empty if a single one is the whole."""
MARKER = re.compile(r"<row_(\d+)_col_(\d+)>|(<global-img>)")


class Idefics3:
    """Idefics3 and SmolVLM: markers in the text give the place of each tile."""

    model_types: tuple[str, ...] = ("idefics3", "smolvlm")

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """Tiles row by row, then the whole."""
        shapes = _marked(seen.text)
        if len(shapes) != len(seen.sizes):
            raise GeometryUnknown("The tile markers in the text do not match the pictures.")
        return [
            _tiled(seen, size, rows, columns, _of_idefics(seen))
            for size, (rows, columns) in zip(seen.sizes, shapes, strict=True)
        ]

    def claim_videos(self, seen: AdapterInput) -> Sequence[VideoClaims]:
        """Each frame whole."""
        return _whole(seen, _of_idefics(seen))


class AyaVision:
    """Aya Vision: InternVL's tiles, then the whole; pixel shuffle."""

    model_types: tuple[str, ...] = ("aya_vision",)

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """Tiles row by row, then the whole; a single tile is the whole."""
        pool = int(seen.config.downsample_factor)
        view = TileView(pool, (seen.processor.img_size // seen.processor.patch_size) ** 2)
        return [_tiled(seen, size, *_shape(seen, size), view) for size in seen.sizes]


class Ovis2:
    """Ovis2: the whole, then its tiles; a single tile is the whole."""

    model_types: tuple[str, ...] = ("ovis2",)

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """The whole, then tiles row by row."""
        pool = int(seen.config.vision_config.hidden_stride)
        view, found = TileView(pool, int(seen.processor.image_seq_length)), []
        told = OVIS.findall(seen.text)
        if len(told) != len(seen.sizes):
            raise GeometryUnknown("The tile markers in the text do not match the pictures.")
        for size, tiles in zip(seen.sizes, told, strict=True):
            rows = tiles.count("<IMG_ROW>") + 1
            columns = tiles.count("<IMG_COL>") // rows + 1
            boxes = grid(rows, columns, (0, 0, *size)).tolist() if tiles else []
            views = [claims(Kind.TILE, folded(seen, box, *view)) for box in boxes]
            found.append(join([claims(Kind.IMAGE, folded(seen, (0, 0, *size), *view)), *views]))
        return found


class InternVL:
    """InternVL 2.5 and 3 in transformers' form: tiles, then a thumbnail."""

    model_types: tuple[str, ...] = ("internvl",)

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """Tiles row by row, then the whole; a single tile is the whole."""
        view = _of_internvl(seen)
        return [_tiled(seen, size, *_shape(seen, size), view) for size in seen.sizes]

    def claim_videos(self, seen: AdapterInput) -> Sequence[VideoClaims]:
        """Each frame whole."""
        return _whole(seen, _of_internvl(seen))


class TileView(NamedTuple):
    """What one view becomes."""

    pool: int
    """Patches along a token's edge."""
    tokens: int


def _of_idefics(seen: AdapterInput) -> TileView:
    return TileView(int(seen.config.scale_factor), int(seen.processor.image_seq_len))


def _of_internvl(seen: AdapterInput) -> TileView:
    return TileView(round(1 / seen.config.downsample_ratio), int(seen.processor.image_seq_length))


def _whole(seen: AdapterInput, view: TileView) -> list[VideoClaims]:
    """Every frame in one view."""
    return [
        VideoClaims([claims(Kind.IMAGE, folded(seen, (0, 0, *size), *view))] * frames)
        for frames, size in seen.videos
    ]


def _marked(text: str) -> list[tuple[int, int]]:
    """(rows, columns) of tiles of each picture, (0, 0) where it is not split."""
    shapes, rows, columns = [], 0, 0
    for row, column, whole in MARKER.findall(text):
        if whole:
            shapes.append((rows, columns))
            rows = columns = 0
        else:
            rows, columns = max(rows, int(row)), max(columns, int(column))
    return shapes


def _shape(seen: AdapterInput, size: Size) -> tuple[int, int]:
    """(rows, columns) of tiles; (0, 0) where one is the whole."""
    columns, rows = _canvas(seen, size)
    return (rows, columns) if columns * rows > 1 else (0, 0)


def _canvas(seen: AdapterInput, size: Size) -> tuple[int, int]:
    """(columns, rows) of InternVL's tiles, by the processor's own choice of canvas."""
    most = int(option(seen.processor, "max_patches", 1))
    if not option(seen.processor, "crop_to_patches", False) or most <= 1:
        return 1, 1
    tile = option(seen.processor, "size")
    least = int(option(seen.processor, "min_patches", 1))
    choose = sys.modules[type(seen.processor.image_processor).__module__].get_optimal_tiled_canvas
    columns, rows = choose((size[1], size[0]), (tile["height"], tile["width"]), least, most)
    return int(columns), int(rows)


def _tiled(seen: AdapterInput, size: Size, rows: int, columns: int, view: TileView) -> TokenClaims:
    """The tokens of every tile, row by row, and as many of the whole."""
    tiles = grid(rows, columns, (0, 0, *size)).tolist() if rows * columns else []
    views = [claims(Kind.TILE, folded(seen, tile, *view)) for tile in tiles]
    return join([*views, claims(Kind.IMAGE, folded(seen, (0, 0, *size), *view))])
