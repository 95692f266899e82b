"""One record of a dataset (a dict) to a ``Sample``: captions, LLaVA conversations, chat messages.

Understood: ``conversations`` of ``{"from", "value"}``, ``messages`` of ``{"role", "content"}``
where content is a string or a list of parts, and plain ``text``. Pictures: a path, bytes, a dict of
``bytes`` and ``path``, or a list of these. ``<image>`` says in which turn a picture is shown; where
nothing says so, the first turn of the user shows all of them. The place of ``<image>`` within a
turn's text is not kept: a turn shows its pictures before its text. Knows no file format.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from semascope.corpus.base import BadRow
from semascope.corpus.pictures import decode
from semascope.corpus.sample import Role, Sample, Turn

PLACEHOLDER = "<image>"
ROLES: Mapping[str, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "system": "system", "developer": "system",
}  # fmt: skip
IMAGE_COLUMNS = ("image", "images", "img", "picture", "jpg", "png", "file_name")
TEXT_COLUMNS = ("text", "caption", "captions", "txt", "content", "sentence", "description")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a dataset keeps what."""

    root: Path
    """Folder that paths of pictures are relative to."""
    image: str | None = None
    """Column of pictures; None looks for a usual name."""
    text: str | None = None
    """Column of plain text; None looks for a usual name."""
    outside: bool = False
    """Whether paths may leave ``root``."""


def to_sample(record: object, layout: Layout, id_: str, source: str = "") -> Sample:
    """The record's sample; BadRow says why there is none."""
    if not isinstance(record, Mapping):
        raise BadRow("record is not an object")
    images: list[Image.Image] = [
        picture(item, layout) for item in _listed(_column(record, layout.image, IMAGE_COLUMNS))
    ]
    talk = next((record[key] for key in ("conversations", "messages") if record.get(key)), None)
    if talk is not None:
        turns = conversation(talk, images, layout)
        return Sample(id=id_, turns=turns, images=tuple(images), source=source)
    text = _text(record, layout)
    if not images and not text.strip():
        raise BadRow("neither text nor image")
    return Sample(id=id_, text=text, images=tuple(images), source=source)


def _column(record: Mapping[str, Any], name: str | None, usual: Sequence[str]) -> Any:
    if name is not None:
        return record.get(name)
    return next((record[key] for key in usual if record.get(key) is not None), None)


def _listed(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(record: Mapping[str, Any], layout: Layout) -> str:
    value = _column(record, layout.text, TEXT_COLUMNS)
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        value = value[0]  # several captions of one picture: the first
    if value is None:
        return ""
    if isinstance(value, bytes):
        return utf8(value)
    if not isinstance(value, str):
        raise BadRow("text is of the wrong type")
    return well_formed(value.replace(PLACEHOLDER, "").strip("\n"))


def utf8(data: bytes) -> str:
    """Text of bytes; BadRow where they are not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRow("text is not UTF-8") from error


def well_formed(text: str) -> str:
    """The text, if it can be written as UTF-8: JSON may hold half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRow("text is not UTF-8") from error
    return text


def picture(item: object, layout: Layout) -> Image.Image:
    """A picture given as bytes, path, data URL, or a dict of these; BadRow says why not."""
    if isinstance(item, Mapping):
        if item.get("bytes"):
            return picture(item["bytes"], layout)
        return picture(item.get("path") or item.get("url") or item.get("file_name"), layout)
    if isinstance(item, bytes):
        return decode(item)
    if isinstance(item, str) and item.startswith("data:"):
        return decode(_data_url(item))
    if isinstance(item, str) and item.startswith(("http://", "https://", "s3://", "gs://")):
        raise BadRow("image is an address on the network")
    if isinstance(item, str) and item:
        return decode(inside(item, layout))
    raise BadRow("image is of the wrong type")


def _data_url(url: str) -> bytes:
    head, _, body = url.partition(",")
    if not head.endswith(";base64"):
        raise BadRow("image is of the wrong type")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRow("image is cut short or damaged") from error


def inside(name: str, layout: Layout) -> Path:
    """The file of that name under the dataset's folder; BadRow where it leads out of it.

    Links are followed before the check, so a link that leads out is out.
    """
    path = layout.root / name.removeprefix("file://")
    if layout.outside:
        return path
    try:
        real = Path(os.path.realpath(path))
        home = Path(os.path.realpath(layout.root))
    except (OSError, ValueError) as error:
        raise BadRow("file cannot be read") from error
    if not real.is_relative_to(home):
        raise BadRow("image path leads out of the dataset")
    return real


def conversation(talk: object, images: list[Image.Image], layout: Layout) -> tuple[Turn, ...]:
    """Turns of either form; pictures that messages carry themselves are added to ``images``."""
    if not isinstance(talk, list | tuple):
        raise BadRow("conversation is not a list")
    said = [_turn(message, images, layout) for message in talk]
    shown = sum(turn.images for turn in said)
    if shown == 0 and images:
        said = _give(said, len(images))
    elif shown != len(images):
        raise BadRow("number of images and of <image> differ")
    return tuple(said)


def _turn(message: object, images: list[Image.Image], layout: Layout) -> Turn:
    if not isinstance(message, Mapping):
        raise BadRow("turn is not an object")
    speaker = message.get("from") or message.get("role")
    if not isinstance(speaker, str) or speaker.lower() not in ROLES:
        raise BadRow("unknown role")
    content = message.get("value") if message.get("value") is not None else message.get("content")
    role = ROLES[speaker.lower()]
    if isinstance(content, str):
        text = well_formed(content)
        return Turn(role, text.replace(PLACEHOLDER, "").strip("\n"), text.count(PLACEHOLDER))
    if not isinstance(content, list | tuple):
        raise BadRow("turn's text is of the wrong type")
    return _parts(role, content, images, layout)


def _parts(
    role: Role, content: Sequence[object], images: list[Image.Image], layout: Layout
) -> Turn:
    """A message given as parts: text, image_url, or an image of the record's own column."""
    texts, shown = [], 0
    for part in content:
        if not isinstance(part, Mapping):
            raise BadRow("turn's text is of the wrong type")
        if isinstance(part.get("text"), str) and part.get("type") in (None, "text", "input_text"):
            texts.append(well_formed(part["text"]))
        elif part.get("type") in ("image", "image_url", "input_image"):
            own = part.get("image_url") or part.get("image")
            if own is not None:
                images.append(picture(own, layout))
            shown += 1
        else:
            raise BadRow("unknown part of a message")
    return Turn(role, "\n".join(texts), shown)


def _give(said: list[Turn], many: int) -> list[Turn]:
    """All pictures to the first turn of the user."""
    first = next((i for i, turn in enumerate(said) if turn.role == "user"), None)
    if first is None:
        raise BadRow("images, and no turn that could show them")
    turn = said[first]
    return [*said[:first], Turn(turn.role, turn.text, many), *said[first + 1 :]]
