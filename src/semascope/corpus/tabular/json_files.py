"""A JSON file to records: lists, COCO's captions, columns, objects by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .webp .gif .bmp .tif .tiff .ppm .pgm .pbm .jp2 .avif .ico .tga".split()
)
"""Endings of picture files."""


def is_picture(name: str) -> bool:
    """Whether a name has the ending of a picture file."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def records_of(value: object) -> list[object]:
    """The records in a file's JSON value, in any known layout."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return [value]
    return _coco(value) or _by_name(value) or _by_column(value) or _longest(value)


def is_single(value: object) -> bool:
    """Whether the value is one plain object, such as a README's or a configuration's."""
    return isinstance(value, dict) and records_of(value) == [value]


def _coco(value: Mapping[str, object]) -> list[object]:
    """COCO's captions: a record for each picture, with its captions."""
    images, notes = value.get("images"), value.get("annotations")
    if not (isinstance(images, list) and isinstance(notes, list)):
        return []
    captions: dict[object, list[str]] = {}
    for note in notes:
        if isinstance(note, dict) and isinstance(note.get("caption"), str):
            name = note.get("image_id")
            captions.setdefault(name if isinstance(name, str | int) else None, []).append(
                note["caption"]
            )
    if not captions:
        return []
    found: list[object] = []
    for image in images:
        if not isinstance(image, dict):
            found.append(image)
            continue
        name = image.get("id")
        said = captions.get(name if isinstance(name, str | int) else None, [])
        found.append({"id": name, "file_name": image.get("file_name"), "captions": said})
    return found


def is_annotated(value: object) -> bool:
    """Whether this is COCO's layout with boxes or keypoints instead of captions."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("images"), list)
        and isinstance(value.get("annotations"), list)
        and not _coco(value)
    )


def _by_name(value: Mapping[str, object]) -> list[object]:
    """``{"a.jpg": "a caption"}``, the caption a string, a list, or an object with more."""
    if not value or not all(isinstance(name, str) and is_picture(name) for name in value):
        return []
    return [
        {"image": name, **said} if isinstance(said, dict) else {"image": name, "captions": said}
        for name, said in value.items()
    ]


def _by_column(value: Mapping[str, object]) -> list[object]:
    """Columns of one length, or objects by row number, as pandas writes them."""
    columns = list(value.values())
    if not columns:
        return []
    if all(isinstance(column, dict) for column in columns):
        keys = [set(c) for c in columns if isinstance(c, dict)]
        numbered = all(str(name).isdecimal() for name in keys[0]) and len(set(map(len, keys))) == 1
        if numbered and keys[0] and all(each == keys[0] for each in keys):
            rows = sorted(keys[0], key=int)
            return [{name: value[name][row] for name in value} for row in rows]  # type: ignore[index]
        same = all(str(name).isdecimal() for name in value) or len(columns) > 1
        return columns if same else []
    lists = [column for column in columns if isinstance(column, list)]
    even = len(lists) == len(columns) and len({len(column) for column in lists}) == 1
    if even and not any(isinstance(item, dict) for column in lists for item in column):
        return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
    return []


def _longest(value: dict[str, object]) -> list[object]:
    """The longest list of objects in the object; the object itself if there is none."""
    lists = [
        v for v in value.values() if isinstance(v, list) and any(isinstance(i, dict) for i in v)
    ]
    talk = [v for k, v in value.items() if k in ("messages", "conversations") and v in lists]
    return [value] if talk or not lists else max(lists, key=len)
