"""Neuronpedia's export layout: batches of 1,024 features as gzipped JSON lines.

``features/``, ``activations/`` and ``explanations/`` hold ``batch-N.jsonl.gz`` with the field
names that its importer reads. It has no field for pictures; ours are added beside the others
(``images``, with the token, the rectangle and the activation of each cell of heat; the kinds of
tokens), which a reader that does not know them leaves alone. Knows records only.
"""

from __future__ import annotations

import gzip
import json
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

from semascope.atlas.atlas import Atlas
from semascope.atlas.exports.features import details, fired, heat
from semascope.atlas.media import Media
from semascope.atlas.records import DictionaryRow, FeatureDetail, StoredExemplar
from semascope.files import whole

BATCH = 1024


def export_neuronpedia(
    atlas: Atlas, media: Media, dictionary: str | int, folder: Path | str
) -> int:
    """Write all alive features of a dictionary; returns how many. Pictures go to ``media/``."""
    about, folder, count = atlas.dictionary(dictionary), Path(folder), 0
    source = about.key.replace("/", "-")
    with whole(folder / "source.jsonl") as path:
        path.write_text(json.dumps({"modelId": about.model, "id": source, **_plain(about)}) + "\n")
    batches = groupby(details(atlas, about.id), key=lambda d: d.row.index // BATCH)
    for number, batch in batches:
        rows: dict[str, list[dict[str, Any]]] = {n: [] for n in _KINDS}
        for detail in batch:
            name = {"modelId": about.model, "layer": source, "index": str(detail.row.index)}
            rows["features"].append(name | _feature(detail))
            rows["activations"] += [name | _activation(e) for e in detail.of("top")]
            rows["explanations"] += [name | e for e in _explanations(detail)]
            count += 1
            _copy_pictures(detail, media, folder / "media")
        for kind, lines in rows.items():
            _write(folder / kind / f"batch-{number}.jsonl.gz", lines)
    return count


_KINDS = ("features", "activations", "explanations")


def _plain(about: DictionaryRow) -> dict[str, Any]:
    return {"key": about.key, "width": about.width, "about": dict(about.about)}


def _feature(detail: FeatureDetail) -> dict[str, Any]:
    near = detail.near.get("cosine", [])
    return {
        "maxActApprox": detail.row.max,
        "frac_nonzero": detail.row.density,
        "topkCosSimIndices": [int(i) for i, _ in near],
        "topkCosSimValues": [float(v) for _, v in near],
        "pos_str": [t for t, _ in detail.near.get("promoted", [])],
        "pos_values": [v for _, v in detail.near.get("promoted", [])],
        "neg_str": [t for t, _ in detail.near.get("suppressed", [])],
        "neg_values": [v for _, v in detail.near.get("suppressed", [])],
        "frac_nonzero_text": detail.row.density_text,
        "frac_nonzero_image": detail.row.density_image,
        "modality": detail.row.modality,
        "samples": detail.row.samples,
    }


def _activation(exemplar: StoredExemplar) -> dict[str, Any]:
    values = exemplar.activations
    return {
        "tokens": list(exemplar.sample.tokens),
        "values": values.astype(float).round(5).tolist(),
        "maxValue": float(values.max(initial=0)),
        "maxValueTokenIndex": int(values.argmax()) if len(values) else 0,
        "minValue": float(values.min(initial=0)),
        "dataIndex": exemplar.sample.id,
        "tokenKinds": exemplar.sample.kinds.tolist(),
        "tokenImages": exemplar.sample.image.tolist(),
        "images": [
            {
                "file": f"media/{digest}.png",
                "width": size[0],
                "height": size[1],
                **_moment(exemplar, number),
                "heat": [
                    {"token": t, "rect": r, "value": v}
                    for t, (r, v) in zip(
                        fired(exemplar, number), heat(exemplar, number), strict=True
                    )
                ],
            }
            for number, (digest, size) in enumerate(
                zip(exemplar.sample.media, exemplar.sample.sizes, strict=True)
            )
        ],
    }


def _moment(exemplar: StoredExemplar, picture: int) -> dict[str, Any]:
    """Of a frame, which one it is."""
    moment = exemplar.sample.moments[picture] if exemplar.sample.moments else None
    return {} if moment is None else dict(moment._asdict())


def _explanations(detail: FeatureDetail) -> list[dict[str, Any]]:
    return [
        {
            "description": e.description,
            "typeName": e.prompt_version,
            "explanationModelName": e.author,
            "label": e.label,
            "category": e.category,
            "confidence": e.confidence,
            "scores": [
                {"explanationScoreTypeName": s.kind, "value": s.value, "baseline": s.baseline}
                for s in detail.scores
                if s.author == e.author
            ],
        }
        for e in detail.explanations
        if not e.abstained
    ]


def _copy_pictures(detail: FeatureDetail, media: Media, folder: Path) -> None:
    for exemplar in detail.of("top"):
        for digest in exemplar.sample.media:
            target = folder / f"{digest}.png"
            if not target.exists():
                with whole(target) as path:
                    shutil.copyfile(media.path(digest), path)


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    with whole(path) as temporary, gzip.open(temporary, "wt", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
