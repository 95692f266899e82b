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
    AdapterInput,
    Axis,
    Size,
    TokenClaims,
    VideoClaims,
    cells,
    claims,
    clip,
    join,
    nowhere,
    onto,
    option,
    patch_axis,
    patches,
    tower_patch,
)
from semascope.subject.geometry.llava import extra_tokens, view_box
from semascope.subject.types import Kind


class TileSheet(NamedTuple):
    """The patches of all tiles without padding, in pixels of the picture; may exceed its edges."""

    rows: Axis
    columns: Axis


class LlavaNext:
    """``LlavaNextForConditionalGeneration`` (LLaVA 1.6)."""

    model_types: tuple[str, ...] = ("llava_next",)

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """Base view, then the sheet of tiles, row by row."""
        extra, patch = extra_tokens(seen.processor), tower_patch(seen)
        edge = int(seen.outputs["pixel_values"].shape[-1])
        pinpoints = option(seen.processor, "image_grid_pinpoints")
        found = []
        for size in seen.sizes:
            base = claims(Kind.IMAGE, patches((edge, edge), patch, (0, 0, *size)))
            part = sheet(size, pinpoints, edge, patch)
            found.append(join([nowhere(extra), base, sheet_claims(part, size)]))
        return found


class LlavaNextVideo(LlavaNext):
    """``LlavaNextVideoForConditionalGeneration``: pictures as LLaVA-NeXT, frames pooled."""

    model_types: tuple[str, ...] = ("llava_next_video",)

    def claim_videos(self, seen: AdapterInput) -> Sequence[VideoClaims]:
        """The cropped view of every frame, 2 × 2 patches averaged; no newlines."""
        patch, edge = tower_patch(seen), int(seen.outputs["pixel_values_videos"].shape[-1])
        found = []
        for frames, size in seen.videos:
            box = view_box(seen.processor.video_processor, size, (edge, edge))
            part = clip(patches((edge, edge), patch, box, pool=2), size)
            found.append(VideoClaims([claims(Kind.IMAGE, part)] * frames))
        return found


class LlavaOnevision:
    """``LlavaOnevisionForConditionalGeneration``."""

    model_types: tuple[str, ...] = ("llava_onevision",)

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """One picture: base view and sheet. Several: one view each, and a newline."""
        patch, edge = tower_patch(seen), int(seen.outputs["pixel_values"].shape[-1])
        if len(seen.sizes) > 1:
            return [_padded_view(size, edge, patch) for size in seen.sizes]
        size = seen.sizes[0]
        pinpoints = option(seen.processor, "image_grid_pinpoints")
        most = int(seen.processor.vision_aspect_ratio.removeprefix("anyres_max_"))
        part = shrunk(sheet(size, pinpoints, edge, patch), most * (edge // patch) ** 2)
        base = claims(Kind.IMAGE, patches((edge, edge), patch, (0, 0, *size)))
        return [join([base, sheet_claims(part, size)])]

    def claim_videos(self, seen: AdapterInput) -> Sequence[VideoClaims]:
        """Each frame squashed to a square and halved; one newline after the last."""
        edge = int(seen.outputs["pixel_values_videos"].shape[-1])
        axis, found = patch_axis(edge, tower_patch(seen)), []
        axis = resampled(axis, math.ceil(len(axis) / 2))
        for frames, (width, height) in seen.videos:
            rects = cells(onto(axis, edge, 0, height), onto(axis, edge, 0, width))
            views = [claims(Kind.IMAGE, rects)] * frames
            found.append(VideoClaims([*views[:-1], join([views[-1], nowhere(1)])]))
        return found


def sheet(size: Size, pinpoints: Sequence[Sequence[int]], edge: int, patch: int) -> TileSheet:
    """The sheet of a picture's tiles, with padding removed as in the model.

    ``edge`` is a tile's in pixels, ``patch`` a patch's. If patches do not divide a tile, the pixels
    at its end are in no patch.
    """
    from transformers.image_processing_utils import select_best_resolution

    width, height = size
    full_h, full_w = select_best_resolution((height, width), pinpoints)
    y, x = (tiled(patch_axis(edge, patch), edge, full // edge) for full in (full_h, full_w))
    new_w, new_h = _fitted(size, (full_w, full_h))
    pad_x, pad_y = (full_w - new_w) // 2, (full_h - new_h) // 2
    top = left = 0
    if width / height > len(x) / len(y):
        top = (len(y) - int(round(height * (len(x) / width), 7))) // 2
    else:
        left = (len(x) - int(round(width * (len(y) / height), 7))) // 2
    return TileSheet(
        (y[top : len(y) - top] - pad_y) * (height / new_h),
        (x[left : len(x) - left] - pad_x) * (width / new_w),
    )


def tiled(axis: Axis, edge: int, tiles: int) -> Axis:
    """The patches of one tile's edge, in each of several tiles side by side."""
    return np.concatenate([axis + n * edge for n in range(tiles)])


def _fitted(size: Size, full: Size) -> Size:
    """(width, height) of the picture scaled into ``full`` with its aspect kept."""
    x, y = full[0] / size[0], full[1] / size[1]
    if x < y:
        return full[0], min(math.ceil(size[1] * x), full[1])
    return min(math.ceil(size[0] * y), full[0]), full[1]


def resampled(axis: Axis, count: int) -> Axis:
    """(count, 2) cells resampled to ``count`` equal shares of the edge."""
    ends = np.arange(count + 1) * (len(axis) / count)
    first = np.floor(ends[:-1] + 1e-9).astype(int)
    last = np.ceil(ends[1:] - 1e-9).astype(int) - 1
    length = axis[:, 1] - axis[:, 0]
    starts = axis[first, 0] + (ends[:-1] - first) * length[first]
    return np.stack([starts, axis[last, 0] + (ends[1:] - last) * length[last]], 1)


def shrunk(part: TileSheet, most: int) -> TileSheet:
    """The sheet scaled down to about ``most`` patches (OneVision)."""
    rows, columns = len(part.rows), len(part.columns)
    ratio = math.sqrt(rows * columns / most)
    if ratio <= 1.1:
        return part
    scaled = resampled(part.rows, int(rows // ratio))
    return TileSheet(scaled, resampled(part.columns, int(columns // ratio)))


def sheet_claims(part: TileSheet, size: Size) -> TokenClaims:
    """Every row of the sheet, each with its newline."""
    rows, columns = len(part.rows), len(part.columns)
    lined: NDArray[np.float32] = np.full((rows, columns + 1, 4), np.nan, np.float32)
    lined[:, :-1] = clip(cells(part.rows, part.columns), size).reshape(rows, columns, 4)
    return claims(Kind.TILE, lined.reshape(-1, 4))


def _padded_view(size: Size, edge: int, patch: int) -> TokenClaims:
    """One view of a picture centred in a square, and the newline after it."""
    side = max(size)
    left, top = -((side - size[0]) // 2), -((side - size[1]) // 2)
    rects = clip(patches((edge, edge), patch, (left, top, left + side, top + side)), size)
    return join([claims(Kind.IMAGE, rects), nowhere(1)])
