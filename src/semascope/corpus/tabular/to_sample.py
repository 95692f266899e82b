"""One record of a dataset (a dict) to a ``Sample``: captions, questions, conversations, messages.

Columns are found in ``columns``. A picture is a path, bytes, base64, a data URL, a dict of
``bytes`` and ``path``, or a list of these. ``<image>`` marks the turn that shows a picture;
without it, the first turn of the user shows all. The position of ``<image>`` within a turn is not
kept: a turn shows its pictures before its text.

``video`` holds a video as a file or as a list of frames; ``videos`` a list of these. ``<video>``
marks its turn; in a record with videos only and no ``<video>``, ``<image>`` does, as in LLaVA's
own video datasets.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from semascope.corpus.media.pictures import decode
from semascope.corpus.media.text_encoding import well_formed
from semascope.corpus.media.videos import MOST_FRAMES, decode_video, evenly, of_frames
from semascope.corpus.sample import Role, Sample, SkipReport, Turn, Video
from semascope.corpus.tabular.base import BadRow
from semascope.corpus.tabular.columns import ChosenColumns, fields, listed, unused

PLACEHOLDER = "<image>"
MOVING = "<video>"
ROLES: Mapping[str, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "system": "system", "developer": "system",
    "chatgpt": "assistant", "ai": "assistant", "agent": "assistant",
}  # fmt: skip
VIDEO_COLUMN, VIDEOS_COLUMN = "video", "videos"
MARKS = re.compile(r"<image(?:[ _]?\d+)?>|<\|image(?:_\d+)?\|>")
"""What stands for a picture in the words of a record that has pictures."""
BASE64 = re.compile(r"[A-Za-z0-9+/\s]{100,}={0,2}\s*")
MOST_WALKED = 2_000_000
"""Files below a folder up to which it is searched for pictures by name."""
NETWORK = ("http://", "https://", "s3://", "gs://", "ftp://")


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """Where a dataset keeps what."""

    root: Path
    """Folder that paths of pictures are relative to."""
    image: str | None = None
    """Column of pictures; None looks for a usual name."""
    text: str | None = None
    """Column of plain text; None looks for a usual name."""
    question: str | None = None
    """Column of a question, and of its answer; None looks for usual names."""
    answer: str | None = None
    conversation: str | None = None
    """Column of messages; None looks for a usual name."""
    outside: bool = False
    """Whether paths may leave ``root``."""
    video: str | None = None
    """Column of one video; None takes ``video`` and ``videos``, "" none at all."""
    frames: int = MOST_FRAMES
    """Most frames that are read of a video."""
    fixed: bool = False
    """Whether paths start at ``root`` alone, as where the user names the folder of pictures."""
    home: Path | None = None
    """Folder of the table itself, where it lies below ``root``: its paths may start there."""
    pictures: PictureFolder | None = None
    """Where else below ``root`` a picture may lie, looked up by name."""

    @property
    def asked(self) -> ChosenColumns:
        """The columns that were named."""
        return ChosenColumns(self.image, self.text, self.question, self.answer, self.conversation)


class PictureFolder:
    """Files below a folder by name, for tables that name pictures from somewhere else.

    COCO names a file without its folder, LLaVA with a folder that may be called otherwise here.
    The folder is walked when a file is first missed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_name: dict[str, list[str]] | None = None

    def find(self, name: str) -> Path | None:
        """The one file of that name, from ``root``; None where there is none.

        Of several, the one whose folders agree; BadRow where that leaves more than one.
        """
        tail = name.replace("\\", "/").rsplit("/", 1)[-1]
        if not tail or tail in (".", ".."):
            return None
        found = self._names().get(tail, [])
        if len(found) > 1:
            same = [path for path in found if f"/{path}".endswith(f"/{name.lstrip('./')}")]
            found = same or found
        if len(found) > 1:
            raise BadRow("several files have the name that the row gives")
        return Path(found[0]) if found else None

    def _names(self) -> dict[str, list[str]]:
        if self._by_name is None:
            self._by_name = {}
            walked = 0
            for folder, _, files in os.walk(self.root):
                below = os.path.relpath(folder, self.root).replace(os.sep, "/")
                walked += len(files)
                if walked > MOST_WALKED:
                    break
                for file in files:
                    path = file if below == "." else f"{below}/{file}"
                    self._by_name.setdefault(file, []).append(path)
        return self._by_name


@dataclass(slots=True)
class RecordContent:
    """What a record holds for the eye; messages may add to it."""

    layout: DatasetLayout
    images: list[Image.Image] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    moving: str = MOVING
    """What stands for a video in a turn's text."""
    still: str = PLACEHOLDER
    """What stands for a picture."""


def to_sample(
    record: object,
    layout: DatasetLayout,
    id_: str,
    source: str = "",
    report: SkipReport | None = None,
) -> Sample:
    """The record's sample; BadRow says why there is none.

    ``report``, where given, is told which columns were used as what, and which were left unused.
    """
    if not isinstance(record, Mapping):
        raise BadRow("record is not an object")
    row = fields(record, layout.asked)
    found = RecordContent(
        layout,
        [picture(item, layout) for item in row.images],
        [video(item, layout) for item in video_items(record, layout)],
    )
    turns: tuple[Turn, ...] = ()
    text = ""
    if row.talk is not None:
        turns = conversation(row.talk, found)
    else:
        text = well_formed(_unmarked(row.text, found))
    images, videos = tuple(found.images), tuple(found.videos)
    if not (images or videos or text.strip() or any(t.text.strip() or t.images for t in turns)):
        raise BadRow("neither text nor image")
    if report is not None:
        moving = [name for name in (layout.video, VIDEO_COLUMN, VIDEOS_COLUMN) if name in record]
        used = row.used | dict.fromkeys(map(str, moving), "videos")
        report.columns(used, unused(record, used))
        report.left.update(row.left)
    return Sample(id=id_, text=text, turns=turns, images=images, source=source, videos=videos)


