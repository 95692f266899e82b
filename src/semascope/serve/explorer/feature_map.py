"""The map of features, packed for the page: arrays as base64, labels by zoom.

Knows the atlas's columns; draws nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.atlas import Atlas
from semascope.errors import ServeError
from semascope.serve.schema.responses import MapLabel, MapRecord

NOT_DRAWN = (
    "No map was drawn of this dictionary yet: run semascope demo, which draws one at its end."
)
FIRST = 8
"""Labels that are shown from the farthest zoom; each further level has three times as many."""
_FULL = 65_535


def map_of(atlas: Atlas, dictionary: str = "") -> MapRecord:
    """The map of one dictionary, of the first where none is named; empty where none was drawn."""
    every = atlas.dictionaries()
    if not dictionary and not every:
        return MapRecord(dictionary="", note=NOT_DRAWN)
    key = atlas.dictionary(dictionary).key if dictionary else every[0].key
    found = atlas.map(key)
    if not len(found.index):
        return MapRecord(dictionary=key, note=NOT_DRAWN)
    told = atlas.columns(key, ("index", "density", "category"))
    density = {index: value for index, value, _ in told}
    category = {index: name or "" for index, _, name in told}
    ids = found.index.tolist()
    kinds = [category.get(i, "") for i in ids]
    names = in_order(set(kinds))[:256]
    place = {name: n for n, name in enumerate(names)}
    return MapRecord(
        dictionary=key,
        count=len(ids),
        index=packed(found.index.astype("<i4")),
        x=packed(across(found.x)),
        y=packed(across(found.y)),
        category=packed(np.array([place.get(k, len(names) - 1) for k in kinds], np.uint8)),
        size=packed(sizes(np.array([density.get(i) or 0.0 for i in ids], np.float64))),
        categories=names,
        labels=labels(found.regions),
    )


def in_order(categories: Collection[str]) -> list[str]:
    """Categories as a legend lists them: in alphabetical order, "other" and no words ("") last."""
    return sorted(categories, key=lambda name: (name in ("", "other"), name == "", name))


def packed(values: NDArray[Any]) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def across(places: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """(n,) places within −1 … 1 as 0 … 65535."""
    if not np.isfinite(places).all():
        raise ServeError("The map holds places that are no numbers: draw it again.")
    scaled = (np.clip(places.astype(np.float64), -1, 1) + 1) / 2 * _FULL
    return np.rint(scaled).astype("<u2")


def sizes(density: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(n,) logarithms of densities from 1e-6 to 1, as 0 … 255."""
    logs = np.log10(np.clip(density, 1e-6, 1.0))
    return np.rint((logs + 6) / 6 * 255).astype(np.uint8)


def labels(regions: Sequence[Mapping[str, Any]]) -> list[MapLabel]:
    """Names of regions, the largest first; how many come before one says from which zoom."""
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
    """0 for the first eight, 1 for the next twenty-four, and so on."""
    reached, found = FIRST, 0
    while place >= reached:
        reached, found = reached * 4, found + 1
    return found
