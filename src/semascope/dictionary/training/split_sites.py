"""Several sites in one stream: activations that lie side by side, dealt out by site.

``Wired`` makes of them what each dictionary reads: one site, several side by side (a crosscoder),
or one with another as its target (a transcoder). One shuffled source of (N, Σ d) batches serves
every site, so that all sites see the same tokens in the same order. Where several processes train
together, all make the same stream, and each learns from its share of every batch. Knows tensors
only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import torch

from semascope.dictionary.training.batches import ActivationBatch, Resumable, Source
from semascope.dictionary.training.distributed import ProcessGroup


class Wires(NamedTuple):
    """What one dictionary reads and writes."""

    reads: tuple[str, ...]
    """Sites; several are laid side by side."""
    writes: str = ""
    """The site that it reconstructs, where that is another."""


def wired(batches: Mapping[str, ActivationBatch], wires: Wires) -> ActivationBatch:
    """The batch of one dictionary from those of the same tokens at each site."""
    first = batches[wires.reads[0]]
    if len(wires.reads) > 1:
        x = torch.cat([batches[site].x for site in wires.reads], dim=1)
        first = ActivationBatch(x, first.kind)
    return first._replace(target=batches[wires.writes].x) if wires.writes else first


class Wired:
    """Batches by name of what reads them, from batches by site."""

    def __init__(self, source: SplitSites, wires: Mapping[str, Wires]) -> None:
        self._source, self._wires = source, dict(wires)
        self.common = source.common

    def batches(self, start_step: int) -> Iterator[Mapping[str, ActivationBatch]]:
        """From step ``start_step`` on."""
        for batch in self._source.batches(start_step):
            yield {name: wired(batch, wires) for name, wires in self._wires.items()}

    def position(self) -> Mapping[str, int]:
        """The source's note."""
        return self._source.position()

    def restore(self, position: Mapping[str, int]) -> None:
        """Passed on."""
        self._source.restore(position)


class SplitSites:
    """Batches by site from a source of activations side by side.

    Args:
        source: (N, Σ d) batches, the same in every process.
        widths: d of each site, in the order in which they lie.
        share: give each process its rows of a batch; otherwise all of them.
        only: kinds of tokens that a site has, where it has not all: its batches hold those alone,
            and may hold none.
    """

    common = True
    """Every process makes the same stream, so one note of its place serves all."""

    def __init__(
        self,
        source: Source,
        widths: Mapping[str, int],
        *,
        share: bool = True,
        only: Mapping[str, Collection[int]] | None = None,
    ) -> None:
        self._source, self._widths, self._share = source, dict(widths), share
        self._only = dict(only or {})

    def batches(self, start_step: int) -> Iterator[Mapping[str, ActivationBatch]]:
        """The batches from step ``start_step`` on, by site."""
        for batch in self._source.batches(start_step):
            if len(self._widths) == 1:
                yield {site: self._mine(site, batch) for site in self._widths}
                continue
            parts = torch.split(batch.x, list(self._widths.values()), dim=1)
            yield {
                site: self._mine(site, ActivationBatch(part, batch.kind))
                for site, part in zip(self._widths, parts, strict=True)
            }

    def _mine(self, site: str, batch: ActivationBatch) -> ActivationBatch:
        """The tokens that a site has, and of those this process's share."""
        if site in self._only:
            kinds = torch.tensor(sorted(self._only[site]), dtype=batch.kind.dtype)
            batch = batch.rows(torch.isin(batch.kind, kinds.to(batch.kind.device)))
        ranks = ProcessGroup()
        if self._share and ranks.size > 1:
            total = len(batch.x) if len(batch.x) >= ranks.size else 0  # all learn, or none
            first, stop = (total * r // ranks.size for r in (ranks.rank, ranks.rank + 1))
            batch = batch.rows(slice(first, stop))
        return batch._replace(x=batch.x.contiguous())

    def position(self) -> Mapping[str, int]:
        """The source's note, where it keeps one."""
        return self._source.position() if isinstance(self._source, Resumable) else {}

    def restore(self, position: Mapping[str, int]) -> None:
        """Passed on."""
        if isinstance(self._source, Resumable):
            self._source.restore(position)
