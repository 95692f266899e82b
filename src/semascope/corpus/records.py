"""One record of a dataset (a dict) to a ``Sample``: captions, LLaVA conversations, chat messages.

Understood: ``conversations`` of ``{"from", "value"}``, ``messages`` of ``{"role", "content"}``
where content is a string or a list of parts, and plain ``text``. Pictures: a path, bytes, a dict of
``bytes`` and ``path``, or a list of these. ``<image>`` says in which turn a picture is shown; where
nothing says so, the first turn of the user shows all of them. The place of ``<image>`` within a
turn's text is not kept: a turn shows its pictures before its text.

Videos: ``video`` holds one, as a file or as a list of its frames; ``videos`` a list of such.
``<video>`` says in which turn one is shown, and where a record has videos alone and no ``<video>``,
``<image>`` says it, as LLaVA's own video sets have it. Knows no file format.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from semascope.corpus.base import BadRow
from semascope.corpus.pictures import decode
from semascope.corpus.sample import Role, Sample, Turn, Video
from semascope.corpus.videos import MOST_FRAMES, decode_video, evenly, of_frames

PLACEHOLDER = "<image>"
MOVING = "<video>"
ROLES: Mapping[str, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "system": "system", "developer": "system",
}  # fmt: skip
IMAGE_COLUMNS = ("image", "images", "img", "picture", "jpg", "png", "file_name")
VIDEO_COLUMN, VIDEOS_COLUMN = "video", "videos"
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
    video: str | None = None
    """Column of one video; None takes ``video`` and ``videos``, "" none at all."""
    frames: int = MOST_FRAMES
    """Most frames that are read of a video."""


@dataclass(slots=True)
class Found:
    """What a record holds for the eye; messages may add to it."""

    layout: Layout
    images: list[Image.Image] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    moving: str = MOVING
    """What stands for a video in a turn's text."""
    still: str = PLACEHOLDER
    """What stands for a picture."""


def to_sample(record: object, layout: Layout, id_: str, source: str = "") -> Sample:
    """The record's sample; BadRow says why there is none."""
    if not isinstance(record, Mapping):
        raise BadRow("record is not an object")
    found = Found(
        layout,
        [picture(item, layout) for item in _listed(_column(record, layout.image, IMAGE_COLUMNS))],
        [video(item, layout) for item in video_items(record, layout)],
    )
    talk = next((record[key] for key in ("conversations", "messages") if record.get(key)), None)
    if talk is not None:
        turns, text = conversation(talk, found), ""
    else:
        turns, text = (), _text(record, layout)
        if found.videos:
            text = text.replace(MOVING, "").strip("\n")
    images, videos = tuple(found.images), tuple(found.videos)
    if not (turns or images or videos or text.strip()):
        raise BadRow("neither text nor image")
    return Sample(id=id_, text=text, turns=turns, images=images, source=source, videos=videos)


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


def video_items(record: Mapping[str, Any], layout: Layout) -> list[object]:
    """What the record gives as videos, one item each."""
    if layout.video is not None:
        one, several = record.get(layout.video), None
    else:
        one, several = record.get(VIDEO_COLUMN), record.get(VIDEOS_COLUMN)
    return [*([] if one in (None, "", []) else [one]), *_listed(several)]


def video(item: object, layout: Layout) -> Video:
    """A video given as bytes, path, a dict of these, or a list of frames; BadRow says why not."""
    if isinstance(item, Mapping):
        return video(item.get("bytes") or item.get("path") or item.get("url"), layout)
    if isinstance(item, list | tuple):
        chosen = [item[n] for n in evenly(len(item), layout.frames)]
        return of_frames([picture(frame, layout) for frame in chosen])
    if isinstance(item, bytes):
        return decode_video(item, layout.frames)
    if isinstance(item, str) and item.startswith(("http://", "https://", "s3://", "gs://")):
        raise BadRow("video is an address on the network")
    if isinstance(item, str) and item:
        return decode_video(inside(item, layout), layout.frames)
    raise BadRow("video is of the wrong type")


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


def conversation(talk: object, found: Found) -> tuple[Turn, ...]:
    """Turns of either form; what messages carry for the eye themselves is added to ``found``."""
    if not isinstance(talk, list | tuple):
        raise BadRow("conversation is not a list")
    if found.videos and not found.images and MOVING not in str(talk):
        found.moving, found.still = PLACEHOLDER, MOVING
    said = [_turn(message, found) for message in talk]
    for kind, many in (("images", len(found.images)), ("videos", len(found.videos))):
        shown = sum(getattr(turn, kind) for turn in said)
        if shown == 0 and many:
            said = _give(said, kind, many)
        elif shown != many:
            raise BadRow(f"number of {kind} and of <{kind[:-1]}> differ")
    return tuple(said)


def _turn(message: object, found: Found) -> Turn:
    if not isinstance(message, Mapping):
        raise BadRow("turn is not an object")
    speaker = message.get("from") or message.get("role")
    if not isinstance(speaker, str) or speaker.lower() not in ROLES:
        raise BadRow("unknown role")
    content = message.get("value") if message.get("value") is not None else message.get("content")
    role = ROLES[speaker.lower()]
    if isinstance(content, str):
        text = well_formed(content)
        images = text.count(found.still)
        videos = text.count(found.moving) if found.videos else 0
        text = text.replace(found.moving, "") if found.videos else text
        return Turn(role, text.replace(found.still, "").strip("\n"), images, videos)
    if not isinstance(content, list | tuple):
        raise BadRow("turn's text is of the wrong type")
    return _parts(role, content, found)


def _parts(role: Role, content: Sequence[object], found: Found) -> Turn:
    """A message given as parts: text, image_url, or an image or video of the record's columns."""
    texts, shown, moving = [], 0, 0
    for part in content:
        if not isinstance(part, Mapping):
            raise BadRow("turn's text is of the wrong type")
        if isinstance(part.get("text"), str) and part.get("type") in (None, "text", "input_text"):
            texts.append(well_formed(part["text"]))
        elif part.get("type") in ("image", "image_url", "input_image"):
            own = part.get("image_url") or part.get("image")
            if own is not None:
                found.images.append(picture(own, found.layout))
            shown += 1
        elif part.get("type") in ("video", "video_url", "input_video"):
            own = part.get("video_url") or part.get("video")
            if own is not None:
                found.videos.append(video(own, found.layout))
            moving += 1
        else:
            raise BadRow("unknown part of a message")
    return Turn(role, "\n".join(texts), shown, moving)


def _give(said: list[Turn], kind: str, many: int) -> list[Turn]:
    """All images, or all videos, to the first turn of the user."""
    first = next((i for i, turn in enumerate(said) if turn.role == "user"), None)
    if first is None:
        raise BadRow(f"{kind}, and no turn that could show them")
    return [*said[:first], _showing(said[first], kind, many), *said[first + 1 :]]


def _showing(turn: Turn, kind: str, many: int) -> Turn:
    if kind == "images":
        return replace(turn, images=many)
    return replace(turn, videos=many)
