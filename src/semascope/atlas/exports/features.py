"""What every export does: go through features in order, and write files whole.

Knows the atlas's records.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from semascope.atlas.atlas import Atlas
from semascope.atlas.records import FeatureDetail, StoredExemplar
from semascope.heat import paint

_WINDOW = 500


def details(
    atlas: Atlas, dictionary: str | int, *, explained_only: bool = False
) -> Iterator[FeatureDetail]:
    """Alive features by index; those with words alone, if asked."""
    where: dict[str, bool] = {"alive": True}
    if explained_only:
        where["explained"] = True
    offset = 0
    while rows := atlas.features(dictionary, where=where, offset=offset, limit=_WINDOW).rows:
        for row in rows:
            yield atlas.feature(dictionary, row.index)
        offset += len(rows)


def strongest(exemplar: StoredExemplar) -> int:
    """The picture on which the feature fires most; the first where it fires on none."""
    seen = np.where(exemplar.sample.image >= 0, exemplar.activations, 0.0)
    return int(exemplar.sample.image[int(seen.argmax())]) if seen.max(initial=0.0) > 0 else 0


def fired(exemplar: StoredExemplar, picture: int = 0) -> list[int]:
    """The tokens of one picture on which the feature fires, those that have a place."""
    here = exemplar.sample.looking_at(picture) & (exemplar.activations > 0)
    here &= ~np.isnan(exemplar.sample.rects).any(axis=1)
    return [int(i) for i in np.flatnonzero(here)]


def heat(exemplar: StoredExemplar, picture: int = 0) -> list[tuple[list[float], float]]:
    """(rectangle in pixels, activation) of the tokens that ``fired`` gives."""
    here = fired(exemplar, picture)
    rects = exemplar.sample.rects[here].astype(float).round(2).tolist()
    values = exemplar.activations[here].astype(float).round(5).tolist()
    return list(zip(rects, values, strict=True))


def painted(exemplar: StoredExemplar, picture: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) activations on one picture, by the rule of ``semascope.heat``; ``size`` in pixels."""
    here = fired(exemplar, picture)
    return paint(exemplar.sample.rects[here], exemplar.activations[here], size)
