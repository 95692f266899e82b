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


class Claims(NamedTuple):
    """What the positions of one picture hold, in the order in which they stand in the text."""

    kinds: NDArray[np.int8]
    """(n,) ``Kind`` of each of the picture's tokens."""
    rects: NDArray[np.float32]
    """(n, 4) left, top, right, bottom in pixels of the picture as given; NaN looks nowhere."""


class Steps(NamedTuple):
    """What the positions of one video hold: step after step in time."""

    steps: Sequence[Claims]
    every: int = 1
    """Frames that each step looks at; the last step may be left with fewer."""


@dataclass(frozen=True, slots=True)
class Seen:
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

    def claim(self, seen: Seen) -> Sequence[Claims]:
        """One ``Claims`` a picture, covering exactly its positions with the image token's id.

        Raises ``GeometryUnknown`` for a processor that is set up in a way it does not know.
        """
        ...


@runtime_checkable
class VideoAdapter(Adapter, Protocol):
    """An adapter of a family that reads videos."""

    def claim_videos(self, seen: Seen) -> Sequence[Steps]:
        """One ``Steps`` a video, covering exactly its positions, as ``claim`` does."""
        ...


def option(processor: Any, name: str, default: Any = None) -> Any:
    """A setting of the image processor, as the processor around it will override it."""
    overrides = getattr(processor, "images_kwargs", None)
    if isinstance(overrides, Mapping) and overrides.get(name) is not None:
        return overrides[name]
    found = getattr(processor.image_processor, name, None)
    return default if found is None else found


def square(tokens: int) -> int:
    """Edge of a square grid of so many tokens; ``GeometryUnknown`` where it is not square."""
    edge = math.isqrt(tokens)
    if edge * edge != tokens:
        raise GeometryUnknown(f"A view has {tokens} tokens, which is no square grid.")
    return edge


def grid(rows: int, columns: int, box: Sequence[float]) -> NDArray[np.float32]:
    """(rows · columns, 4) rectangles that divide ``box`` evenly, row by row."""
    left, top, right, bottom = box
    x = np.linspace(left, right, columns + 1)
    y = np.linspace(top, bottom, rows + 1)
    out = np.empty((rows, columns, 4), np.float32)
    out[..., 0], out[..., 2] = x[None, :-1], x[None, 1:]
    out[..., 1], out[..., 3] = y[:-1, None], y[1:, None]
    return out.reshape(-1, 4)


def clip(rects: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Cut rectangles to the picture; those wholly outside (padding) become NaN."""
    width, height = size
    out = rects.copy()
    out[:, 0::2] = out[:, 0::2].clip(0, width)
    out[:, 1::2] = out[:, 1::2].clip(0, height)
    empty = (out[:, 2] - out[:, 0] <= 1e-6) | (out[:, 3] - out[:, 1] <= 1e-6)
    out[empty] = np.nan
    return out


def claims(kind: Kind, rects: NDArray[np.float32]) -> Claims:
    """Claims of one kind; tokens that look nowhere (NaN) are newlines or padding."""
    kinds = np.where(np.isnan(rects[:, 0]), Kind.NEWLINE, kind).astype(np.int8)
    return Claims(kinds, rects)


def nowhere(n: int) -> Claims:
    """``n`` image tokens that look at no place."""
    return Claims(np.full(n, Kind.NEWLINE, np.int8), np.full((n, 4), np.nan, np.float32))


def join(parts: Sequence[Claims]) -> Claims:
    """Claims one after another."""
    return Claims(
        np.concatenate([p.kinds for p in parts]), np.concatenate([p.rects for p in parts])
    )
