"""Records in Parquet, in Arrow files and streams, and in datasets saved by ``datasets``.

Parquet is read one row group at a time, Arrow through a memory map. A damaged file among several
and a damaged row group are counted and skipped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semascope.corpus.tabular.base import BadRow
from semascope.corpus.tabular.text_tables import Records
from semascope.corpus.tabular.to_sample import DatasetLayout
from semascope.errors import CorpusError


class ArrowRows(Records):
    """Parquet files, or Arrow files and streams."""

    def __init__(self, name: str, files: Sequence[Path], layout: DatasetLayout) -> None:
        super().__init__(name, files, layout)
        self.groups: list[tuple[Path, int, int]] = []  # file, row group (−1: the whole), rows
        for path in self.files:
            try:
                self.groups += self._groups(path)
            except (OSError, pa.ArrowException) as error:
                self.skipped.add(path.name, "file is cut short or damaged")
                if len(self.files) == 1:
                    raise CorpusError(f"{path} is no Parquet or Arrow file: {error}") from error
        if len(self.files) > 1 and not self.groups:
            raise CorpusError(f"{name}: none of its {len(self.files)} files can be read.")
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

    def file_of(self, row: int) -> Path:
        """The file that holds a row."""
        return self.groups[int(np.searchsorted(self.starts, row, side="right")) - 1][0]

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
        names = _state(splits, "splits")
        chosen = split or ("train" if "train" in names else names[0])
        if chosen not in names:
            raise CorpusError(f"{folder} has the splits {', '.join(names)}; there is no {chosen}.")
        return saved_dataset(folder / chosen, None, layout)
    if _state(folder / "state.json", "_indices_data_files", []):
        raise CorpusError(
            f"{folder} was saved as a selection of another table. Call flatten_indices() on the "
            "dataset and save it again."
        )
    items = _state(folder / "state.json", "_data_files")
    names = [item.get("filename") if isinstance(item, dict) else item for item in items]
    files = [folder / name for name in names if isinstance(name, str)]
    return ArrowRows(folder.name, files, DatasetLayout(root=folder, **layout))


def _state(path: Path, key: str, usual: list[Any] | None = None) -> list[Any]:
    """A list in a file that ``datasets`` wrote; CorpusError if the file is another one."""
    try:
        found = json.loads(path.read_text())
        listed = found.get(key) or usual
    except (OSError, ValueError, AttributeError) as error:
        raise CorpusError(f"{path} cannot be read as the record of a dataset: {error}.") from error
    if not isinstance(listed, list) or (usual is None and not listed):
        raise CorpusError(f"{path} is not what datasets.save_to_disk writes: it has no {key!r}.")
    return listed
