"""Neuronpedia's export layout, read back: theirs, and ours with its pictures.

``features/``, ``activations/`` and ``explanations/`` hold gzipped JSON lines. A sample is known
again by its words and pictures, so one that many features share is stored once. Of pictures, only
the tokens on which the feature fires have a place: the others are not in the files. Knows records
only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semascope.atlas.atlas import Atlas
from semascope.atlas.imports.rows import WIDEST, clean, index_of, lines, number, share, told
from semascope.atlas.imports.words import Imported, ImportedExplanation, ImportedScore, key_of
from semascope.atlas.imports.write import target
from semascope.atlas.media import Media
from semascope.atlas.packing import TokenLayout, pack_activations, pack_layout, pack_patches
from semascope.atlas.records import FeatureFigures, NewExemplar, SampleRecord
from semascope.corpus.sample import SkipReport
from semascope.errors import AtlasError

_TEXT, _IMAGE = 1, 3
"""Kinds of tokens, as packed samples number them."""


def import_neuronpedia(
    atlas: Atlas,
    media: Media,
    folder: Path | str,
    *,
    name: str = "",
    model: str = "",
    overwrite: bool = False,
) -> Imported:
    """Bring a folder of batches into the atlas; ``name`` and ``model`` overrule what it says.

    Rows that cannot be read are left out and named. With ``overwrite`` the words become the
    features' own; else they stand beside words of a run. Raises AtlasError where the folder holds
    no features that can be read.
    """
    folder, skips = Path(folder), SkipReport()
    features = {
        i: line for i, line in _rows(folder, "features", skips) if _readable(i, line, skips)
    }
    if not features:
        why = f" ({told(skips)[0]})" if skips.total else ""
        raise AtlasError(
            f"No features in {folder}: a Neuronpedia export has features/batch-0.jsonl.gz{why}."
        )
    source = _source(folder, skips)
    into = _target(atlas, features, source, name, model, overwrite)
    into.figures((_figures(i, features.get(i)) for i in range(into.width)), features)
    largest = {i: number(line.get("maxActApprox")) for i, line in features.items()}
    shown = _Exemplars(folder, media, into.width, skips)
    samples, exemplars = shown.read(largest)
    into.exemplars(f"neuronpedia:{into.key}:{shown.stamp}", samples, exemplars)
    words, scores = _explanations(folder, skips)
    into.words(words, scores, skips)
    return Imported(
        into.key, into.width, len(features), len(words), len(exemplars), tuple(told(skips)),
        into.counts["added"], into.counts["there"], into.counts["kept"], skips.total, into.own,
    )  # fmt: skip


def _target(
    atlas: Atlas,
    features: Mapping[int, Mapping[str, Any]],
    source: Mapping[str, Any],
    name: str,
    model: str,
    overwrite: bool,
) -> Any:
    """The dictionary that the files belong to."""
    first = next(iter(features.values()))
    said = str(first.get("modelId") or source.get("modelId") or "")
    stated = source.get("width")
    width = stated if isinstance(stated, int) and 0 < stated <= WIDEST else 0
    known = source.get("about")
    return target(
        atlas,
        name or str(source.get("key") or key_of(str(first.get("layer") or source.get("id") or ""))),
        model=model,
        said=said,
        width=max(width, max(features) + 1),
        about={**(known if isinstance(known, dict) else {}), "imported": "neuronpedia"},
        overwrite=overwrite,
    )


def _source(folder: Path, skips: SkipReport) -> dict[str, Any]:
    path = folder / "source.jsonl"
    return next((line for _, line in lines(path, skips)), {}) if path.is_file() else {}


def _rows(folder: Path, kind: str, skips: SkipReport) -> Iterator[tuple[int, dict[str, Any]]]:
    """(feature, row) of one kind, batch by batch in the order of their numbers."""
    paths = [*(folder / kind).glob("batch-*.jsonl.gz"), *(folder / kind).glob("batch-*.jsonl")]
    for path in sorted(paths, key=lambda p: int("0" + "".join(filter(str.isdigit, p.name)))):
        for row, line in lines(path, skips):
            try:
                yield index_of(line.get("index")), line
            except ValueError as error:
                skips.add(row, str(error))


def _readable(index: int, line: dict[str, Any], skips: SkipReport) -> bool:
    """Whether a feature's figures are figures."""
    try:
        _figures(index, line)
    except (ValueError, TypeError) as error:
        skips.add(f"feature {index}", str(error))
        return False
    return True


def _figures(index: int, line: dict[str, Any] | None) -> FeatureFigures:
    line = line or {}
    density, largest = share(line.get("frac_nonzero")), number(line.get("maxActApprox"))
    text, image = line.get("frac_nonzero_text"), line.get("frac_nonzero_image")
    near: dict[str, Any] = {}
    for ours, names, values in (
        ("cosine", "topkCosSimIndices", "topkCosSimValues"),
        ("promoted", "pos_str", "pos_values"),
        ("suppressed", "neg_str", "neg_values"),
    ):
        near[ours] = [
            [index_of(name) if ours == "cosine" else clean(name), number(value)]
            for name, value in zip(line.get(names) or (), line.get(values) or (), strict=False)
        ]
    return FeatureFigures(
        index=index,
        alive=bool(line) and (density > 0 or largest > 0),
        modality=_modality(line),
        density=density,
        density_text=density if text is None else share(text),
        density_image=share(image),
        max=largest,
        samples=int(number(line.get("samples"))),
        stats={},
        near=near,
    )


