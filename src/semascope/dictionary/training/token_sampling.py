"""Which tokens a dictionary is trained on: a rate for each kind, outliers left out, all counted.

Image tokens outnumber text a hundredfold in some corpora, and first tokens can have a hundred times
the usual norm; either would own the dictionary. Kinds are integers here. Knows no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from semascope.dictionary.config import Frozen
from semascope.dictionary.training.batches import ActivationBatch
from semascope.errors import DictionaryError
from semascope.files import read_tensors, write_tensors

Chunks = Callable[[int], ActivationBatch | None]


class TokenSampling(Frozen):
    """What share of which tokens is kept."""

    rates: dict[int, float] = Field(default_factory=dict)
    """Share kept of each kind; kinds not named are kept whole, and 0 leaves one out."""
    outlier: float = Field(default=0.0, ge=0)
    """Leave out tokens whose norm is over so many times their chunk's median; 0 for none."""


def outliers(x: Tensor, times: float) -> Tensor:
    """(N, d) -> (N,) bool: rows whose norm is over so many times the median's; 0 finds none."""
    if not times or not len(x):
        return torch.zeros(len(x), dtype=torch.bool)
    norm = torch.linalg.vector_norm(x.float(), dim=1).cpu()
    far: Tensor = norm > times * norm.median()
    return far


class SampledChunks:
    """Numbered chunks, thinned; the same tokens are kept at every call.

    ``counts`` says, by kind, how many were ``seen``, ``kept`` and ``outlier`` so far.
    """

    def __init__(self, chunk: Chunks, sampling: TokenSampling, *, seed: int = 0) -> None:
        wrong = {kind: r for kind, r in sampling.rates.items() if not 0 <= r <= 1}
        if wrong:
            raise DictionaryError(f"A sampling rate lies between 0 and 1, not {wrong}.")
        self._chunk = chunk
        self._sampling = sampling
        self._seed = seed
        self.counts: dict[str, Counter[int]] = {n: Counter() for n in ("seen", "kept", "outlier")}

    def __call__(self, number: int) -> ActivationBatch | None:
        """The tokens of a chunk that are kept, or None past the last chunk."""
        batch = self._chunk(number)
        if batch is None:
            return None
        batch = batch.kept()
        self._count("seen", batch.kind)
        far = outliers(batch.x, self._sampling.outlier)
        self._count("outlier", batch.kind[far])
        rate = torch.ones(len(batch.x))
        for kind, share in self._sampling.rates.items():
            rate[batch.kind == kind] = share
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        keep = (torch.rand(len(batch.x), generator=generator) < rate) & ~far
        self._count("kept", batch.kind[keep])
        return batch.rows(keep)

    def _count(self, name: str, kinds: Tensor) -> None:
        self.counts[name].update(Counter(kinds.tolist()))


class CachedChunks:
    """Numbered chunks kept on disk once made, so that a second pass needs no model.

    Activations are stored as they come; halve them with ``half`` where bfloat16 is enough.
    """

    def __init__(self, chunk: Chunks, folder: Path | str, *, half: bool = False) -> None:
        self._chunk = chunk
        self._folder = Path(folder)
        self._half = half

    def __call__(self, number: int) -> ActivationBatch | None:
        """The chunk, from disk where it stands."""
        path = self._folder / f"chunk-{number:07d}.safetensors"
        if path.exists():
            tensors, _ = read_tensors(path)
            target = tensors.get("target")
            return ActivationBatch(
                tensors["x"].float(), tensors["kind"], None if target is None else target.float()
            )
        batch = self._chunk(number)
        if batch is None:
            return None
        tensors = {"x": batch.x, "kind": batch.kind}
        if batch.target is not None:
            tensors["target"] = batch.target
        if self._half:
            tensors = {n: t.bfloat16() if n != "kind" else t for n, t in tensors.items()}
        write_tensors(path, tensors)
        if not self._half:
            return batch
        target = tensors["target"].float() if "target" in tensors else None
        return ActivationBatch(tensors["x"].float(), batch.kind, target)
