"""A small real atlas of drawn features: for what is written down about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from semascope.atlas import (
    Atlas,
    FeatureFigures,
    HashingEmbedder,
    MapLayout,
    MapRegion,
    write_vectors,
)
from semascope.serve.explorer.feature_index import FeatureIndex
from semascope.serve.schema.responses import FeatureRow
from semascope.workspace import Workspace


class DrawnAtlas:
    """An atlas with vectors and a map, in a folder."""

    def __init__(self, folder: Path, key: str, rows: Sequence[FeatureRow]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        space = Workspace(folder)
        self.atlas = Atlas.open(space.atlas)
        self.atlas.add_dictionary(key, model="drawn-subject", width=len(rows))
        self.atlas.write_features(key, map(_figures, rows))
        self.atlas.write_explanations(key, [_said(row) for row in rows if row.label])
        write_vectors(self.atlas, key, space.vectors / key, HashingEmbedder())
        alive = np.array([row.index for row in rows if row.alive], np.int64)
        self.atlas.write_map(key, alive, _places(alive))
        self.feature_index = FeatureIndex(space, self.atlas)


def _figures(row: FeatureRow) -> FeatureFigures:
    density = row.density or 0.0
    return FeatureFigures(
        index=row.index, alive=row.alive, modality=row.modality, density=density,
        density_text=density, density_image=density, max=row.maximum or 0.0,
        samples=int(row.alive), stats={},
    )  # fmt: skip


def _said(row: FeatureRow) -> SimpleNamespace:
    return SimpleNamespace(
        feature=row.index, label=row.label, description=row.description, category=row.category,
        confidence=row.confidence or 0.0, abstained=False, author=row.author, prompt_version="1",
        inputs="", cost={},
    )  # fmt: skip


def _places(alive: np.ndarray[tuple[int], np.dtype[np.int64]]) -> MapLayout:
    """On eight spokes, by their number."""
    angle = alive % 8 * (np.pi / 4)
    far = 0.2 + 0.7 * (alive % 97) / 97
    places = np.stack([far * np.cos(angle), far * np.sin(angle)], axis=1).astype(np.float32)
    region = (alive % 8).astype(np.int32)
    regions = tuple(
        MapRegion(
            f"spoke {n}",
            float(0.5 * np.cos(n * np.pi / 4)),
            float(0.5 * np.sin(n * np.pi / 4)),
            int((region == n).sum()),
        )
        for n in range(8)
    )
    return MapLayout(places, region, regions, "drawn")
