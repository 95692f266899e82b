"""A folder of pictures: every picture below it, each with the text of a .txt file beside it.

Knows names of files; how pictures are decoded is ``pictures.py``'s.
"""

from __future__ import annotations

from pathlib import Path

from semascope.corpus.base import BadRow, Rows, files_digest
from semascope.corpus.pictures import decode
from semascope.corpus.records import Layout, inside, utf8
from semascope.corpus.sample import Sample

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .webp .gif .bmp .tif .tiff .ppm .pgm .pbm .jp2 .avif .ico .tga".split()
)


class ImageFolder(Rows):
    """Pictures of a folder and of those below it, in the order of their paths."""

    def __init__(self, root: Path, outside: bool = False) -> None:
        super().__init__(root.name or str(root))
        self.layout = Layout(root=root, outside=outside)
        self.paths = sorted(
            path
            for path in root.rglob("*")
            if path.suffix.lower() in SUFFIXES and not path.is_dir()
        )

    def __len__(self) -> int:
        return len(self.paths)

    def fingerprint(self) -> str:
        """Of the pictures' files."""
        return files_digest(self.layout.root, self.paths)

    def label(self, row: int) -> str:
        """The path below the folder."""
        return str(self.paths[row].relative_to(self.layout.root))

    def sample(self, row: int) -> Sample:
        """The picture, and its text where there is one."""
        path = self.paths[row]
        image = decode(inside(self.label(row), self.layout))
        return Sample(
            id=self.label(row), text=_beside(path), images=(image,), source=path.parent.name
        )


def _beside(path: Path) -> str:
    try:
        return utf8(path.with_suffix(".txt").read_bytes()).strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadRow("file cannot be read") from error
