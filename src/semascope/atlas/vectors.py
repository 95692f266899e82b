"""Vectors of descriptions: exact nearest neighbours by one product over a mapped matrix.

131,072 × 384 floats are 200 MB and one product; no approximate index is worth its errors at
that size. Knows matrices; knows neither words nor features but by their numbers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semascope.errors import AtlasError

_BLOCK = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class NearestRows:
    """Nearest rows, nearest first."""

    index: NDArray[np.int64]
    """(k,) numbers of features."""
    cosine: NDArray[np.float32]
    """(k,)"""


class VectorIndex:
    """(n, d) unit rows with the numbers of the features that they belong to, in a folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.about = json.loads((self.folder / "about.json").read_text())
            self.index: NDArray[np.int64] = np.load(self.folder / self.about["index"])
            self.rows: NDArray[np.float32] = np.load(
                self.folder / self.about["rows"], mmap_mode="r"
            )
        except (OSError, ValueError, KeyError) as error:
            raise AtlasError(
                f"No vectors in {self.folder}: run `semascope explain` first ({error})."
            ) from error

    @property
    def embedder(self) -> str:
        """Name of what made the vectors."""
        return str(self.about["embedder"])

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def write(
        cls,
        folder: Path | str,
        index: NDArray[np.int64],
        rows: NDArray[np.float32],
        *,
        embedder: str,
    ) -> VectorIndex:
        """Replace the vectors of a folder, whole; rows are brought to unit length."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if len(index) != len(rows) or rows.ndim != 2:
            raise AtlasError(f"{len(index)} features and vectors of shape {rows.shape}.")
        if not np.isfinite(rows).all():
            raise AtlasError(f"The embedder {embedder} gave NaN or infinity.")
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = (rows / np.where(length > 0, length, 1)).astype(np.float32)
        # New names for new data: a reader that has the old files mapped keeps them.
        stamp = os.urandom(6).hex()
        names = {"index": f"index-{stamp}.npy", "rows": f"rows-{stamp}.npy"}
        np.save(folder / names["index"], index.astype(np.int64))
        np.save(folder / names["rows"], unit)
        temporary = folder / f".about-{stamp}.tmp"
        temporary.write_text(json.dumps({"embedder": embedder, "dim": rows.shape[1]} | names))
        temporary.replace(folder / "about.json")
        for path in folder.glob("*.npy"):
            if path.name not in names.values():
                path.unlink(missing_ok=True)
        return cls(folder)

    def search(
        self, vector: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None
    ) -> NearestRows:
        """The k rows nearest to ``vector`` (d,) by cosine, exactly; ties go to the lower number.

        ``mask`` (n,) leaves out the rows where it is False. Raises AtlasError on a vector of
        another size.
        """
        vector = np.asarray(vector, np.float32).reshape(-1)
        if len(vector) != self.rows.shape[1]:
            raise AtlasError(
                f"The vectors were made by {self.embedder} with {self.rows.shape[1]} numbers "
                f"each, the query has {len(vector)}: search with the same embedder."
            )
        length = float(np.linalg.norm(vector))
        unit = vector / length if length else vector
        cosine = np.empty(len(self), np.float32)
        for first in range(0, len(self), _BLOCK):
            cosine[first : first + _BLOCK] = self.rows[first : first + _BLOCK] @ unit
        allowed = np.flatnonzero(mask) if mask is not None else np.arange(len(self))
        k = min(k, len(allowed))
        if k < 1:
            return NearestRows(np.zeros(0, np.int64), np.zeros(0, np.float32))
        some = cosine[allowed]
        edge = np.partition(some, len(some) - k)[len(some) - k]
        close = allowed[some >= edge]  # with ties, perhaps more than k
        order = np.lexsort((self.index[close], -cosine[close]))[:k]
        return NearestRows(self.index[close[order]], cosine[close[order]])
