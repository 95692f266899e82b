"""Neuronpedia's export layout, read back: theirs, and ours with its pictures.

``features/``, ``activations/`` and ``explanations/`` hold gzipped JSON lines. A sample is known
again by its words and pictures, so one that many features share is stored once. Of pictures, only
the tokens on which the feature fires have a place: the others are not in the files. Knows records
only.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semascope import wellformed
from semascope.atlas.atlas import Atlas
from semascope.atlas.imports.words import Figure, Imported, Words, key_of
from semascope.atlas.media import Media
from semascope.atlas.packing import Layout, pack_activations, pack_layout, pack_patches
from semascope.atlas.records import ExemplarRecord, FeatureFigures, SampleRecord
from semascope.errors import AtlasError

_TEXT, _IMAGE = 1, 3
"""Kinds of tokens, as packed samples number them."""


def import_neuronpedia(
    atlas: Atlas, media: Media, folder: Path | str, *, name: str = "", model: str = ""
) -> Imported:
    """Bring a folder of batches into the atlas; ``name`` and ``model`` overrule what it says.

    Raises AtlasError where the folder holds no features, or a line cannot be read.
    """
    folder = Path(folder)
    features = {int(line["index"]): line for line in _lines(folder, "features")}
    if not features:
        raise AtlasError(
            f"No features in {folder}: a Neuronpedia export has features/batch-0.jsonl.gz."
        )
    first = next(iter(features.values()))
    source = _source(folder)
    key = name or source.get("key") or key_of(str(first.get("layer", source.get("id", ""))))
    number = atlas.add_dictionary(
        key,
        model=model or str(first.get("modelId", source.get("modelId", "unknown"))),
        width=int(source.get("width", max(features) + 1)),
        about={**source.get("about", {}), "imported": "neuronpedia"},
    )
    width = atlas.dictionary(number).width
    atlas.write_features(number, (_figures(i, features.get(i)) for i in range(width)))
    largest = {i: _number(line.get("maxActApprox")) for i, line in features.items()}
    samples, exemplars = _exemplars(folder, media, largest)
    origin = f"neuronpedia:{key}"
    atlas.write_samples(origin, samples)
    atlas.write_exemplars(number, origin, exemplars)
    lines = list(_lines(folder, "explanations"))
    atlas.write_explanations(number, [_words(line) for line in lines])
    atlas.write_scores(number, [figure for line in lines for figure in _scores(line)])
    return Imported(key, width, len(features), len(lines), len(exemplars))


def _source(folder: Path) -> dict[str, Any]:
    path = folder / "source.jsonl"
    try:
        found = wellformed.loads(path.read_text("utf-8").splitlines()[0]) if path.is_file() else {}
    except (ValueError, IndexError) as error:
        raise AtlasError(f"{path} is not JSON lines ({error}).") from error
    return dict(found) if isinstance(found, dict) else {}


def _lines(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """All lines of one kind, batch by batch in the order of their numbers."""
    paths = [*(folder / kind).glob("batch-*.jsonl.gz"), *(folder / kind).glob("batch-*.jsonl")]
    for path in sorted(paths, key=lambda p: int("0" + "".join(filter(str.isdigit, p.name)))):
        opened = gzip.open if path.suffix == ".gz" else open
        try:
            with opened(path, "rt", encoding="utf-8") as file:
                for line in file:
                    if line.strip():
                        yield wellformed.loads(line)
        except (OSError, EOFError, ValueError) as error:
            raise AtlasError(
                f"{path} cannot be read: cut short, or no JSON lines ({error})."
            ) from (error)


def _number(value: Any) -> float:
    return float(value) if value not in (None, "") else 0.0


def _figures(index: int, line: dict[str, Any] | None) -> FeatureFigures:
    line = line or {}
    density, largest = _number(line.get("frac_nonzero")), _number(line.get("maxActApprox"))
    text, image = line.get("frac_nonzero_text"), line.get("frac_nonzero_image")
    near: dict[str, Any] = {}
    for ours, names, values in (
        ("cosine", "topkCosSimIndices", "topkCosSimValues"),
        ("promoted", "pos_str", "pos_values"),
        ("suppressed", "neg_str", "neg_values"),
    ):
        near[ours] = [
            list(pair) for pair in zip(line.get(names) or (), line.get(values) or (), strict=False)
        ]
    return FeatureFigures(
        index=index,
        alive=bool(line) and (density > 0 or largest > 0),
        modality=str(line.get("modality") or ("text" if line and not image else "none")),
        density=density,
        density_text=density if text is None else float(text),
        density_image=_number(image),
        max=largest,
        samples=int(_number(line.get("samples"))),
        stats={},
        near=near,
    )


def _exemplars(
    folder: Path, media: Media, largest: dict[int, float]
) -> tuple[list[SampleRecord], list[ExemplarRecord]]:
    """Samples, each once, and the exemplars that show them, strongest first."""
    samples: dict[str, SampleRecord] = {}
    by_feature: dict[int, list[tuple[float, int, bytes]]] = {}
    for line in _lines(folder, "activations"):
        values = np.array(line.get("values") or (), np.float32)
        tokens = [str(token) for token in line.get("tokens") or ()]
        if not len(values) or len(values) != len(tokens):
            continue
        sample = _sample(folder, media, line, tokens, len(samples))
        place = hashlib.sha256(sample.layout + json.dumps([tokens, sample.about]).encode())
        stored = samples.setdefault(place.hexdigest(), sample)
        fired = np.flatnonzero(values > 0).astype(np.int32)
        row = (float(values.max()), stored.row, pack_activations(fired, values[fired]))
        by_feature.setdefault(int(line["index"]), []).append(row)
    exemplars = [
        ExemplarRecord(
            feature=index,
            row=row,
            role="top",
            rank=rank,
            interval=min(int(10 * peak / (largest.get(index) or peak or 1)), 9),
            peak=peak,
            activations=packed,
        )
        for index, rows in sorted(by_feature.items())
        for rank, (peak, row, packed) in enumerate(sorted(rows, key=lambda r: -r[0]))
    ]
    return list(samples.values()), exemplars


def _sample(
    folder: Path, media: Media, line: dict[str, Any], tokens: list[str], row: int
) -> SampleRecord:
    n = len(tokens)
    kinds = np.array(line.get("tokenKinds") or [_TEXT] * n, np.int8)
    image = np.array(line.get("tokenImages") or [-1] * n, np.int16)
    rects = np.full((n, 4), np.nan, np.float32)
    digests, sizes = [], []
    for number, shown in enumerate(line.get("images") or ()):
        digests.append(_picture(folder, media, str(shown["file"])))
        sizes.append([int(shown["width"]), int(shown["height"])])
        for cell in shown.get("heat", ()):
            if "token" in cell:
                token = int(cell["token"])
                rects[token], image[token] = cell["rect"], number
                kinds[token] = kinds[token] if kinds[token] >= _IMAGE else _IMAGE
    about = {
        "id": str(line.get("dataIndex", row)),
        "media": digests,
        "sizes": sizes,
        "geometry": "",
        "source": "neuronpedia",
        "truth": {},
    }
    layout = pack_layout(Layout(kinds, image, rects))
    nothing = pack_patches(np.zeros((0, n), np.float16))
    return SampleRecord(row, "explain", n, about, tokens, layout, nothing)


def _picture(folder: Path, media: Media, name: str) -> str:
    """Into the media store; a name that leads out of the folder is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise AtlasError(f"{name!r} leads out of {folder}: the export is not to be trusted.")
    try:
        with Image.open(path) as picture:
            picture.load()
            return media.put(picture)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise AtlasError(f"The picture {path} cannot be read ({error}).") from error


def _words(line: dict[str, Any]) -> Words:
    return Words(
        feature=int(line["index"]),
        description=str(line.get("description") or ""),
        label=str(line.get("label") or ""),
        category=str(line.get("category") or ""),
        confidence=_number(line.get("confidence")),
        author=str(line.get("explanationModelName") or "neuronpedia"),
        prompt_version=str(line.get("typeName") or ""),
    )


def _scores(line: dict[str, Any]) -> Iterator[Figure]:
    author = str(line.get("explanationModelName") or "neuronpedia")
    for score in line.get("scores") or ():
        baseline = score.get("baseline")
        yield Figure(
            feature=int(line["index"]),
            kind=str(score.get("explanationScoreTypeName") or "score"),
            value=float(score["value"]),
            baseline=float("nan") if baseline is None else float(baseline),
            author=author,
        )
