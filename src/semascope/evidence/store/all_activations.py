"""Every activation of every feature, in Parquet: by sample and by feature.

Written in the same pass, when asked for: each shard writes parts as it reads, and the merge sorts
them into ``by_sample/`` and ``by_feature/``, on disk where memory is too small (DuckDB). One line
is one token on which one feature fires. Nothing is filtered: it is the whole of what the pass saw,
and as large as that (20 bytes a line before compression).

Knows numbers only: no model, no sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semascope.errors import EvidenceError
from semascope.evidence.gathering.tally import Hits, SampleRows
from semascope.evidence.store.files import replacing

PART_BYTES = 64 << 20
"""A part is written when so much waits."""
MEMORY = "1GB"
"""What sorting may take; the rest goes through the disk."""
FILE = "part-00000.parquet"
_SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "position": pa.int32(),
        "feature": pa.int32(),
        "kind": pa.int8(),
        "value": pa.float32(),
    }
)
_ORDERS = {"by_sample": "row, position, feature", "by_feature": "feature, row, position"}


class ActivationTable(NamedTuple):
    """h activations, by row of the corpus, then by token."""

    row: NDArray[np.int64]
    position: NDArray[np.int32]
    """Which token of the sample, padding not counted."""
    feature: NDArray[np.int32]
    kind: NDArray[np.int8]
    """``subject.Kind`` of the token."""
    value: NDArray[np.float32]


class ShardParts:
    """What one shard has seen of one dictionary and not yet written."""

    def __init__(self) -> None:
        self.waiting: list[ActivationTable] = []

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(column.nbytes for some in self.waiting for column in some)

    def add(self, hits: Hits, rows: SampleRows) -> None:
        """Take in one batch."""
        self.waiting.append(
            ActivationTable(
                rows.row[hits.sample],
                hits.position.astype(np.int32),
                hits.feature.astype(np.int32),
                hits.kind.astype(np.int8),
                hits.value.astype(np.float32),
            )
        )

    def write(self, path: Path) -> bool:
        """Write what waits, if anything does."""
        columns = [np.concatenate(column) for column in zip(*self.waiting, strict=True)]
        self.waiting.clear()
        if not columns or not len(columns[0]):
            return False
        with replacing(path) as temporary:
            pq.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), temporary)
        return True


def finish(folder: Path, parts: Sequence[Path]) -> None:
    """Sort the parts of all shards of one dictionary into the two stores below ``folder``."""
    for name, order in _ORDERS.items():
        with replacing(folder / name / FILE) as temporary:
            if parts:
                _sorted(parts, temporary, order)
            else:
                pq.write_table(_SCHEMA.empty_table(), temporary)


def _sorted(parts: Sequence[Path], target: Path, order: str) -> None:
    import duckdb

    with duckdb.connect() as database:
        database.execute(f"SET memory_limit = '{MEMORY}'")
        database.execute("SET temp_directory = ?", [str(target.parent / ".sorting")])
        database.execute(
            f"COPY (SELECT * FROM read_parquet(?) ORDER BY {order}) TO '{_quoted(target)}' "
            "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)",
            [[str(part) for part in parts]],
        )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


class AllActivations:
    """The full store of one dictionary, read feature by feature or sample by sample."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "by_feature" / FILE).is_file():
            raise EvidenceError(
                f"{folder} keeps exemplars alone. To keep every activation: "
                "`semascope gather --store-all`."
            )

    def feature(self, index: int) -> ActivationTable:
        """Where one feature fires, over the whole corpus."""
        return self._read("by_feature", "feature", index)

    def sample(self, row: int) -> ActivationTable:
        """What fires on one row of the corpus."""
        return self._read("by_sample", "row", row)

    def __len__(self) -> int:
        """How many activations there are."""
        return int(pq.read_metadata(self.folder / "by_feature" / FILE).num_rows)

    def _read(self, store: str, column: str, number: int) -> ActivationTable:
        # Rows are sorted by the column: the other row groups are passed over unread.
        table: Any = pq.read_table(self.folder / store / FILE, filters=[(column, "=", int(number))])
        return ActivationTable(*(table.column(n).to_numpy() for n in ActivationTable._fields))
