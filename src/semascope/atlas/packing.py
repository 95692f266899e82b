"""Samples and activations as bytes: small, and quick to read back.

Knows arrays; the kinds, rectangles and picture numbers of tokens mean nothing here.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class TokenLayout(NamedTuple):
    """Where T tokens are."""

    kinds: NDArray[np.int8]
    """(T,)"""
    image: NDArray[np.int16]
    """(T,)"""
    rects: NDArray[np.float32]
    """(T, 4)"""
    spans: NDArray[np.int16] | None = None
    """(T,) pictures that each looks at; None where one each."""


def pack_layout(layout: TokenLayout) -> bytes:
    """Column after column, compressed: grids of rectangles repeat much."""
    data = layout.kinds.astype("<i1").tobytes() + layout.image.astype("<i2").tobytes()
    data += layout.rects.astype("<f4").tobytes()
    if layout.spans is not None:
        data += layout.spans.astype("<i2").tobytes()
    return zlib.compress(data, 1)


def unpack_layout(blob: bytes | memoryview, length: int) -> TokenLayout:
    """The reverse, for T = ``length``."""
    data = zlib.decompress(blob)
    return TokenLayout(
        np.frombuffer(data, "<i1", length),
        np.frombuffer(data, "<i2", length, length),
        np.frombuffer(data, "<f4", 4 * length, 3 * length).reshape(length, 4),
        np.frombuffer(data, "<i2", length, 19 * length) if len(data) > 19 * length else None,
    )


def pack_patches(patches: NDArray[np.float16]) -> bytes:
    """(objects, T) shares."""
    return zlib.compress(patches.astype("<f2").tobytes(), 1)


def unpack_patches(blob: bytes | memoryview, objects: int) -> NDArray[np.float16]:
    """(objects, T) shares that ``pack_patches`` packed."""
    if not objects:
        return np.zeros((0, 0), np.float16)
    return np.frombuffer(zlib.decompress(blob), "<f2").reshape(objects, -1)


def pack_activations(position: NDArray[np.int32], value: NDArray[np.float32]) -> bytes:
    """Where a feature fired, and how strongly: 8 bytes a token that fired."""
    return position.astype("<i4").tobytes() + value.astype("<f4").tobytes()


def unpack_activations(blob: bytes, length: int) -> NDArray[np.float32]:
    """(T,) activations, 0 where silent."""
    n = len(blob) // 8
    out = np.zeros(length, np.float32)
    out[np.frombuffer(blob, "<i4", n)] = np.frombuffer(blob, "<f4", n, 4 * n)
    return out