def _unmarked(text: str, found: RecordContent) -> str:
    """Plain words without what stands for pictures and videos."""
    marks = MARKS if found.images else re.compile(re.escape(PLACEHOLDER))
    text = marks.sub("", text).strip("\n")
    return text.replace(MOVING, "").strip("\n") if found.videos else text


def picture(item: object, layout: DatasetLayout) -> Image.Image:
    """A picture given as bytes, path, base64, data URL, or a dict of these; BadRow says why not."""
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, Mapping):
        names = ("bytes", "data", "base64", "path", "url", "file_name", "image", "source")
        inner = next((item[name] for name in names if item.get(name)), None)
        return picture(inner, layout)
    if isinstance(item, bytes | bytearray | memoryview):
        return decode(bytes(item))
    if isinstance(item, str) and item.startswith("data:"):
        return decode(_data_url(item))
    if isinstance(item, str) and item.startswith(NETWORK):
        raise BadRow("image is an address on the network")
    if isinstance(item, str) and BASE64.fullmatch(item):
        return decode(_base64(item))
    if isinstance(item, str) and item:
        return decode(located(item, layout))
    raise BadRow("image is of the wrong type")


def located(name: str, layout: DatasetLayout) -> Path:
    """The picture's file: beside its table, from the root, else the one of that name below it."""
    for base in (layout.home, layout.root):
        if base is not None and (path := _under(base, name, layout)) is not None:
            return path
    path = inside(name, layout)
    near = None if layout.pictures is None else layout.pictures.find(name)
    return path if near is None else inside(str(near), layout)


def _under(base: Path, name: str, layout: DatasetLayout) -> Path | None:
    """The existing file of that name from ``base``, where it lies within the dataset."""
    try:
        path = Path(os.path.realpath(base / name.removeprefix("file://")))
        home = Path(os.path.realpath(layout.root))
        found = path.is_file() and (layout.outside or path.is_relative_to(home))
    except (OSError, ValueError):
        return None
    return path if found else None


def video_items(record: Mapping[str, Any], layout: DatasetLayout) -> list[object]:
    """What the record gives as videos, one item each."""
    if layout.video is not None:
        one, several = record.get(layout.video), None
    else:
        one, several = record.get(VIDEO_COLUMN), record.get(VIDEOS_COLUMN)
    return [*([] if one in (None, "", []) else [one]), *listed(several)]


def video(item: object, layout: DatasetLayout) -> Video:
    """A video given as bytes, path, a dict of these, or a list of frames; BadRow says why not."""
    if isinstance(item, Mapping):
        return video(item.get("bytes") or item.get("path") or item.get("url"), layout)
    if isinstance(item, list | tuple):
        chosen = [item[n] for n in evenly(len(item), layout.frames)]
        return of_frames([picture(frame, layout) for frame in chosen])
    if isinstance(item, bytes):
        return decode_video(item, layout.frames)
    if isinstance(item, str) and item.startswith(NETWORK):
        raise BadRow("video is an address on the network")
    if isinstance(item, str) and item:
        return decode_video(located(item, layout), layout.frames)
    raise BadRow("video is of the wrong type")


def _data_url(url: str) -> bytes:
    head, _, body = url.partition(",")
    if not head.endswith(";base64"):
        raise BadRow("image is of the wrong type")
    return _base64(body)


def _base64(body: str) -> bytes:
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRow("image is cut short or damaged") from error


def inside(name: str, layout: DatasetLayout) -> Path:
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


def conversation(talk: object, found: RecordContent) -> tuple[Turn, ...]:
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


def _turn(message: object, found: RecordContent) -> Turn:
    if not isinstance(message, Mapping):
        raise BadRow("turn is not an object")
    speaker = message.get("from") or message.get("role")
    if not isinstance(speaker, str) or speaker.lower() not in ROLES:
        raise BadRow("unknown role")
    content = message.get("value") if message.get("value") is not None else message.get("content")
    role = ROLES[speaker.lower()]
    if isinstance(content, str):
        text = well_formed(content)
        marks = _marks(found)
        images = len(marks.findall(text))
        videos = text.count(found.moving) if found.videos else 0
        text = text.replace(found.moving, "") if found.videos else text
        return Turn(role, marks.sub("", text).strip("\n"), images, videos)
    if not isinstance(content, list | tuple):
        raise BadRow("turn's text is of the wrong type")
    return _parts(role, content, found)


def _marks(found: RecordContent) -> re.Pattern[str]:
    """What stands for a picture: of any usual spelling only where the record has pictures."""
    plain = found.still == PLACEHOLDER and bool(found.images)
    return MARKS if plain else re.compile(re.escape(found.still))


def _parts(role: Role, content: Sequence[object], found: RecordContent) -> Turn:
    """A message given as parts: text, image_url, or an image or video of the record's columns."""
    texts, shown, moving = [], 0, 0
    for part in content:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        if not isinstance(part, Mapping):
            raise BadRow("turn's text is of the wrong type")
        kind = part.get("type") or next((k for k in ("image", "video") if part.get(k)), None)
        if isinstance(part.get("text"), str) and kind in (None, "text", "input_text"):
            texts.append(well_formed(part["text"]))
        elif kind in ("image", "image_url", "input_image"):
            names = ("image_url", "image", "source", "base64", "path", "url")
            own = next((part[name] for name in names if part.get(name)), None)
            if own is not None:
                found.images.append(picture(own, found.layout))
            shown += 1
        elif kind in ("video", "video_url", "input_video"):
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
