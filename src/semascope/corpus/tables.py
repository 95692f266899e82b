"""Datasets of records: JSON lines, a JSON array, plain text, Parquet, Arrow.

Rows are read one by one from where they lie: JSON lines by an index of offsets that is built once,
Parquet a row group at a time, Arrow through a memory map. A damaged file among several, a damaged
row group and a damaged row are counted and passed over. Knows files; what a record means is
``records.py``'s.
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
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.corpus.base import BadRow, Rows, digest, files_digest
from semascope.corpus.records import IMAGE_COLUMNS, Layout, to_sample, utf8, video_items
from semascope.corpus.sample import Sample
from semascope.corpus.videos import MOST_FRAMES
from semascope.errors import CorpusError

CHUNK = 8 << 20
"""Bytes read at a time while lines are counted."""
PROBED = 2000
"""Rows, evenly spread, whose pictures' files are part of the fingerprint."""


class Records(Rows):
    """A corpus of records that lie in files."""

    def __init__(self, name: str, files: Sequence[Path], layout: Layout) -> None:
        super().__init__(name)
        self.files, self.layout = list(files), layout

    @abstractmethod
    def record(self, row: int) -> object:
        """The row's record as Python objects."""

    def sample(self, row: int) -> Sample:
        """The record's sample."""
        record = self.record(row)
        given = record.get("id") if isinstance(record, Mapping) else None
        name = f"{given}#{row}" if isinstance(given, str | int) else f"row-{row}"
        return to_sample(record, self.layout, name, self.name)

    def fingerprint(self) -> str:
        """Of the table files, the layout, and the files of the pictures of up to 2,000 rows.

        A picture file that changes and that none of those rows names goes unseen.
        """
        layout = [str(self.layout.image), str(self.layout.text), str(self.layout.outside)]
        if self.layout.video is not None or self.layout.frames != MOST_FRAMES:
            layout += [str(self.layout.video), str(self.layout.frames)]
        pictures = files_digest(self.layout.root, self._pictures())
        return digest([files_digest(self.layout.root, self.files), pictures, *layout])

    def _pictures(self) -> list[Path]:
        found: dict[Path, None] = {}
        for row in (
            np.unique(np.linspace(0, len(self) - 1, PROBED).astype(int)) if len(self) else ()
        ):
            try:
                record = self.record(int(row))
            except BadRow:
                continue
            for name in _paths(record, self.layout):
                found[self.layout.root / name] = None
        return list(found)


def _paths(record: object, layout: Layout) -> list[str]:
    if not isinstance(record, Mapping):
        return []
    names = (layout.image,) if layout.image else IMAGE_COLUMNS
    value = next((record[name] for name in names if record.get(name) is not None), None)
    items = list(value) if isinstance(value, list) else [value]
    for item in video_items(record, layout):
        items += item if isinstance(item, list) else [item]
    return [
        item for item in items if isinstance(item, str) and "\0" not in item and len(item) < 4096
    ]


class JsonLines(Records):
    """One JSON object a line; empty lines are no rows."""

    def __init__(self, name: str, files: Sequence[Path], layout: Layout) -> None:
        super().__init__(name, files, layout)
        spans = [_line_spans(path) for path in self.files]
        self.spans = np.concatenate(spans)  # (rows, 2): first byte, byte after the last
        self.which = np.repeat(np.arange(len(files)), [len(s) for s in spans])

    def __len__(self) -> int:
        return len(self.spans)

    def label(self, row: int) -> str:
        """File and number of the row."""
        return f"{self.files[self.which[row]].name} row {row}"

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
    """The JSON value; BadRow where the bytes are none."""
    try:
        return json.loads(utf8(data))
    except (json.JSONDecodeError, RecursionError) as error:
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


class InMemory(Records):
    """A JSON array of records, or the paragraphs of a plain text file.

    Where no empty line parts them, each line is one.
    """

    def __init__(self, name: str, files: Sequence[Path], layout: Layout) -> None:
        super().__init__(name, files, layout)
        self.items: list[object] = []
        for path in self.files:
            try:
                data = path.read_bytes()
                array = path.suffix.lower() == ".json"
                self.items += _array(data, path) if array else _paragraphs(data)
            except OSError as error:
                raise CorpusError(f"{path} cannot be read: {error.strerror}.") from error
        self.items = [item for item in self.items if item != b""]

    def __len__(self) -> int:
        return len(self.items)

    def record(self, row: int) -> object:
        """The array's item, or the paragraph as a record."""
        item = self.items[row]
        return {"text": utf8(item)} if isinstance(item, bytes) else item


