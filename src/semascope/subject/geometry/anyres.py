"""LLaVA-NeXT and LLaVA-OneVision: a base view of the whole picture, then its tiles as one sheet.

The picture is fitted into the best of several resolutions, each (height, width), and padded;
the sheet of patch features over all tiles is cut back to the picture and ends every row with
a newline token. OneVision shrinks a sheet that is too large, and shows each of several
pictures in one view only, padded to a square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semascope.subject.geometry.base import (
    Claims,
    Seen,
    Size,
    Steps,
    claims,
    clip,
    grid,
    join,
    nowhere,
    option,
    square,
)
from semascope.subject.geometry.llava import extra_tokens, view_box
from semascope.subject.types import Kind


class Sheet(NamedTuple):
    """The patches that are left of all tiles."""

    rows: int
    columns: int
    box: tuple[float, float, float, float]
    """The part of the picture that they cover, in its own pixels; may go beyond its edges."""


class LlavaNext:
    """``LlavaNextForConditionalGeneration`` (LLaVA 1.6)."""

    model_types: tuple[str, ...] = ("llava_next",)

    def claim(self, seen: Seen) -> Sequence[Claims]:
        """Base view, then the sheet of tiles, row by row."""
        extra, patch = extra_tokens(seen.processor), int(seen.processor.patch_size)
        edge = int(seen.outputs["pixel_values"].shape[-1])
        pinpoints = option(seen.processor, "image_grid_pinpoints")
        found = []
        for size in seen.sizes:
            base = claims(Kind.IMAGE, grid(edge // patch, edge // patch, (0, 0, *size)))
            part = sheet(size, pinpoints, edge, edge // patch)
            found.append(join([nowhere(extra), base, sheet_claims(part, size)]))
        return found


class LlavaNextVideo(LlavaNext):
    """``LlavaNextVideoForConditionalGeneration``: pictures as LLaVA-NeXT, frames pooled."""

    model_types: tuple[str, ...] = ("llava_next_video",)

    def claim_videos(self, seen: Seen) -> Sequence[Steps]:
        """The cropped view of every frame, 2 × 2 patches averaged; no newlines."""
        patch, edge = int(seen.processor.patch_size), seen.outputs["pixel_values_videos"].shape[-1]
        side, found = int(edge) // patch // 2, []
        for frames, size in seen.videos:
            box = view_box(seen.processor.video_processor, size, (int(edge), int(edge)))
            part = clip(grid(side, side, box), size)
            found.append(Steps([claims(Kind.IMAGE, part)] * frames))
        return found


class LlavaOnevision:
    """``LlavaOnevisionForConditionalGeneration``."""

    model_types: tuple[str, ...] = ("llava_onevision",)

    def claim(self, seen: Seen) -> Sequence[Claims]:
        """One picture: base view and sheet. Several: one view each, and a newline."""
        side = square(int(seen.processor.num_image_tokens))
        edge = int(seen.outputs["pixel_values"].shape[-1])
        if len(seen.sizes) > 1:
            return [_padded_view(size, side) for size in seen.sizes]
        size = seen.sizes[0]
        pinpoints = option(seen.processor, "image_grid_pinpoints")
        most = int(seen.processor.vision_aspect_ratio.removeprefix("anyres_max_"))
        part = shrunk(sheet(size, pinpoints, edge, side), most * side**2)
        base = claims(Kind.IMAGE, grid(side, side, (0, 0, *size)))
        return [join([base, sheet_claims(part, size)])]

    def claim_videos(self, seen: Seen) -> Sequence[Steps]:
        """Each frame squashed to a square and halved; one newline after the last."""
        side, found = math.ceil(square(int(seen.processor.num_image_tokens)) / 2), []
        for frames, size in seen.videos:
            views = [claims(Kind.IMAGE, grid(side, side, (0, 0, *size)))] * frames
            found.append(Steps([*views[:-1], join([views[-1], nowhere(1)])]))
        return found


def sheet(size: Size, pinpoints: Sequence[Sequence[int]], edge: int, side: int) -> Sheet:
    """The sheet of a picture's tiles, padding cut away as the model cuts it.

    ``edge`` is a tile's in pixels and ``side`` its in patches.
    """
    from transformers.image_processing_utils import select_best_resolution

    width, height = size
    full_h, full_w = select_best_resolution((height, width), pinpoints)
    rows, columns = full_h // edge * side, full_w // edge * side
    new_w, new_h = _fitted(size, (full_w, full_h))
    pad_x, pad_y = (full_w - new_w) // 2, (full_h - new_h) // 2
    top = left = 0
    if width / height > columns / rows:
        top = (rows - int(round(height * (columns / width), 7))) // 2
    else:
        left = (columns - int(round(width * (rows / height), 7))) // 2
    step, x_scale, y_scale = edge / side, width / new_w, height / new_h
    box = (
        (left * step - pad_x) * x_scale,
        (top * step - pad_y) * y_scale,
        ((columns - left) * step - pad_x) * x_scale,
        ((rows - top) * step - pad_y) * y_scale,
    )
    return Sheet(rows - 2 * top, columns - 2 * left, box)


def _fitted(size: Size, full: Size) -> Size:
    """(width, height) of the picture scaled into ``full`` with its aspect kept."""
    x, y = full[0] / size[0], full[1] / size[1]
    if x < y:
        return full[0], min(math.ceil(size[1] * x), full[1])
    return min(math.ceil(size[0] * y), full[0]), full[1]


def shrunk(part: Sheet, most: int) -> Sheet:
    """The sheet as it is after it was scaled down to about ``most`` patches (OneVision)."""
    ratio = math.sqrt(part.rows * part.columns / most)
    if ratio <= 1.1:
        return part
    return Sheet(int(part.rows // ratio), int(part.columns // ratio), part.box)


def sheet_claims(part: Sheet, size: Size) -> Claims:
    """Every row of the sheet, each with its newline."""
    rects = clip(grid(part.rows, part.columns, part.box), size)
    lined: NDArray[np.float32] = np.full((part.rows, part.columns + 1, 4), np.nan, np.float32)
    lined[:, :-1] = rects.reshape(part.rows, part.columns, 4)
    return claims(Kind.TILE, lined.reshape(-1, 4))


def _padded_view(size: Size, side: int) -> Claims:
    """One view of a picture set in the middle of a square, and the newline after it."""
    edge = max(size)
    left, top = -((edge - size[0]) // 2), -((edge - size[1]) // 2)
    rects = clip(grid(side, side, (left, top, left + edge, top + edge)), size)
    return join([claims(Kind.IMAGE, rects), nowhere(1)])
