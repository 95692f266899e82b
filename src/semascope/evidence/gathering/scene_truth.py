"""What a drawn scene says about each token: how much of its rectangle every object covers.

Knows masks and rectangles; knows no model and no feature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.sample import SceneObject, SceneTruth


def coverage(
    masks: NDArray[np.bool_], rects: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float16]:
    """(n, H, W) masks and (T, 4) rectangles in pixels -> (n, T) share of each rectangle covered.

    Exact for rectangles with fractional edges: the integral of the mask is piecewise bilinear.
    ``size`` is the (width, height) in which the rectangles are given; a rectangle that is NaN,
    or empty, or wholly outside, has share 0. What lies outside the picture counts as not covered.
    """
    n, height, width = masks.shape
    integral = np.zeros((n, height + 1, width + 1))
    integral[:, 1:, 1:] = masks.cumsum(1, dtype=np.float64).cumsum(2)
    scale = np.array([width / size[0], height / size[1]] * 2)
    box = np.nan_to_num(rects.astype(np.float64)) * scale  # (T, 4) in mask pixels
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    x = np.clip(box[:, [0, 2]], 0, width)
    y = np.clip(box[:, [1, 3]], 0, height)

    def at(column: int, line: int) -> NDArray[np.float64]:
        x0 = np.minimum(np.floor(x[:, column]).astype(int), max(width - 1, 0))
        y0 = np.minimum(np.floor(y[:, line]).astype(int), max(height - 1, 0))
        fx, fy = x[:, column] - x0, y[:, line] - y0
        upper = integral[:, y0, x0] * (1 - fx) + integral[:, y0, x0 + 1] * fx
        lower = integral[:, y0 + 1, x0] * (1 - fx) + integral[:, y0 + 1, x0 + 1] * fx
        out: NDArray[np.float64] = upper * (1 - fy) + lower * fy
        return out

    covered = at(1, 1) - at(0, 1) - at(1, 0) + at(0, 0)  # (n, T)
    share = np.where(area > 0, covered / np.where(area > 0, area, 1), 0)
    return np.clip(share, 0, 1).astype(np.float16)


def truth_record(truth: SceneTruth | None) -> dict[str, Any]:
    """The truth of a scene as plain JSON values, masks left out."""
    if truth is None:
        return {}
    return {
        "caption": truth.caption,
        "background": truth.background,
        "objects": [_object(o) for o in truth.objects],
    }


def _object(thing: SceneObject) -> dict[str, Any]:
    names = ("name", "category", "colour", "texture", "emotion", "word", "style", "sprite")
    return {n: getattr(thing, n) for n in names} | {"box": [int(v) for v in thing.box]}


def object_patches(
    truth: SceneTruth | None,
    rects: NDArray[np.float32],
    image: NDArray[np.int16],
    sizes: tuple[tuple[int, int], ...],
) -> NDArray[np.float16]:
    """(objects, T): the coverage of every token of the scene's picture, its first; 0 elsewhere."""
    if truth is None or not truth.objects or not sizes:
        return np.zeros((len(truth.objects) if truth else 0, len(rects)), np.float16)
    where = np.where((image == 0)[:, None], rects, np.nan).astype(np.float32)
    return coverage(np.stack([o.extent for o in truth.objects]), where, sizes[0])
