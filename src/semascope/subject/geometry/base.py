"""What a geometry adapter is: which tokens are a picture's, and where each one looks.

An adapter serves one family of processors. It gets the ids of one sample, the sizes of its
pictures and what the processor made of them, and fills three arrays. It knows no model
weights and no hooks. To teach semascope a new family, write one ``Adapter`` with a ``claim``
(``semascope.subject.geometry.llava`` is the shortest example) and ``register`` it.
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
    """What the positions of one picture hold, in the order in which they stand in the text."""

    kinds: NDArray[np.int8]
    """(n,) ``Kind`` of each of the picture's tokens."""
    rects: NDArray[np.float32]
    """(n, 4) left, top, right, bottom in pixels of the picture as given; NaN looks nowhere."""


class VideoClaims(NamedTuple):
    """What the positions of one video hold: step after step in time."""

    steps: Sequence[TokenClaims]
    every: int = 1
    """Frames that each step looks at; the last step may be left with fewer."""


@dataclass(frozen=True, slots=True)
class AdapterInput:
    """All that an adapter may look at, for one sample."""

    processor: Any
    config: Any
    """The model's config."""
    sizes: tuple[Size, ...]
    """(width, height) of each image as given."""
    outputs: Mapping[str, Any]
    """What the processor returned for this sample alone."""
    text: str = ""
    """The sample's tokens as text, tile markers and all."""
    videos: tuple[tuple[int, Size], ...] = ()
    """Frames of each video, and their (width, height) as given."""


class Adapter(Protocol):
    """Where one family's image tokens look."""

    model_types: tuple[str, ...]
    """``config.model_type`` of the models that it serves."""

    def claim(self, seen: AdapterInput) -> Sequence[TokenClaims]:
        """One ``TokenClaims`` a picture, covering exactly its positions with the image token's id.

        Raises ``GeometryUnknown`` for a processor that is set up in a way it does not know.
        """
        ...


@runtime_checkable
class VideoAdapter(Adapter, Protocol):
    """An adapter of a family that reads videos."""

    def claim_videos(self, seen: AdapterInput) -> Sequence[VideoClaims]:
        """One ``VideoClaims`` a video, covering exactly its positions, as ``claim`` does."""
        ...


def option(processor: Any, name: str, default: Any = None) -> Any:
    """A setting of the image processor, as the processor around it will override it."""
    overrides = getattr(processor, "images_kwargs", None)
    if isinstance(overrides, Mapping) and overrides.get(name) is not None:
        return overrides[name]
    found = getattr(processor.image_processor, name, None)
    return default if found is None else found


def tower_patch(seen: AdapterInput) -> int:
    """Edge of a patch of the vision tower, in pixels, by the model's config.

    Raises GeometryUnknown where the config does not tell, where patches are not square, and where
    they overlap or the tower works in several stages: those a family's own adapter must know.
    """
    vision = getattr(seen.config, "vision_config", None)
    patch = getattr(vision, "patch_size", None)
    if isinstance(patch, Sequence) and len(set(patch)) == 1:
        patch = patch[0]
    kind = getattr(vision, "model_type", "none")
    if not isinstance(patch, int):
        raise GeometryUnknown(f"The config of the vision tower ({kind}) tells no patch size.")
    for name in ("patch_stride", "stride"):
        stride = getattr(vision, name, None)
        if stride is not None and stride not in (patch, [patch, patch], (patch, patch)):
            raise GeometryUnknown(
                f"The vision tower ({kind}) has patches of {patch} pixels and {name} {stride}."
            )
    return patch


def folded(seen: AdapterInput, box: Sequence[float], pool: int, tokens: int) -> NDArray[np.float32]:
    """(tokens, 4) a square view of a ``box`` of the picture, ``pool`` × ``pool`` patches a token.

    The view is as large as what the processor made; GeometryUnknown where it is not square or has
    other than so many tokens.
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
    """Edge of a square grid of so many tokens; ``GeometryUnknown`` where it is not square."""
    edge = math.isqrt(tokens)
    if edge * edge != tokens:
        raise GeometryUnknown(f"A view has {tokens} tokens, which is no square grid.")
    return edge


Axis = NDArray[np.float64]
"""(n, 2) where each of n cells begins and ends along one edge of a view."""


def patch_axis(edge: int, patch: int, stride: int | None = None, padding: int = 0) -> Axis:
    """What each patch of an edge of so many pixels covers, as a convolution without dilation has
    it: the last pixels of the edge are in none where patches do not divide it.

    Raises GeometryUnknown where not even one patch fits.
    """
    stride = stride or patch
    count = (edge + 2 * padding - patch) // stride + 1
    if count < 1:
        raise GeometryUnknown(f"A view of {edge} pixels holds no patch of {patch}.")
    start = np.arange(count) * stride - padding
    return np.stack([start, start + patch], 1).astype(np.float64)


def pooled(axis: Axis, size: int) -> Axis:
    """Cells of ``size`` neighbours; neighbours left over at the end are in none."""
    count = len(axis) // size
    return np.stack([axis[: count * size : size, 0], axis[size - 1 : count * size : size, 1]], 1)


def onto(axis: Axis, edge: float, low: float, high: float) -> Axis:
    """Cells of a view ``edge`` pixels long, in pixels of a picture shown from low to high in it."""
    return low + axis * ((high - low) / edge)


def cells(rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """(rows · columns, 4) the rectangle of each row and column, row by row."""
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
    """Cut rectangles to the picture; those wholly outside (padding) become NaN."""
    width, height = size
    out = rects.copy()
    out[:, 0::2] = out[:, 0::2].clip(0, width)
    out[:, 1::2] = out[:, 1::2].clip(0, height)
    empty = (out[:, 2] - out[:, 0] <= 1e-6) | (out[:, 3] - out[:, 1] <= 1e-6)
    out[empty] = np.nan
    return out


def claims(kind: Kind, rects: NDArray[np.float32]) -> TokenClaims:
    """Claims of one kind; tokens that look nowhere (NaN) are newlines or padding."""
    kinds = np.where(np.isnan(rects[:, 0]), Kind.NEWLINE, kind).astype(np.int8)
    return TokenClaims(kinds, rects)


def nowhere(n: int) -> TokenClaims:
    """``n`` image tokens that look at no place."""
    return TokenClaims(np.full(n, Kind.NEWLINE, np.int8), np.full((n, 4), np.nan, np.float32))


def join(parts: Sequence[TokenClaims]) -> TokenClaims:
    """Claims one after another."""
    return TokenClaims(
        np.concatenate([p.kinds for p in parts]), np.concatenate([p.rects for p in parts])
    )
