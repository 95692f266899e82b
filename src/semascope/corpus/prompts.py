"""Pictures as people name them in a question: a file, a drawn scene, a blank page."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from semascope.errors import CorpusError

BLANK = 128
"""Pixels of a side of the blank picture."""


def pictures_of(picture: str | Path | Image.Image | None) -> tuple[Image.Image, ...]:
    """The pictures of a question, one or none.

    Args:
        picture: a file, ``scene:7`` for a drawn scene, ``blank``, ``none`` or None, or a picture.

    Raises:
        CorpusError: there is no such file or scene, or it is no picture.
    """
    from semascope.corpus.media.pictures import rgb

    if picture is None or picture == "none" or picture == "":
        return ()
    if isinstance(picture, Image.Image):
        return (rgb(picture),)
    if picture == "blank":
        return (Image.new("RGB", (BLANK, BLANK), (255, 255, 255)),)
    if str(picture).startswith("scene:"):
        return _scene(str(picture).removeprefix("scene:"))
    return (_read(Path(picture).expanduser()),)


def _scene(number: str) -> tuple[Image.Image, ...]:
    from semascope.corpus.scenes import SceneCorpus

    if not number.isascii() or not number.isdigit():
        raise CorpusError(f"'scene:{number}' names no scene: write scene:7, for example.")
    return SceneCorpus(int(number) + 1, split="heldout").sample(int(number)).images


def _read(path: Path) -> Image.Image:
    from semascope.corpus.media.pictures import decode
    from semascope.corpus.tabular.base import BadRow, exists

    if not exists(path):
        raise CorpusError(f"There is no picture {path}. Or ask of: scene:7, blank.")
    try:
        return decode(path)
    except BadRow as error:
        raise CorpusError(f"{path} cannot be read as a picture: {error}.") from error
