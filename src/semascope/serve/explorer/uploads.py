"""Pictures that people send: decoded safely, turned upright and kept by hash.

The bytes that arrive are never stored or served. The decoded pixels are written as a new PNG, so
that nothing else survives.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import tempfile
import warnings
import weakref
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from semascope.errors import BadPicture, NotThere
from semascope.serve.schema.responses import Upload

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_BYTES = 12 * 2**20
MAX_PIXELS = 40_000_000
MAX_SIDE = 1_536
"""Larger pictures are scaled down: no model here reads more pixels."""

_HASH = re.compile(r"[0-9a-f]{16,64}")


def decode(data: bytes) -> Image.Image:
    """An upright RGB picture from untrusted bytes. Raises BadPicture, which says why not."""
    if len(data) > MAX_BYTES:
        raise BadPicture(f"The picture has more than {MAX_BYTES // 2**20} MB: send a smaller one.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise BadPicture(f"The picture is {width} × {height} pixels: send a smaller one.")
            picture.load()
            upright = ImageOps.exif_transpose(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture("The picture has far too many pixels: send a smaller one.") from error
    except (UnidentifiedImageError, Warning) as error:
        raise BadPicture(
            "This is not a picture that can be read: send PNG, JPEG, WebP, GIF or BMP."
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError) as error:
        raise BadPicture("The picture is damaged or cut short: send it again.") from error
    return _flatten(upright)


def _flatten(picture: Image.Image) -> Image.Image:
    """The picture as RGB on white, its longer side at most ``MAX_SIDE``."""
    rgba = picture.convert("RGBA")
    sheet = Image.new("RGBA", rgba.size, "white")
    flat = Image.alpha_composite(sheet, rgba).convert("RGB")
    flat.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return flat


class UploadedPictures:
    """A folder of uploaded pictures by hash; the oldest are deleted beyond ``most``."""

    def __init__(self, folder: Path, most: int = 500, *, keep: bool = True) -> None:
        """Without ``keep``, pictures go into a temporary folder that this object deletes."""
        self.readable = folder
        self.folder = folder if keep else Path(tempfile.mkdtemp(prefix="semascope-"))
        if not keep:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.most = most

    def put(self, data: bytes) -> Upload:
        """Decode and store a picture. Raises BadPicture."""
        picture = decode(data)
        digest = hashlib.sha256(
            f"{picture.width}x{picture.height}:".encode() + picture.tobytes()
        ).hexdigest()
        target = self.folder / f"{digest}.png"
        if not target.exists():
            self._write(picture, target)
            self._trim(keep=target)
        return Upload(media=digest, width=picture.width, height=picture.height)

    def path(self, digest: str) -> Path:
        """The file of a hash. Raises NotThere."""
        name = f"{digest}.png"
        for folder in (self.folder, self.readable) if _HASH.fullmatch(digest) else ():
            if (folder / name).is_file():
                return folder / name
        raise NotThere("There is no picture with that hash: upload it again.")

    def _write(self, picture: Image.Image, target: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                picture.save(file, "PNG")
            Path(name).replace(target)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def _trim(self, keep: Path) -> None:
        files = sorted(self.folder.glob("*.png"), key=lambda p: p.stat().st_mtime)
        for old in files[: max(0, len(files) - self.most)]:
            if old != keep:
                old.unlink(missing_ok=True)