def _modality(line: Mapping[str, Any]) -> str:
    said = str(line.get("modality") or "")
    if said in ("image", "text", "both", "none"):
        return said
    return "text" if line and not line.get("frac_nonzero_image") else "none"


class _Exemplars:
    """Samples, each once, and the exemplars that show them, strongest first."""

    def __init__(self, folder: Path, media: Media, width: int, skips: SkipReport) -> None:
        self.folder, self.media, self.width, self.skips = folder, media, width, skips
        self.samples: dict[str, SampleRecord] = {}
        self.by_feature: dict[int, list[tuple[float, int, bytes]]] = {}

    @property
    def stamp(self) -> str:
        """A hash of the samples: rows of other files are other samples."""
        return hashlib.sha256("".join(self.samples).encode()).hexdigest()[:12]

    def read(self, largest: Mapping[int, float]) -> tuple[list[SampleRecord], list[NewExemplar]]:
        """All of them; rows that cannot be read are counted."""
        for index, line in _rows(self.folder, "activations", self.skips):
            try:
                self._take(index, line)
            except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
                self.skips.add(f"an activation of feature {index}", f"no activations ({error})")
        exemplars = [
            NewExemplar(
                feature=index,
                row=row,
                role="top",
                rank=rank,
                interval=max(0, min(int(10 * peak / (largest.get(index) or peak or 1)), 9)),
                peak=peak,
                activations=packed,
            )
            for index, rows in sorted(self.by_feature.items())
            for rank, (peak, row, packed) in enumerate(sorted(rows, key=lambda r: -r[0]))
        ]
        return list(self.samples.values()), exemplars

    def _take(self, index: int, line: dict[str, Any]) -> None:
        values = np.array([number(v) for v in line.get("values") or ()], np.float32)
        tokens = [clean(token) for token in line.get("tokens") or ()]
        if not len(values) or len(values) != len(tokens):
            raise ValueError(f"{len(values)} values for {len(tokens)} tokens")
        if index >= self.width:
            raise ValueError(f"the dictionary has {self.width} features")
        if not np.isfinite(values).all():
            raise ValueError("a value is too large")
        sample = _sample(self.folder, self.media, line, tokens, len(self.samples))
        place = hashlib.sha256(sample.layout + json.dumps([tokens, sample.about]).encode())
        stored = self.samples.setdefault(place.hexdigest(), sample)
        fired = np.flatnonzero(values > 0).astype(np.int32)
        row = (float(values.max()), stored.row, pack_activations(fired, values[fired]))
        self.by_feature.setdefault(index, []).append(row)


def _sample(
    folder: Path, media: Media, line: dict[str, Any], tokens: list[str], row: int
) -> SampleRecord:
    n = len(tokens)
    kinds = np.array(line.get("tokenKinds") or [_TEXT] * n, np.int8)
    image = np.array(line.get("tokenImages") or [-1] * n, np.int16)
    if kinds.shape != (n,) or image.shape != (n,):
        raise ValueError(f"kinds or pictures of {len(kinds)} tokens, of {n}")
    rects = np.full((n, 4), np.nan, np.float32)
    digests, sizes = [], []
    for place, shown in enumerate(line.get("images") or ()):
        digests.append(_picture(folder, media, str(shown["file"])))
        sizes.append([int(shown["width"]), int(shown["height"])])
        for cell in shown.get("heat", ()):
            if "token" in cell:
                token = index_of(cell["token"])
                rects[token], image[token] = cell["rect"], place
                kinds[token] = kinds[token] if kinds[token] >= _IMAGE else _IMAGE
    about = {
        "id": str(line.get("dataIndex", row)),
        "media": digests,
        "sizes": sizes,
        "geometry": "",
        "source": "neuronpedia",
        "truth": {},
    }
    layout = pack_layout(TokenLayout(kinds, image, rects))
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
        raise ValueError(f"the picture {path.name} cannot be read") from error


def _explanations(
    folder: Path, skips: SkipReport
) -> tuple[list[ImportedExplanation], list[ImportedScore]]:
    """All words, and the figures about them."""
    words, scores = [], []
    for index, line in _rows(folder, "explanations", skips):
        try:
            words.append(_words(index, line))
        except (ValueError, TypeError) as error:
            skips.add(f"an explanation of feature {index}", str(error))
            continue
        given = line.get("scores") or []
        if not isinstance(given, list):
            skips.add(f"scores of feature {index}", "they are no list")
            continue
        for score in given:
            try:
                scores.append(_score(index, words[-1].author, score))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                skips.add(f"a score of feature {index}", f"no score ({error})")
    return words, scores


def _words(index: int, line: Mapping[str, Any]) -> ImportedExplanation:
    return ImportedExplanation(
        feature=index,
        description=clean(line.get("description")),
        label=clean(line.get("label")),
        category=clean(line.get("category")),
        confidence=share(line.get("confidence")),
        author=clean(line.get("explanationModelName")) or "neuronpedia",
        prompt_version=clean(line.get("typeName")),
    )


def _score(index: int, author: str, score: Mapping[str, Any]) -> ImportedScore:
    baseline = score.get("baseline")
    if score["value"] is None:
        raise ValueError("it has no value")
    return ImportedScore(
        feature=index,
        kind=clean(score.get("explanationScoreTypeName")) or "score",
        value=number(score["value"]),
        baseline=float("nan") if baseline is None else number(baseline),
        author=author,
    )
