"""Picture files to upright RGB, for every common mode and with limits on size.

EXIF rotation is applied, transparency is laid over white, and 16-bit and 32-bit greys are scaled to
8 bits. Of an animation, the first frame is used.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from semascope.corpus.tabular.base import BadRow

MOST_PIXELS = 64_000_000
"""More pixels than this are refused as a decompression bomb: over 190 MB decoded."""
MOST_BYTES = 256 << 20
"""Larger files are not read."""

BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, TypeError,
    AttributeError, RuntimeError, MemoryError, struct.error, zlib.error, Warning,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files (warnings, where they are made errors)."""
_HEADER = threading.Lock()
"""Filters of warnings are global to the process: one thread at a time changes them."""


def decode(source: bytes | Path, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """The picture as upright RGB at its own size; BadRow if it cannot be decoded."""
    data = source if isinstance(source, bytes) else file_bytes(source)
    if not data:
        raise BadRow("image file is empty")
    image = opened(data)
    if image.width * image.height > most_pixels:
        raise BadRow("decompression bomb")
    try:
        with _HEADER, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF is no reason to lose a picture
            orientation = image.getexif().get(0x0112, 1)
        image.load()
        return _upright(rgb(image), orientation)
    except BROKEN as error:
        raise BadRow("image is cut short or damaged") from error


def file_bytes(path: Path) -> bytes:
    """The file's content; BadRow if it is missing, too large or cannot be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadRow("image file is too large")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadRow("missing file") from error
    except (OSError, ValueError) as error:  # no permission, a folder, a name with a null byte
        raise BadRow("file cannot be read") from error


def opened(data: bytes) -> Image.Image:
    """The picture file, not decoded yet; BadRow if it is none."""
    try:
        with _HEADER, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise BadRow("decompression bomb") from error
    except UnidentifiedImageError as error:
        raise BadRow("not an image") from error
    except BROKEN as error:
        raise BadRow("image is cut short or damaged") from error


def rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB, transparency over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        # Pillow has no way from La to RGBA but over LA.
        straight = image.convert("LA") if image.mode == "La" else image
        layer = straight.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or floats, to 8 bits: by the range of the type, or of 0 to 1."""
    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    if image.mode == "F":
        values *= 255.0 if top <= 1.0 else 1.0
    elif top > 255 or image.mode.startswith("I;16"):
        values /= 257.0
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)  # (H, W)
    return Image.fromarray(grey).convert("RGB")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    """By the EXIF tag 0x0112; a plain image without the file's metadata."""
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    turned = image if turn is None else image.transpose(turn)
    clean = Image.new("RGB", turned.size)
    clean.paste(turned)
    return clean


__all__ = ["BROKEN", "MOST_BYTES", "MOST_PIXELS", "decode", "file_bytes", "opened", "rgb"]
