"""Activations of image tokens as a heat map of the picture that the user gave.

Whole views and tiles are stitched into one map: each token is painted on its own rectangle by the
rule of ``semascope.heat``. Depends on token maps only, not on features or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semascope.errors import GeometryUnknown
from semascope.heat import paint
from semascope.subject.types import PictureMap, looking_at


class LocatedTokens(PictureMap, Protocol):
    """Where tokens look: a ``TokenMap`` is one, and so is a sample kept as evidence."""

    @property
    def rects(self) -> NDArray[np.float32]:
        """(T, 4) left, top, right, bottom in pixels; NaN where none."""
        ...

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """(width, height) of each picture."""
        ...


def heat(
    where: LocatedTokens, activations: NDArray[np.floating], *, image: int = 0
) -> NDArray[np.float32]:
    """(H, W) the activation at every pixel of one picture, 0 where no token looks or fires.

    ``activations`` is (T,), signed or not, in any unit.

    Raises:
        GeometryUnknown: the subject's family has no geometry adapter.
    """
    geometry = getattr(where, "geometry", "known")
    if geometry != "known":
        raise GeometryUnknown(geometry)
    placed = looking_at(where, image) & ~np.isnan(where.rects[:, 0])  # (T,)
    return paint(where.rects[placed], activations[placed], where.sizes[image])
