"""multimodal-sae's activation caches, explanations and scores (arXiv 2411.14982).

A cache is a folder a module with ``<start>_<end>.safetensors``: ``locations`` (nnz, 3) of
(picture, token, feature) and ``activations`` (nnz,). Its first grid × grid tokens are the base
picture, resized whatever its shape, so a token's rectangle is a cell of the user's picture; the
tiles after them have no place that the files tell, and count in no figure here. Pictures are
ranked as there: by the mean over the base tokens.

Explanations are JSON lists of ``{"<module>_feature<n>": text}``, labels JSON objects of the same
keys, scores JSON lists of ``{"feature": …, "avg_iou" or "avg_score": …}``. Knows records only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

from semascope.atlas.atlas import Atlas
from semascope.atlas.imports.rows import clean, index_of, json_file, number, told
from semascope.atlas.imports.words import Imported, ImportedExplanation, ImportedScore, key_of
from semascope.atlas.imports.write import target
from semascope.atlas.media import Media
from semascope.atlas.packing import TokenLayout, pack_activations, pack_layout, pack_patches
from semascope.atlas.records import FeatureFigures, NewExemplar, SampleRecord
from semascope.corpus.sample import SkipReport
from semascope.errors import AtlasError

_IMAGE = 3
_SHARD = re.compile(r"(\d+)_(\d+)\.safetensors")
_FEATURE = re.compile(r"(?P<module>.+)_feature(?P<index>\d+)")
_UNABLE = "unable to produce descriptions"
_SCORES = {"avg_iou": "iou", "avg_score": "clip"}
AUTHOR = "multimodal-sae"
MODEL = "lmms-lab/llama3-llava-next-8b"
"""Whose caches these are, where nothing else is said."""


def import_multimodal_sae(
    atlas: Atlas,
    media: Media,
    cache: Path | str | None = None,
    explanations: Path | str | None = None,
    *,
    pictures: Sequence[Path] = (),
    name: str = "",
    model: str = "",
    width: int = 0,
    grid: int = 24,
    top: int = 5,
    overwrite: bool = False,
) -> Imported:
    """Bring a cache folder, a folder of explanations, or both, into the atlas.

    ``pictures`` are the files of the cached dataset in its order; without them there are figures
    and no exemplars. ``width`` is the dictionary's, else what the shards' names tell. With
    ``overwrite`` the words become the features' own; else they stand beside words of a run. Rows
    of explanations that cannot be read are left out and named. Raises AtlasError where there is
    neither a cache nor an explanation, or a file cannot be read.
    """
    skips = SkipReport()
    words = _Words(skips)
    if explanations:
        words.read(Path(explanations))
    shards = _shards(Path(cache)) if cache else []
    if not shards and not words.texts:
        raise AtlasError(
            f"Nothing of multimodal-sae in {cache or explanations}: a cache holds files such as "
            "0_1023.safetensors, explanations are JSON with keys such as model.layers.24_feature7."
        )
    module = words.module or (Path(cache).name if cache else "")
    ends = [end for _, end, _ in shards] or [max(words.texts)]
    width = width or max(*ends, max(words.texts, default=0)) + 1
    key = name or key_of(module)
    about = {"imported": AUTHOR, "module": module}
    known = any(row.key == key for row in atlas.dictionaries())
    said = "" if known else MODEL  # the files name no model
    into = target(atlas, key, model=model, said=said, width=width, about=about, overwrite=overwrite)
    figures, exemplars = _Cache(shards, pictures, grid, top, width).read()
    into.figures(figures, range(width) if shards else ())
    rows = sorted({exemplar.row for exemplar in exemplars})
    samples = (_sample(media, pictures[row], row, grid) for row in rows)
    into.exemplars(f"{AUTHOR}:{key}:{_stamp(pictures)}", samples, exemplars)
    into.words(words.explanations(), words.scores, skips)
    alive = sum(figure.alive for figure in figures)
    notes = (*_notes(shards, bool(pictures)), *told(skips))
    return Imported(
        key, width, alive, len(words.texts), len(exemplars), notes, into.counts["added"],
        into.counts["there"], into.counts["kept"], skips.total, into.own,
    )  # fmt: skip


def _stamp(pictures: Sequence[Path]) -> str:
    """A hash of the pictures' names: rows of other pictures are other samples."""
    return hashlib.sha256("\n".join(p.name for p in pictures).encode()).hexdigest()[:12]


