"""Datasets of records in files of text: JSON lines, JSON, CSV, plain text.

JSON lines are read from disk one by one, by an index of offsets that is built once; the
others are held in memory. A damaged file among several and a damaged row are counted and skipped.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.media.text_encoding import is_packed, recoded, unpacked, words_of
from semascope.corpus.media.videos import MOST_FRAMES
from semascope.corpus.sample import Sample
from semascope.corpus.tabular.base import BadRow, RowCorpus, digest, exists, files_digest
from semascope.corpus.tabular.columns import IMAGE_COLUMNS, AliasedRecord, fields, listed, parsed
from semascope.corpus.tabular.delimited import UnreadableRecord, names_pictures, rows_of
from semascope.corpus.tabular.json_files import records_of
from semascope.corpus.tabular.to_sample import DatasetLayout, PictureFolder, to_sample, video_items
from semascope.errors import CorpusError

CHUNK = 8 << 20
"""Bytes read at a time while lines are counted."""
PROBED = 2000
"""Rows, evenly spread, whose pictures' files are part of the fingerprint."""
GLANCE = 32
"""Rows of a file in which columns are sought."""
DELIMITED = (".csv", ".tsv", ".token")


class Records(RowCorpus):
    """A corpus of records that lie in files."""

    def __init__(self, name: str, files: Sequence[Path], layout: DatasetLayout) -> None:
        super().__init__(name)
        if layout.pictures is None:
            layout = replace(layout, pictures=PictureFolder(layout.root))
        self.files, self.layout = list(files), layout

    @abstractmethod
    def record(self, row: int) -> object:
        """The row's record as Python objects."""

    def file_of(self, row: int) -> Path | None:
        """The file that holds a row."""
        return self.files[0] if len(self.files) == 1 else None

    def sample(self, row: int) -> Sample:
        """The record's sample."""
        record = self.record(row)
        given = record.get("id") if isinstance(record, Mapping) else None
        name = f"{given}#{row}" if isinstance(given, str | int) else f"row-{row}"
        file = self.file_of(row)
        moved = file is not None and not self.layout.fixed
        layout = replace(self.layout, home=file.parent) if moved and file else self.layout
        report = self.skipped if self.fresh(row) else None
        try:
            return to_sample(record, layout, name, self.name, report)
        except RecursionError as error:
            raise BadRow("record is nested too deeply") from error

    def glance(self) -> list[Mapping[str, Any]]:
        """Records of the first rows, as far as they can be read."""
        found: list[Mapping[str, Any]] = []
        for row in range(min(GLANCE, len(self))):
            try:
                record = self.record(row)
            except BadRow:
                continue
            if isinstance(record, Mapping):
                found.append(record)
        return found

    def useless(self) -> str:
        """Why no column can be read, as a sentence; '' if one can.

        Seen on the first rows; where none of those is a record, nothing is said.
        """
        records = self.glance()
        columns = list(dict.fromkeys(str(name) for record in records for name in record))
        asked = self.layout.asked
        named = (asked.image, asked.text, asked.question, asked.answer, asked.conversation)
        absent = [name for name in named if name is not None and name not in columns]
        if absent and columns:
            return (
                f"There is no column {absent[0]!r} in {self.name}; there are {', '.join(columns)}."
            )
        if not columns or any(self._holds(record) for record in records):
            return ""
        return (
            f"No column of {self.name} is known to hold words or pictures (its columns: "
            f"{', '.join(columns[:24])}). Say which does, after the path: ?text=NAME&image=NAME, "
            "or with --columns text=NAME image=NAME; question, answer and conversation are named "
            "likewise."
        )

    def _holds(self, record: Mapping[str, Any]) -> bool:
        try:
            found = fields(record, self.layout.asked)
        except BadRow:
            return True  # a known column, with a value that is counted when it is read
        return bool(found.used) or bool(video_items(record, self.layout))

    def fingerprint(self) -> str:
        """Of the table files, the layout, and the files of the pictures of up to 2,000 rows.

        A picture file that changes and that none of those rows names goes unseen.
        """
        layout = [str(self.layout.image), str(self.layout.text), str(self.layout.outside)]
        more = (self.layout.question, self.layout.answer, self.layout.conversation)
        layout += [str(name) for name in more] if any(more) else []
        if self.layout.video is not None or self.layout.frames != MOST_FRAMES:
            layout += [str(self.layout.video), str(self.layout.frames)]
        pictures = files_digest(self.layout.root, self._pictures())
        return digest([files_digest(self.layout.root, self.files), pictures, *layout])

    def _pictures(self) -> list[Path]:
        found: dict[Path, None] = {}
        for row in (
            np.unique(np.linspace(0, len(self) - 1, PROBED).astype(int)) if len(self) else ()
        ):
            found.update(dict.fromkeys(self.paths(int(row))))
        return list(found)

    def paths(self, row: int) -> list[Path]:
        """Paths of the picture and video files that a row names."""
        return [self._path(self.file_of(row), name) for name in self.names(row)]

    def _path(self, file: Path | None, name: str) -> Path:
        path = self.layout.root / name
        if file is not None and not self.layout.fixed and exists(file.parent / name):
            return file.parent / name
        if exists(path) or self.layout.pictures is None:
            return path
        try:
            return self.layout.root / (self.layout.pictures.find(name) or name)
        except BadRow:
            return path

    def names(self, row: int) -> list[str]:
        """Paths of the files that a row names."""
        try:
            record = self.record(row)
        except BadRow:
            return []
        return _paths(record, self.layout)


