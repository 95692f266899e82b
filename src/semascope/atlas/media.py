"""Pictures by content: the same pixels are stored once, whoever puts them.

Knows pictures and a folder; knows no sample, no model, no database.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from PIL import Image

from semascope.corpus.media.pictures import rgb
from semascope.errors import AtlasError
from semascope.files import whole

_HASH = re.compile(r"[0-9a-f]{64}")


class Media:
    """A folder of PNG files named by the SHA-256 of their pixels."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def put(self, image: Image.Image) -> str:
        """Store a picture, once; returns its hash. Pixels are kept exactly, as RGB or RGBA."""
        if image.mode.startswith("I") or image.mode == "F":
            image = rgb(image)  # 16 bits scaled, not clipped
        elif image.mode not in ("RGB", "RGBA", "L"):
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        digest = hashlib.sha256(f"{image.mode}:{image.width}x{image.height}:".encode())
        digest.update(image.tobytes())
        name = digest.hexdigest()
        path = self._place(name)
        if not path.exists():
            with whole(path, sync=False) as temporary:
                image.save(temporary, "PNG", compress_level=1)
        return name

    def path(self, name: str) -> Path:
        """The file of a hash; an AtlasError where the hash is no hash, or is not stored."""
        path = self._place(name)
        if not path.is_file():
            raise AtlasError(f"No picture {name} in {self.folder}.")
        return path

    def open(self, name: str) -> Image.Image:
        """The picture of a hash, loaded."""
        with Image.open(self.path(name)) as image:
            image.load()
            return image.copy()

    def __contains__(self, name: str) -> bool:
        return bool(_HASH.fullmatch(name)) and self._place(name).is_file()

    def _place(self, name: str) -> Path:
        if not _HASH.fullmatch(name):
            raise AtlasError(f"{name!r} is not the hash of a picture: 64 characters of 0-9 a-f.")
        return self.folder / name[:2] / f"{name}.png"