def _shards(folder: Path) -> list[tuple[int, int, Path]]:
    """(first feature, last, file) of every shard, by feature."""
    found = []
    for path in folder.glob("*.safetensors"):
        match = _SHARD.fullmatch(path.name)
        if match:
            found.append((int(match[1]), int(match[2]), path))
    return sorted(found)


def _notes(shards: Sequence[tuple[int, int, Path]], pictures: bool) -> tuple[str, ...]:
    notes = []
    if shards:
        lost = [str(end) for _, end, _ in shards]
        notes.append(
            f"Its splits lose their last feature: {', '.join(lost[:4])}"
            f"{'…' if len(lost) > 4 else ''} were never cached, and count as dead."
        )
        if not pictures:
            notes.append("No pictures were given: there are figures, and no exemplars.")
    return tuple(notes)


class _Cache:
    """Figures and strongest pictures of every feature, one shard in memory at a time."""

    def __init__(
        self,
        shards: Sequence[tuple[int, int, Path]],
        pictures: Sequence[Path],
        grid: int,
        top: int,
        width: int,
    ) -> None:
        self.shards, self.pictures, self.base = shards, pictures, grid * grid
        self.top, self.width = top, width
        self.fired = np.zeros(width, np.int64)
        self.samples = np.zeros(width, np.int64)
        self.maximum = np.zeros(width, np.float32)
        self.count = len(pictures)
        self.exemplars: list[NewExemplar] = []

    def read(self) -> tuple[list[FeatureFigures], list[NewExemplar]]:
        """Everything."""
        for _, _, path in self.shards:
            self._shard(*_loaded(path))
        density = self.fired / max(self.count * self.base, 1)
        return [self._figures(i, float(density[i])) for i in range(self.width)], self.exemplars

    def _shard(self, locations: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        if not len(values):
            return
        self.count = max(self.count, int(locations[:, 0].max()) + 1)
        base = (locations[:, 1] < self.base) & (values > 0)
        locations, values = locations[base], values[base]
        if len(values) and int(locations[:, 2].max()) >= self.width:
            raise AtlasError(
                f"The cache holds feature {int(locations[:, 2].max())} of a dictionary of "
                f"{self.width}: give its --width."
            )
        order = np.lexsort((locations[:, 1], locations[:, 0], locations[:, 2]))
        locations, values = locations[order], values[order]
        features, starts = np.unique(locations[:, 2], return_index=True)
        for feature, start, stop in zip(features, starts, [*starts[1:], len(values)], strict=True):
            run = slice(int(start), int(stop))
            self._feature(int(feature), locations[run, 0], locations[run, 1], values[run])

    def _feature(
        self,
        index: int,
        picture: NDArray[np.int64],
        token: NDArray[np.int64],
        value: NDArray[np.float32],
    ) -> None:
        self.fired[index] += len(value)
        self.maximum[index] = max(float(self.maximum[index]), float(value.max()))
        seen, starts = np.unique(picture, return_index=True)
        self.samples[index] += len(seen)
        total = np.add.reduceat(value, starts)  # the mean over all base tokens, times their number
        ends = np.append(starts[1:], len(value))
        for rank, place in enumerate(np.argsort(-total, kind="stable")[: self.top].tolist()):
            row = int(seen[place])
            if row >= len(self.pictures):
                continue
            run = slice(int(starts[place]), int(ends[place]))
            peak = float(value[run].max())
            share = int(10 * peak / float(self.maximum[index]))
            packed = pack_activations(token[run].astype(np.int32), value[run])
            self.exemplars.append(NewExemplar(index, row, "top", rank, min(share, 9), peak, packed))

    def _figures(self, index: int, density: float) -> FeatureFigures:
        fired = int(self.fired[index])
        return FeatureFigures(
            index=index,
            alive=fired > 0,
            modality="image" if fired else "none",
            density=density,
            density_text=0.0,
            density_image=density,
            max=float(self.maximum[index]),
            samples=int(self.samples[index]),
            stats={"fired": fired},
        )


def _loaded(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    try:
        arrays = load_file(path)
        locations, values = arrays["locations"], arrays["activations"]
    except (OSError, KeyError, TypeError, SafetensorError) as error:
        raise AtlasError(f"{path} is no shard of a cache, or was cut short ({error}).") from error
    if locations.ndim != 2 or locations.shape != (len(values), 3):
        raise AtlasError(
            f"{path} has locations of shape {locations.shape} for {len(values)} activations."
        )
    return locations.astype(np.int64), values.astype(np.float32)


def _sample(media: Media, path: Path, row: int, grid: int) -> SampleRecord:
    """A picture with its base tokens, each on its own cell."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise AtlasError(f"The picture {path} cannot be read ({error}).") from error
    n = grid * grid
    left, upper = np.meshgrid(np.arange(grid), np.arange(grid))
    cell = np.array([picture.width / grid, picture.height / grid] * 2)
    corner = np.stack([left, upper, left + 1, upper + 1], axis=2).reshape(n, 4) * cell
    layout = TokenLayout(
        np.full(n, _IMAGE, np.int8), np.zeros(n, np.int16), corner.astype(np.float32)
    )
    about = {
        "id": path.name,
        "media": [media.put(picture)],
        "sizes": [[picture.width, picture.height]],
        "geometry": "grid",
        "source": AUTHOR,
        "truth": {},
    }
    nothing = pack_patches(np.zeros((0, n), np.float16))
    return SampleRecord(row, "explain", n, about, [""] * n, pack_layout(layout), nothing)


class _Words:
    """All JSON files of a folder, or one: explanations, labels, scores."""

    def __init__(self, skips: SkipReport) -> None:
        self.skips = skips
        self.module = ""
        self.texts: dict[int, str] = {}
        self.labels: dict[int, str] = {}
        self.scores: list[ImportedScore] = []

    def read(self, path: Path) -> None:
        """All of them; AtlasError where a file is no JSON."""
        for one in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            self._take(one.name, json_file(one))

    def _take(self, file: str, value: Any) -> None:
        if isinstance(value, dict):
            self.labels |= dict(self._named(file, value))
            return
        if not isinstance(value, list):
            self.skips.add(file, "neither a list nor an object")
            return
        for place, item in enumerate(value):
            row = f"{file}[{place}]"
            if isinstance(item, dict) and "feature" in item:
                self._score(row, item)
            elif isinstance(item, dict):
                self.texts |= dict(self._named(row, item))
            else:
                self.skips.add(row, "no JSON object")

    def _named(self, row: str, value: dict[str, Any]) -> Iterator[tuple[int, str]]:
        for key, text in value.items():
            match = _FEATURE.fullmatch(key)
            if match is None or not isinstance(text, str) or not text.strip():
                self.skips.add(row, "no text" if match else "its key names no feature")
                continue
            try:
                index = index_of(match["index"])
            except ValueError as error:
                self.skips.add(row, str(error))
                continue
            self.module = match["module"]
            yield index, clean(text)

    def _score(self, row: str, item: dict[str, Any]) -> None:
        match = _FEATURE.fullmatch(str(item["feature"]))
        if match is None:
            self.skips.add(row, "its key names no feature")
            return
        for name, kind in _SCORES.items():
            if name not in item:
                continue
            try:
                index, value = index_of(match["index"]), number(item[name], -1.0)
            except ValueError as error:
                self.skips.add(row, str(error))
                continue
            if value >= 0:  # −1: it could not explain
                self.scores.append(ImportedScore(index, kind, value, author=AUTHOR))
                if item.get("label"):
                    self.labels.setdefault(index, clean(item["label"]))

    def explanations(self) -> list[ImportedExplanation]:
        """One for each feature with a text; those that say they cannot are abstentions."""
        return [
            ImportedExplanation(
                feature=index,
                description="" if _UNABLE in text.lower() else text,
                label=self.labels.get(index, ""),
                abstained=_UNABLE in text.lower(),
                author=AUTHOR,
                prompt_version="1",
            )
            for index, text in sorted(self.texts.items())
        ]
