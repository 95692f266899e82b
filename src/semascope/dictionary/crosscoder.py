"""Crosscoders (Lindsey et al. 2024): one dictionary read from, and written to, several sites.

A crosscoder over sites l has z = σ(Σ_l W_enc^l x^l + b) and x̂^l = z W_dec^l + b^l, which is a
coder of the sites' activations laid side by side. Here is what lays them so, and what reads a
feature's share of each site back. Knows tensors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.training.batches import ActivationBatch, Resumable
from semascope.dictionary.training.loop import ManySource
from semascope.dictionary.types import Codes
from semascope.errors import DictionaryError


class CrossSource:
    """A source of several sites' activations side by side, each first scaled as told.

    Args:
        source: batches of several sites from the same tokens.
        sites: which, in which order.
        scales: factor of each site; sites of larger norm would otherwise own the loss.
    """

    def __init__(
        self, source: ManySource, sites: Sequence[str], scales: Sequence[float] = ()
    ) -> None:
        if len(sites) < 2:
            raise DictionaryError("A crosscoder reads at least two sites.")
        self._source = source
        self._sites = tuple(sites)
        self._scales = tuple(scales) or (1.0,) * len(sites)

    def batches(self, start_step: int) -> Iterator[ActivationBatch]:
        """(N, Σ d_l) batches."""
        for batch in self._source.batches(start_step):
            missing = [site for site in self._sites if site not in batch]
            if missing:
                raise DictionaryError(
                    f"The source gives no activations of {missing}; it has {sorted(batch)}."
                )
            parts = [batch[s].x * f for s, f in zip(self._sites, self._scales, strict=True)]
            yield ActivationBatch(torch.cat(parts, dim=1), batch[self._sites[0]].kind)

    def position(self) -> Mapping[str, int]:
        """The source's note, where it keeps one."""
        return self._source.position() if isinstance(self._source, Resumable) else {}

    def restore(self, position: Mapping[str, int]) -> None:
        """Passed on."""
        if isinstance(self._source, Resumable):
            self._source.restore(position)


def site_parts(coder: SparseCoder, x: Tensor) -> tuple[Tensor, ...]:
    """(N, Σ d_l) -> (N, d_l) of each site."""
    return tuple(torch.split(x, list(_parts(coder)), dim=1))


@torch.no_grad()
def site_norms(coder: SparseCoder) -> Tensor:
    """(F, sites): norm of each feature's decoder row at each site.

    Their shares tell features that live at one site (or in one of two models) from shared ones.
    """
    rows = torch.split(coder.W_dec.detach(), list(_parts(coder)), dim=1)
    return torch.stack([part.norm(dim=1) for part in rows], dim=1)


class CrosscoderAtSite:
    """A crosscoder as one of its sites sees it: reads all of them, gives back that one.

    Fits the ``Dictionary`` protocol, so that what measures a dictionary measures it.
    """

    def __init__(self, coder: SparseCoder, number: int) -> None:
        before = sum(_parts(coder)[:number])
        self._coder, self._columns = coder, slice(before, before + _parts(coder)[number])
        self.name, self.site, self.site_out = coder.name, coder.site, ""
        self.width, self.d_in = coder.width, coder.d_in

    def encode(self, x: Tensor) -> Codes:
        """(N, Σ d_l) -> codes."""
        return self._coder.encode(x)

    def decode(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        """Codes -> (N, d_l)."""
        return self._coder.decode(codes, x)[:, self._columns]

    def directions(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d_l)."""
        return self._coder.directions(ids)[:, self._columns]

    def batch(self, batch: ActivationBatch) -> ActivationBatch:
        """A batch of all sites, with this one as its target."""
        return batch._replace(target=batch.x[:, self._columns])


def _parts(coder: SparseCoder) -> tuple[int, ...]:
    if not coder.cfg.parts:
        raise DictionaryError(f"Dictionary {coder.name!r} is no crosscoder: it has one site.")
    return coder.cfg.parts