def _paths(record: object, layout: DatasetLayout) -> list[str]:
    if not isinstance(record, Mapping):
        return []
    _, value = AliasedRecord(record).named(layout.image, IMAGE_COLUMNS)
    items = listed(parsed(value))
    for item in video_items(record, layout):
        items += item if isinstance(item, list) else [item]
    paths = [
        item.get("path") if isinstance(item, Mapping) and not item.get("bytes") else item
        for item in items
    ]
    return [
        item for item in paths if isinstance(item, str) and "\0" not in item and len(item) < 4096
    ]


class JsonLines(Records):
    """One JSON object in each line; empty lines are no rows."""

    def __init__(self, name: str, files: Sequence[Path], layout: DatasetLayout) -> None:
        super().__init__(name, files, layout)
        spans = [_line_spans(path) for path in self.files]
        self.spans = np.concatenate(spans)  # (rows, 2): first byte, byte after the last
        self.which = np.repeat(np.arange(len(files)), [len(s) for s in spans])

    def __len__(self) -> int:
        return len(self.spans)

    def label(self, row: int) -> str:
        """File and number of the row."""
        return f"{self.files[self.which[row]].name} row {row}"

    def file_of(self, row: int) -> Path:
        """The file that holds a row."""
        return self.files[int(self.which[row])]

    def record(self, row: int) -> object:
        """The line, parsed."""
        start, stop = (int(at) for at in self.spans[row])
        try:
            with self.files[self.which[row]].open("rb") as handle:
                handle.seek(start)
                line = handle.read(stop - start)
        except OSError as error:
            raise BadRow("file cannot be read") from error
        return parse_json(line)


def parse_json(data: bytes) -> object:
    """The JSON value of the bytes; BadRow if they hold none."""
    try:
        return json.loads(words_of(data))
    except (ValueError, RecursionError) as error:
        raise BadRow("not JSON") from error


def _line_spans(path: Path) -> NDArray[np.int64]:
    """(lines, 2) byte offsets of the lines that hold more than an end of line."""
    ends: list[NDArray[np.int64]] = []
    at = 0
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            ends.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == 10).astype(np.int64) + at)
            at += len(chunk)
    stops = np.concatenate([*ends, np.array([at], np.int64)])
    starts = np.concatenate([np.zeros(1, np.int64), stops[:-1] + 1])
    spans: NDArray[np.int64] = np.stack([starts, stops], 1)[stops - starts > 1]
    return spans


class JsonLine(bytes):
    """One line of JSON, not parsed yet."""


class InMemory(Records):
    """A JSON file, CSV, compressed or UTF-16 JSON lines, or the paragraphs of a plain text file.

    Where no empty line parts a text, each line is one.
    """

    def __init__(self, name: str, files: Sequence[Path], layout: DatasetLayout) -> None:
        super().__init__(name, files, layout)
        self.items: list[object] = []
        sizes = []
        for path in self.files:
            found = self._read(path)
            sizes.append(len(found))
            self.items += found
        self.which = np.repeat(np.arange(len(self.files)), sizes)

    def _read(self, path: Path) -> list[object]:
        try:
            return [item for item in items_of(path) if item != b""]
        except OSError as error:
            raise CorpusError(f"{path} cannot be read: {error.strerror}.") from error
        except BadRow as error:
            if len(self.files) > 1:
                self.skipped.add(path.name, str(error))
                return []
            hint = ""
            if ".json" in path.suffixes:
                hint = " A file with one object a line is named .jsonl."
            raise CorpusError(f"{path} cannot be read: {error}.{hint}") from error

    def __len__(self) -> int:
        return len(self.items)

    def file_of(self, row: int) -> Path:
        """The file that holds a row."""
        return self.files[int(self.which[row])]

    def record(self, row: int) -> object:
        """The array's item, or the paragraph as a record."""
        item = self.items[row]
        if isinstance(item, UnreadableRecord):
            raise BadRow(item.reason)
        if isinstance(item, JsonLine):
            return parse_json(item)
        if isinstance(item, bytes):
            return {"text": words_of(item)}
        return {"text": item} if isinstance(item, str) else item


def ending_of(path: Path) -> str:
    """A file's ending in small letters, compression aside."""
    inner = Path(path.stem) if is_packed(path) else path
    return inner.suffix.lower()


def items_of(path: Path) -> list[object]:
    """The rows of a file that is read as a whole; BadRow if it is damaged."""
    data = path.read_bytes()
    ending = ending_of(path)
    if is_packed(path):
        data = unpacked(data)
    if ending == ".json":
        return records_of(parse_json(data))
    data = recoded(data)
    if ending in (".jsonl", ".ndjson"):
        return [JsonLine(line) for line in re.split(rb"[\r\n]+", data) if line.strip()]
    if ending in DELIMITED or (ending == ".txt" and _is_table(data)):
        return rows_of(words_of(data), ending)
    return list(_paragraphs(data))


def _is_table(data: bytes) -> bool:
    return names_pictures(data[:8192].decode(errors="replace"))


def _paragraphs(data: bytes) -> list[bytes]:
    """Split on blank lines, or into lines if there are none."""
    found = re.split(rb"\r?\n(?:[ \t]*\r?\n)+", data.strip(b"\r\n"))
    if len(found) == 1 and b"\n" not in data:
        return re.split(rb"\r", found[0])  # line ends of old
    return found if len(found) > 1 else re.split(rb"\r?\n", found[0])
