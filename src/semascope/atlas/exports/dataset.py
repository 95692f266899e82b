"""A dataset of explanations with pictures, as one Parquet file that ``datasets`` reads.

One row a feature: words, figures, its strongest pictures with the heat drawn beside them. The
schema carries the Hugging Face feature types, so pictures come back as pictures. Knows records.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from semascope.atlas.atlas import Atlas
from semascope.atlas.exports.features import details, heat, painted, strongest
from semascope.atlas.media import Media
from semascope.atlas.records import FeatureDetail, StoredExemplar
from semascope.files import whole

_ROWS = 200
_PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_PLAIN = {
    "feature": pa.string(),
    "index": pa.int64(),
    "label": pa.string(),
    "description": pa.string(),
    "category": pa.string(),
    "confidence": pa.float64(),
    "author": pa.string(),
    "density": pa.float64(),
    "max": pa.float64(),
    "scores": pa.string(),
    "texts": pa.list_(pa.string()),
}


def export_dataset(
    atlas: Atlas, media: Media, dictionary: str | int, path: Path | str, *, pictures: int = 5
) -> int:
    """Write every feature with words to one Parquet file; returns how many."""
    schema, count = _schema(), 0
    with whole(Path(path)) as temporary, pq.ParquetWriter(temporary, schema) as out:
        rows: list[dict[str, Any]] = []
        for detail in details(atlas, dictionary, explained_only=True):
            rows.append(_row(detail, media, pictures))
            count += 1
            if len(rows) == _ROWS:
                out.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows or not count:
            out.write_table(pa.Table.from_pylist(rows, schema))
    return count


def _schema() -> pa.Schema:
    fields = _PLAIN | {"images": pa.list_(_PICTURE), "heat": pa.list_(_PICTURE)}
    image = [{"_type": "Image"}]
    values: dict[str, Any] = {
        name: {"dtype": str(kind).replace("double", "float64"), "_type": "Value"}
        for name, kind in _PLAIN.items()
        if name != "texts"
    }
    values |= {"texts": [{"dtype": "string", "_type": "Value"}], "images": image, "heat": image}
    meta = {"huggingface": json.dumps({"info": {"features": values}})}
    return pa.schema(fields, metadata=meta)


def _row(detail: FeatureDetail, media: Media, most: int) -> dict[str, Any]:
    row, top = detail.row, detail.of("top")
    seen = [e for e in top if e.sample.media and heat(e, strongest(e))][:most]
    drawn = [(media.open(e.sample.media[strongest(e)]), e) for e in seen]
    return {
        "feature": row.id,
        "index": row.index,
        "label": row.label,
        "description": row.description,
        "category": row.category,
        "confidence": row.confidence,
        "author": row.author,
        "density": row.density,
        "max": row.max,
        "scores": json.dumps({k: [s.value, s.baseline] for k, s in row.scores.items()}),
        "texts": ["".join(e.sample.tokens) for e in top if not e.sample.media][:most],
        "images": [_png(image) for image, _ in drawn],
        "heat": [_png(drawn_heat(image.size, e, row.max)) for image, e in drawn],
    }


def drawn_heat(size: tuple[int, int], exemplar: StoredExemplar, maximum: float) -> Image.Image:
    """A grey picture of the size given: 255 where the feature is at its maximum, 0 where silent.

    Of several pictures or frames, the one on which it fires most.
    """
    activations = painted(exemplar, strongest(exemplar), size)  # (H, W)
    share = np.clip(activations / maximum, 0, 1) if maximum > 0 else np.zeros_like(activations)
    return Image.fromarray((255 * share).round().astype(np.uint8))


def _png(image: Image.Image) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}
