"""Geometry adapters: the kind of each image token, and the rectangle at which it looks.

An adapter serves one family of processors. It gets the sizes of a sample's pictures and the
processor's output, and returns the kind and rectangle of each image token. To add a family, write
an ``Adapter`` with a ``claim`` (``semascope.subject.geometry.llava`` is the shortest example) and
``register`` it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semascope.errors import GeometryUnknown
from semascope.subject.types import Kind

Size = tuple[int, int]
"""(width, height)."""


class TokenClaims(NamedTuple):
    """The tokens of one picture, in the order of the text."""

    kinds: NDArray[np.int8]
    """(n,) ``Kind`` of each of the picture's tokens."""
    rects: NDArray[np.float32]
    """(n, 4) left, top, right, bottom in pixels of the original picture; NaN for none."""


class VideoClaims(NamedTuple):
    """The tokens of one video, by step in time."""

    steps: Sequence[TokenClaims]
    every: int = 1
    """Frames of each step; the last step may have fewer."""


@dataclass(frozen=True, slots=True)
class AdapterInput:
    """The input of an adapter, for one sample."""

    processor: Any
    config: Any
    """The model's config."""
    sizes: tuple[Size, ...]
    """(width, height) of each original image."""
    outputs: Mapping[str, Any]
    """Output of the processor for this sample alone."""
    text: str = ""
    """The sample's tokens as text, including tile markers."""
    videos: tuple[tuple[int, Size], ...] = ()
    """Number of frames of each video, and their original (width, height)."""


class Adapter(Protocol):
    """Geometry of one family of models."""

    model_types: tuple[str, ...]
    """``config.model_type`` of its models."""

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """One ``TokenClaims`` for each picture, with exactly as many tokens as the text has.

        Raises:
            GeometryUnknown: settings of the processor that the adapter does not support.
        """
        ...


@runtime_checkable
class VideoAdapter(Adapter, Protocol):
    """An adapter of a family that reads videos."""

    def claim_videos(self, seen: AdapterInput) -> Sequence[VideoClaims]:
        """One ``VideoClaims`` for each video, as ``claim``."""
        ...


def option(processor: Any, name: str, default: Any = None) -> Any:
    """A setting of the image processor, as the processor around it will override it."""
    overrides = getattr(processor, "images_kwargs", None)
    if isinstance(overrides, Mapping) and overrides.get(name) is not None:
        return overrides[name]
    found = getattr(processor.image_processor, name, None)
    return default if found is None else found


def tower_patch(seen: AdapterInput) -> int:
    """Edge of a patch of the vision tower in pixels, from the model's config.

    Raises:
        GeometryUnknown: the config has no patch size, or patches are not square or overlap.
    """
    vision = getattr(seen.config, "vision_config", None)
    patch = getattr(vision, "patch_size", None)
    if isinstance(patch, Sequence) and len(set(patch)) == 1:
        patch = patch[0]
    kind = getattr(vision, "model_type", "none")
    if not isinstance(patch, int):
        raise GeometryUnknown(f"The config of the vision tower ({kind}) has no patch size.")
    for name in ("patch_stride", "stride"):
        stride = getattr(vision, name, None)
        if stride is not None and stride not in (patch, [patch, patch], (patch, patch)):
            raise GeometryUnknown(
                f"The vision tower ({kind}) has patches of {patch} pixels and {name} {stride}."
            )
    return patch


def folded(seen: AdapterInput, box: Sequence[float], pool: int, tokens: int) -> NDArray[np.float32]:
    """(tokens, 4) rectangles of a square view of a ``box`` of the picture.

    Each token is ``pool`` × ``pool`` patches.

    Raises:
        GeometryUnknown: the view is not square, or has another number of tokens.
    """
    pixels = seen.outputs.get("pixel_values")
    pixels = seen.outputs["pixel_values_videos"] if pixels is None else pixels
    height, width = (int(edge) for edge in pixels.shape[-2:])
    rects = patches((width, height), tower_patch(seen), box, pool=pool)
    if height != width or len(rects) != tokens:
        raise GeometryUnknown(
            f"A view of {width} × {height} pixels makes {len(rects)} tokens by the model's config, "
            f"and {tokens} by its processor."
        )
    return rects


