"""The map of features, packed for the page: arrays as base64, labels by zoom."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.atlas import Atlas
from semascope.errors import ServeError
from semascope.serve.schema.responses import MapLabel, MapRecord

NOT_DRAWN = "This dictionary has no map yet: run semascope demo, which draws one at its end."
FIRST = 8
"""Labels shown at the widest zoom; each further level adds three times as many."""
_FULL = 65_535


def map_of(atlas: Atlas, dictionary: str = "") -> MapRecord:
    """The map of a dictionary, by default the first; empty, with a note, where none was drawn."""
    every = atlas.dictionaries()
    if not dictionary and not every:
        return MapRecord(dictionary="", note=NOT_DRAWN)
    key = atlas.dictionary(dictionary).key if dictionary else every[0].key
    feature_map = atlas.map(key)
    if not len(feature_map.index):
        return MapRecord(dictionary=key, note=NOT_DRAWN)
    columns = atlas.columns(key, ("index", "density", "category"))
    density = {index: value for index, value, _ in columns}
    category = {index: name or "" for index, _, name in columns}
    ids = feature_map.index.tolist()
    kinds = [category.get(i, "") for i in ids]
    names = in_order(set(kinds))[:256]
    place = {name: n for n, name in enumerate(names)}
    return MapRecord(
        dictionary=key,
        count=len(ids),
        index=packed(feature_map.index.astype("<i4")),
        x=packed(across(feature_map.x)),
        y=packed(across(feature_map.y)),
        category=packed(np.array([place.get(k, len(names) - 1) for k in kinds], np.uint8)),
        size=packed(sizes(np.array([density.get(i) or 0.0 for i in ids], np.float64))),
        categories=names,
        labels=labels(feature_map.regions),
    )


def in_order(categories: Collection[str]) -> list[str]:
    """Categories in the order of the legend: alphabetical, "other" and no category ("") last."""
    return sorted(categories, key=lambda name: (name in ("", "other"), name == "", name))


def packed(values: NDArray[Any]) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def across(places: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Coordinates within −1 … 1, (n,), as 0 … 65535. ServeError where one is not finite."""
    if not np.isfinite(places).all():
        raise ServeError("The map has coordinates that are not numbers: draw it again.")
    scaled = (np.clip(places.astype(np.float64), -1, 1) + 1) / 2 * _FULL
    return np.rint(scaled).astype("<u2")


def sizes(density: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Logarithms of densities from 1e-6 to 1, (n,), as 0 … 255."""
    logs = np.log10(np.clip(density, 1e-6, 1.0))
    return np.rint((logs + 6) / 6 * 255).astype(np.uint8)


def labels(regions: Sequence[Mapping[str, Any]]) -> list[MapLabel]:
    """Names of regions, largest first; a name's rank decides the zoom from which it is shown."""
    named = sorted((r for r in regions if r.get("label")), key=lambda r: -int(r["features"]))
    return [
        MapLabel(
            text=str(region["label"]),
            x=(float(region["x"]) + 1) / 2,
            y=(float(region["y"]) + 1) / 2,
            level=level(n),
            count=int(region["features"]),
        )
        for n, region in enumerate(named)
    ]


def level(place: int) -> int:
    """Zoom level of a rank: 0 for the first eight, 1 for the next twenty-four, and so on."""
    reached, zoom = FIRST, 0
    while place >= reached:
        reached, zoom = reached * 4, zoom + 1
    return zoom
