"""What features are called, and which are near in meaning: the atlas and its vectors.

Both are opened once; no model is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semascope.atlas import Atlas, Embedder, VectorIndex, embedder, nearest_features
from semascope.atlas.records import FeatureListRow
from semascope.atlas.search import Match
from semascope.workspace import Workspace

Feature = tuple[str, int]
ROWS = 8_192
"""Most rows that are cached."""
FEWEST = 6
"""Fewest held-out samples of a score by which a feature is chosen."""


class Embed(Protocol):
    """Sentences to unit vectors."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim)."""
        ...


class FeatureIndex:
    """The explanations of one workspace's features."""

    def __init__(self, workspace: Workspace, atlas: Atlas) -> None:
        self.workspace = workspace
        self.atlas = atlas
        self._vectors: dict[str, VectorIndex] = {}
        self._embedders: dict[str, Embedder] = {}
        self._loading = threading.Lock()
        self._rows: dict[Feature, FeatureListRow] = {}
        self._as_of: tuple[tuple[int, int], ...] = ()
        self._reading = threading.Lock()

    def rows(self, features: Iterable[Feature]) -> dict[Feature, FeatureListRow]:
        """Rows of these features; features that the atlas lacks are missing.

        Rows are cached until the atlas is written to: a click needs some hundred, and most of them
        were read for the token before.
        """
        wanted = list(features)
        with self._reading:
            if (written := self._written()) != self._as_of or len(self._rows) > ROWS:
                self._rows.clear()
                self._as_of = written
            by_key: dict[str, list[int]] = {}
            for key, index in wanted:
                if (key, index) not in self._rows:
                    by_key.setdefault(key, []).append(index)
            for key, new in by_key.items():
                for row in self.atlas.features(key, where={"ids": new}, limit=len(new)).rows:
                    self._rows[row.dictionary, row.index] = row
            return {feature: self._rows[feature] for feature in wanted if feature in self._rows}

    def _written(self) -> tuple[tuple[int, int], ...]:
        """When the atlas's files were last written, and their sizes."""
        files = (self.workspace.atlas, self.workspace.atlas.with_name("atlas.db-wal"))
        known = [file.stat() for file in files if file.exists()]
        return tuple((one.st_mtime_ns, one.st_size) for one in known)

    def best_explained(self) -> FeatureListRow | None:
        """The object feature whose explanation is best by IoU and detection, for tours.

        Where the truth of its pictures is known, its label names an object in them.
        """
        for dictionary in self.atlas.dictionaries():
            kinds = self.atlas.score_kinds(dictionary.key)
            if not {"iou", "detection"} <= set(kinds):
                continue
            where = {"category": "object"}
            rows = self.atlas.features(dictionary.key, sort="-iou", where=where, limit=60).rows
            good = [r for r in rows if " or " not in r.label and _fit(r) > 0]
            good.sort(key=_fit, reverse=True)
            named = (row for row in good if self._is_named(row))
            if good:
                return next(named, good[0])
        return None

    def _is_named(self, row: FeatureListRow) -> bool:
        detail = self.atlas.feature(row.dictionary, row.index)
        objects = [o for e in detail.exemplars for o in e.sample.truth.get("objects", ())]
        return not objects or row.label.lower() in {str(o.get("name")).lower() for o in objects}

    def has_vectors(self, key: str) -> bool:
        """Whether a dictionary has sentence vectors."""
        return (self.workspace.vectors / key / "about.json").is_file()

    def vectors(self, key: str) -> VectorIndex:
        """A dictionary's sentence vectors. Raises AtlasError where there are none."""
        if key not in self._vectors:
            self.atlas.dictionary(key)  # only names that the atlas has may name a folder
            self._vectors[key] = VectorIndex(self.workspace.vectors / key)
        return self._vectors[key]

    def embedder(self, name: str = "") -> Embedder:
        """The sentence embedder of a name, loaded once."""
        with self._loading:  # so that two searches at once load it once
            if name not in self._embedders:
                self._embedders[name] = embedder(name)
            return self._embedders[name]

    def warm(self) -> None:
        """Load the embedders that the first search needs."""
        for row in self.atlas.dictionaries():
            if self.has_vectors(row.key):
                self.embedder(self.vectors(row.key).embedder)

    def nearest(self, query: str, k: int, dictionary: str = "") -> list[Match]:
        """The k features nearest in meaning, over one dictionary or all that have vectors."""
        keys = [dictionary] if dictionary else [d.key for d in self.atlas.dictionaries()]
        if not dictionary and any(self.has_vectors(key) for key in keys):
            keys = [key for key in keys if self.has_vectors(key)]
        vectors = {key: self.vectors(key) for key in keys}
        return nearest_features(self.atlas, vectors, query, k, embed=self.embedder)

    def described(
        self, features: Iterable[Feature], known: Mapping[Feature, FeatureListRow] | None = None
    ) -> tuple[dict[Feature, FeatureListRow], Embed]:
        """Rows of the features that have explanations, and a function that embeds those.

        It takes vectors from the index where it has them, so that grouping some hundred features
        does not wait for the sentence model. ``known``: rows that were read already.
        """
        wanted = list(features)
        every = self.rows(wanted) if known is None else known
        rows = {
            feature: every[feature]
            for feature in wanted
            if feature in every and every[feature].description and not every[feature].abstained
        }
        known_vectors: dict[str, NDArray[np.float32]] = {}
        names = set()
        for key in {key for key, _ in rows}:
            if self.has_vectors(key):
                names.add(self.vectors(key).embedder)
                known_vectors |= self._indexed(key, rows)
        if len(names) > 1:  # vectors of different embedders cannot be compared
            known_vectors, names = {}, set()
        return rows, self._embed(known_vectors, next(iter(names), ""))

    def _indexed(
        self, key: str, rows: Mapping[Feature, FeatureListRow]
    ) -> dict[str, NDArray[np.float32]]:
        vectors = self.vectors(key)
        wanted = [row for (dictionary, _), row in rows.items() if dictionary == key]
        order = np.argsort(vectors.index, kind="stable")
        numbers = np.array([row.index for row in wanted], dtype=np.int64)
        places = np.searchsorted(vectors.index, numbers, sorter=order)
        vector_of = {}
        for row, place in zip(wanted, places.tolist(), strict=True):
            if place < len(order) and vectors.index[order[place]] == row.index:
                vector_of[row.description] = vectors.rows[order[place]]
        return vector_of

    def _embed(self, known_vectors: Mapping[str, NDArray[np.float32]], name: str) -> Embed:
        def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            missing = list(dict.fromkeys(t for t in texts if t not in known_vectors))
            made: dict[str, Any] = dict(known_vectors)
            if missing:
                made |= dict(zip(missing, self.embedder(name)(missing), strict=True))
            return np.stack([made[t] for t in texts]).astype(np.float32)

        return embed


def _fit(row: FeatureListRow) -> float:
    """IoU × detection AUROC; 0 where one is missing or was measured on few samples."""
    iou, detection = row.scores.get("iou"), row.scores.get("detection")
    if iou is None or detection is None or (iou.n or 0) < FEWEST:
        return 0.0
    return iou.value * detection.value