def _paragraphs(data: bytes) -> list[bytes]:
    """What empty lines part; the lines, where there are none."""
    found = re.split(rb"\r?\n(?:[ \t]*\r?\n)+", data.strip(b"\r\n"))
    return found if len(found) > 1 else re.split(rb"\r?\n", found[0])


def _array(data: bytes, path: Path) -> list[object]:
    try:
        value = parse_json(data)
    except BadRow as error:
        raise CorpusError(
            f"{path} cannot be read: {error}. A file with one object a line is named .jsonl."
        ) from error
    if isinstance(value, dict):  # COCO and its kin: the longest list in the object
        value = max((v for v in value.values() if isinstance(v, list)), key=len, default=value)
    return value if isinstance(value, list) else [value]


class ArrowRows(Records):
    """Parquet files, or Arrow files and streams."""

    def __init__(self, name: str, files: Sequence[Path], layout: Layout) -> None:
        super().__init__(name, files, layout)
        self.groups: list[tuple[Path, int, int]] = []  # file, row group (−1: the whole), rows
        for path in self.files:
            try:
                self.groups += self._groups(path)
            except (OSError, pa.ArrowException) as error:
                self.skipped.add(path.name, "file is cut short or damaged")
                if len(self.files) == 1:
                    raise CorpusError(f"{path} is no Parquet or Arrow file: {error}") from error
        self.starts = np.cumsum([0, *(rows for _, _, rows in self.groups)])
        self._kept: tuple[int, pa.Table] | None = None

    def _groups(self, path: Path) -> list[tuple[Path, int, int]]:
        if path.suffix.lower() != ".parquet":
            table = _arrow(path)
            self._declared(table.schema)
            return [(path, -1, table.num_rows)]
        with pq.ParquetFile(path) as file:
            self._declared(file.schema_arrow)
            meta = file.metadata
            return [(path, g, meta.row_group(g).num_rows) for g in range(meta.num_row_groups)]

    def _declared(self, schema: pa.Schema) -> None:
        """The column that a Hugging Face dataset declares to be an image."""
        about = (schema.metadata or {}).get(b"huggingface")
        if about is None or self.layout.image is not None:
            return
        try:
            features = json.loads(about)["info"]["features"]
        except (ValueError, KeyError, TypeError):
            return
        for column, feature in features.items() if isinstance(features, dict) else ():
            if '"_type": "Image"' in json.dumps(feature):
                self.layout = replace(self.layout, image=column)
                return

    def __len__(self) -> int:
        return int(self.starts[-1])

    def record(self, row: int) -> object:
        """The row as Python objects."""
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        if self._kept is None or self._kept[0] != group:
            self._kept = (group, self._table(group))
        at = row - int(self.starts[group])
        try:
            return self._kept[1].slice(at, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            raise BadRow("text is not UTF-8") from error
        except (pa.ArrowException, ValueError, IndexError) as error:
            raise BadRow("row cannot be read") from error

    def _table(self, group: int) -> pa.Table:
        path, number, _ = self.groups[group]
        try:
            if number < 0:
                return _arrow(path)
            with pq.ParquetFile(path) as file:
                return file.read_row_group(number)
        except (OSError, pa.ArrowException) as error:
            raise BadRow("row group is cut short or damaged") from error


def _arrow(path: Path) -> pa.Table:
    """An Arrow file or stream, mapped."""
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_file(source).read_all()


def saved_dataset(folder: Path, split: str | None, layout: dict[str, Any]) -> ArrowRows:
    """A dataset that ``datasets.save_to_disk`` wrote; read without that library."""
    splits = folder / "dataset_dict.json"
    if splits.exists():
        names = json.loads(splits.read_text())["splits"]
        chosen = split or ("train" if "train" in names else names[0])
        if chosen not in names:
            raise CorpusError(f"{folder} has the splits {', '.join(names)}; there is no {chosen}.")
        return saved_dataset(folder / chosen, None, layout)
    state = json.loads((folder / "state.json").read_text())
    if state.get("_indices_data_files"):
        raise CorpusError(
            f"{folder} was saved as a selection of another table. Call flatten_indices() on the "
            "dataset and save it again."
        )
    files = [folder / item["filename"] for item in state["_data_files"]]
    return ArrowRows(folder.name, files, Layout(root=folder, **layout))
