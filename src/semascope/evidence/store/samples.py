"""Samples as the model saw them, on disk: written in parts during the pass, read one at a time.

The file is an Arrow IPC file, mapped: reading one record touches its own bytes alone, however
many there are. (Parquet must decode a row group to give one row.) Each record also holds, for
every dictionary, which features fired on the sample, so that "silent here" is known and never
assumed. Knows no model; knows the media folder only as a store of pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from semascope.atlas.media import Media
from semascope.atlas.packing import (
    TokenLayout,
    pack_layout,
    pack_patches,
    unpack_layout,
    unpack_patches,
)
from semascope.atlas.records import SampleRecord
from semascope.corpus.sample import Moment, Sample
from semascope.errors import EvidenceError
from semascope.evidence.gathering.hashing import ContentHash, split_of
from semascope.evidence.gathering.scene_truth import object_patches, truth_record
from semascope.evidence.store.files import replacing
from semascope.evidence.types import EvidenceSample
from semascope.subject.types import Kind, TokenMap

_FIRED = "fired:"
BATCH = 1024
"""Records that lie together in the file."""


@dataclass(slots=True, eq=False)
class PendingSample:
    """A sample that some feature may keep; its pictures are stored only if one does."""

    row: int
    sample: Sample
    name: ContentHash
    map: TokenMap
    fired: dict[str, NDArray[np.int32]]
    """By dictionary: the features that fired, rising."""

    @property
    def nbytes(self) -> int:
        """Memory held, roughly: pictures and masks."""
        pixels = sum(i.width * i.height for i in self.sample.pictures)
        things = len(self.sample.truth.objects) if self.sample.truth else 0
        return pixels * (3 + things) + 64 * len(self.map)


def unpadded(token_map: TokenMap) -> NDArray[np.int64]:
    """(n,) positions that are not padding, ascending."""
    return np.flatnonzero(token_map.kinds != Kind.PAD)


def record(pending: PendingSample, media: Media) -> dict[str, Any]:
    """One row of the file; puts the sample's pictures into the media store."""
    real = pending.map.at(unpadded(pending.map))
    rects = real.rects.astype(np.float32)
    about: dict[str, Any] = {
        "id": pending.sample.id,
        "media": [media.put(i) for i in pending.sample.pictures],
        "sizes": [list(map(int, s)) for s in pending.map.sizes],
        "geometry": pending.map.geometry,
        "source": pending.sample.source,
        "truth": truth_record(pending.sample.truth),
    }
    if pending.sample.videos:
        about["moments"] = pending.sample.moments
    patches = object_patches(pending.sample.truth, rects, real.image, real.sizes)
    return {
        "row": pending.row,
        "picture": pending.name.picture,
        "length": len(real),
        "tokens": json.dumps(real.tokens).encode(),
        "layout": pack_layout(TokenLayout(real.kinds, real.image, rects, real.spans)),
        "about": json.dumps(about).encode(),
        "patches": pack_patches(patches),
    } | {_FIRED + k: v.astype("<i4").tobytes() for k, v in pending.fired.items()}


def schema(dictionaries: Iterable[str]) -> pa.Schema:
    """The columns of the file."""
    plain = {"row": pa.int64(), "picture": pa.uint64(), "length": pa.int32()}
    blobs = ("tokens", "layout", "about", "patches", *(_FIRED + d for d in dictionaries))
    return pa.schema(plain | {name: pa.large_binary() for name in blobs})


def write(path: Path, records: Sequence[Mapping[str, Any]], dictionaries: Iterable[str]) -> None:
    """One part, whole or not at all."""
    columns = schema(dictionaries)
    data = {n: pa.array([r[n] for r in records], columns.field(n).type) for n in columns.names}
    with replacing(path) as temporary, pa.ipc.new_file(str(temporary), columns) as out:
        out.write_batch(pa.record_batch(data, schema=columns))