def square(tokens: int) -> int:
    """Edge of a square grid of ``tokens``; GeometryUnknown if it is not square."""
    edge = math.isqrt(tokens)
    if edge * edge != tokens:
        raise GeometryUnknown(f"A view has {tokens} tokens, which is no square grid.")
    return edge


Axis = NDArray[np.float64]
"""(n, 2) start and end of n cells along one edge of a view, in pixels."""


def patch_axis(edge: int, patch: int, stride: int | None = None, padding: int = 0) -> Axis:
    """(n, 2) start and end of each patch along an edge, as in a convolution without dilation.

    Pixels at the end are in no patch if patches do not divide the edge.

    Raises:
        GeometryUnknown: not even one patch fits.
    """
    stride = stride or patch
    count = (edge + 2 * padding - patch) // stride + 1
    if count < 1:
        raise GeometryUnknown(f"A view of {edge} pixels is smaller than a patch of {patch}.")
    start = np.arange(count) * stride - padding
    return np.stack([start, start + patch], 1).astype(np.float64)


def pooled(axis: Axis, size: int) -> Axis:
    """(n // size, 2) cells merged by ``size``; cells left over at the end are dropped."""
    count = len(axis) // size
    return np.stack([axis[: count * size : size, 0], axis[size - 1 : count * size : size, 1]], 1)


def onto(axis: Axis, edge: float, low: float, high: float) -> Axis:
    """Cells of a view of ``edge`` pixels in pixels of the picture, which it shows from low to
    high."""
    return low + axis * ((high - low) / edge)


def cells(rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """(rows · columns, 4) rectangle of each row and column, row by row."""
    out = np.empty((len(rows), len(columns), 4), np.float32)
    out[..., 0], out[..., 2] = columns[None, :, 0], columns[None, :, 1]
    out[..., 1], out[..., 3] = rows[:, None, 0], rows[:, None, 1]
    return out.reshape(-1, 4)


def patches(view: Size, patch: int, box: Sequence[float], *, pool: int = 1) -> NDArray[np.float32]:
    """(n, 4) what each patch of a view of (width, height) pixels sees of the ``box`` of a picture
    that the view shows, row by row; ``pool`` × ``pool`` neighbours are one token."""
    left, top, right, bottom = box
    columns = pooled(patch_axis(view[0], patch), pool)
    rows = pooled(patch_axis(view[1], patch), pool)
    return cells(onto(rows, view[1], top, bottom), onto(columns, view[0], left, right))


def grid(rows: int, columns: int, box: Sequence[float]) -> NDArray[np.float32]:
    """(rows · columns, 4) rectangles that divide ``box`` evenly, row by row."""
    left, top, right, bottom = box
    x = np.linspace(left, right, columns + 1)
    y = np.linspace(top, bottom, rows + 1)
    return cells(np.stack([y[:-1], y[1:]], 1), np.stack([x[:-1], x[1:]], 1))


def clip(rects: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """(n, 4) rectangles cut to the picture; those outside it (padding) become NaN."""
    width, height = size
    out = rects.copy()
    out[:, 0::2] = out[:, 0::2].clip(0, width)
    out[:, 1::2] = out[:, 1::2].clip(0, height)
    empty = (out[:, 2] - out[:, 0] <= 1e-6) | (out[:, 3] - out[:, 1] <= 1e-6)
    out[empty] = np.nan
    return out


def claims(kind: Kind, rects: NDArray[np.float32]) -> TokenClaims:
    """Claims of one kind; tokens without a rectangle (NaN) are newlines or padding."""
    kinds = np.where(np.isnan(rects[:, 0]), Kind.NEWLINE, kind).astype(np.int8)
    return TokenClaims(kinds, rects)


def nowhere(n: int) -> TokenClaims:
    """``n`` image tokens without a rectangle."""
    return TokenClaims(np.full(n, Kind.NEWLINE, np.int8), np.full((n, 4), np.nan, np.float32))


def join(parts: Sequence[TokenClaims]) -> TokenClaims:
    """Claims concatenated."""
    return TokenClaims(
        np.concatenate([p.kinds for p in parts]), np.concatenate([p.rects for p in parts])
    )