def gather_parts(
    parts: Sequence[Path], target: Path, rows: NDArray[np.int64], dictionaries: Sequence[str]
) -> None:
    """Copy the records of ``rows`` (rising) from parts whose rows rise into one file."""
    columns = schema(dictionaries)
    waiting: list[pa.Table] = []
    with replacing(target) as temporary, pa.ipc.new_file(str(temporary), columns) as out:
        for part in parts:
            table = pa.ipc.open_file(pa.memory_map(str(part))).read_all()
            chosen = np.isin(table.column("row").to_numpy(), rows)
            waiting.append(table.filter(pa.array(chosen)).select(columns.names).cast(columns))
            waiting = _write_whole(out, waiting)
        for table in waiting:
            if len(table):
                out.write_table(table.combine_chunks())


def _write_whole(out: Any, waiting: list[pa.Table]) -> list[pa.Table]:
    """Write batches of BATCH records, so that the file does not tell where the parts ended;
    what is left over waits."""
    table = pa.concat_tables(waiting)
    whole = len(table) - len(table) % BATCH
    for first in range(0, whole, BATCH):
        out.write_table(table.slice(first, BATCH).combine_chunks())
    return [table.slice(whole).combine_chunks()]


class SampleStore:
    """The records of a finished run, by number in row order.

    ``rows`` (n,) holds the corpus row of each, rising; ``pictures`` (n,) the picture hashes.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise EvidenceError(f"{path} is missing: run `semascope gather` again.")
        self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self.rows: NDArray[np.int64] = self._table.column("row").to_numpy()
        self.pictures: NDArray[np.uint64] = self._table.column("picture").to_numpy()
        self.lengths: NDArray[np.int32] = self._table.column("length").to_numpy()
        sizes = [len(b) for b in self._table.to_batches()]
        self._ends = np.cumsum(sizes)
        self._columns = {
            n: self._table.column(n).chunks for n in self._table.column_names if n != "row"
        }
        self.get = lru_cache(maxsize=8192)(self._get)

    def __len__(self) -> int:
        return len(self.rows)

    def _blob(self, column: str, number: int) -> memoryview:
        chunk = int(np.searchsorted(self._ends, number, side="right"))
        start = int(self._ends[chunk - 1]) if chunk else 0
        return memoryview(self._columns[column][chunk][number - start].as_buffer())

    def fired(self, number: int, dictionary: str) -> NDArray[np.int32]:
        """(n,) features of one dictionary that fired on one sample, ascending."""
        return np.frombuffer(self._blob(_FIRED + dictionary, number), "<i4")

    def packed(self, number: int) -> SampleRecord:
        """One record as the atlas stores it, nothing unpacked but the words."""
        return SampleRecord(
            row=int(self.rows[number]),
            split=split_of(int(self.pictures[number])),
            length=int(self.lengths[number]),
            about=json.loads(bytes(self._blob("about", number))),
            tokens=json.loads(bytes(self._blob("tokens", number))),
            layout=bytes(self._blob("layout", number)),
            patches=bytes(self._blob("patches", number)),
        )

    def _get(self, number: int) -> EvidenceSample:
        layout = unpack_layout(self._blob("layout", number), int(self.lengths[number]))
        about = json.loads(bytes(self._blob("about", number)))
        truth = about["truth"]
        if truth:
            patches = unpack_patches(self._blob("patches", number), len(truth["objects"]))
            for thing, share in zip(truth["objects"], patches, strict=True):
                thing["patches"] = share
        return EvidenceSample(
            row=int(self.rows[number]),
            id=about["id"],
            tokens=tuple(json.loads(bytes(self._blob("tokens", number)))),
            kinds=layout.kinds,
            rects=layout.rects,
            image=layout.image,
            media=tuple(about["media"]),
            sizes=tuple((w, h) for w, h in about["sizes"]),
            split=split_of(int(self.pictures[number])),
            truth=truth,
            spans=layout.spans,
            moments=tuple(m and Moment(*m) for m in about.get("moments", ())),
        )
