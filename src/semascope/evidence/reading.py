"""From rows of a corpus to hits: which feature fired on which token, how strongly.

Batches are a function of row numbers alone, never of the shard or of where a run was resumed:
rounding in the model depends on what shares a batch, and the result must not. Knows subject and
dictionary by their protocols; keeps nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.corpus.sample import Corpus, Sample
from semascope.dictionary.types import Dictionary
from semascope.errors import NotFinite, SubjectError
from semascope.evidence.hashing import ContentHash, content_hash
from semascope.evidence.plan import Options
from semascope.evidence.tally import KINDS, Hits, Rows
from semascope.subject.sinks import sinks
from semascope.subject.types import Batch, Kind

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Read:
    """One batch after the model: who was in it, and what fired, by dictionary."""

    samples: list[tuple[int, Sample]]
    names: list[ContentHash]
    batch: Batch
    rows: Rows
    hits: dict[str, Hits]
    tokens: NDArray[np.int64]
    """(KINDS,) tokens looked at, by kind."""


def chunks(corpus: Corpus, start: int, stop: int, size: int) -> Iterator[list[tuple[int, Sample]]]:
    """Good rows of [start, stop), ``size`` row numbers at a time."""
    for first in range(start, stop, size):
        yield list(corpus.read(first, min(first + size, stop)))


def batches(chunk: Sequence[tuple[int, Sample]], size: int) -> Iterator[list[tuple[int, Sample]]]:
    """Samples of like length together: pictures count most, then words."""
    order = sorted(chunk, key=lambda rs: (len(rs[1].pictures), _length(rs[1]), rs[0]))
    for first in range(0, len(order), size):
        yield order[first : first + size]


def _length(sample: Sample) -> int:
    return len(sample.text) + sum(len(t.text) for t in sample.turns)


class Reader:
    """Runs batches through the subject and its dictionaries."""

    def __init__(self, subject: Any, dictionaries: Mapping[str, Dictionary], options: Options):
        self.subject, self.dictionaries, self.options = subject, dictionaries, options
        self.sites = list(dict.fromkeys(d.site for d in dictionaries.values()))

    def __call__(self, samples: list[tuple[int, Sample]]) -> list[Read]:
        """One Read; where the subject refuses the batch, one for each sample that it takes."""
        try:
            batch = self.subject.encode([s for _, s in samples], max_tokens=self.options.max_tokens)
        except SubjectError as error:
            if len(samples) > 1:
                return [read for one in samples for read in self([one])]
            row, sample = samples[0]
            log.warning("row %d (%s) was skipped: %s", row, sample.id, error)
            return []
        return [self._read(samples, batch)]

    @torch.inference_mode()
    def _read(self, samples: list[tuple[int, Sample]], batch: Batch) -> Read:
        found = self.subject.run(batch, self.sites)  # (B, T, d) by site
        names = [content_hash(s) for _, s in samples]
        place = Places.of(batch, self.options)
        place = place.without(self._sinks(found, place.mask))
        taken: dict[str, Tensor] = {}
        hits = {}
        for key, dictionary in self.dictionaries.items():
            if dictionary.site not in taken:
                x = found[dictionary.site]
                taken[dictionary.site] = x[torch.from_numpy(place.mask).to(x.device)].float()
            hits[key] = _hits(dictionary, taken[dictionary.site], place, samples)
        return Read(
            samples=samples,
            names=names,
            batch=batch,
            rows=Rows(
                row=np.array([r for r, _ in samples], np.int64),
                content=np.array([n.content for n in names], np.uint64),
                picture=np.array([n.picture for n in names], np.uint64),
            ),
            hits=hits,
            tokens=np.bincount(place.kind, minlength=KINDS).astype(np.int64),
        )

    def _sinks(self, found: Mapping[str, Tensor], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(B, T): tokens that are sinks at a site where every token has its own activations."""
        far = np.zeros_like(mask)
        for site in self.sites:
            x = found[site]
            if self.options.outlier and tuple(x.shape[:2]) == mask.shape:
                real = torch.from_numpy(mask).to(x.device)
                far |= sinks(x, real, self.options.outlier).cpu().numpy()
        return far


@dataclass(slots=True, eq=False)
class Places:
    """The tokens of a batch that are looked at, in row-major order."""

    mask: NDArray[np.bool_]
    """(B, T)"""
    sample: NDArray[np.int64]
    position: NDArray[np.int32]
    """Counted without padding."""
    kind: NDArray[np.int8]

    @classmethod
    def of(cls, batch: Batch, options: Options) -> Places:
        kinds = np.stack([m.kinds for m in batch.maps])  # (B, T)
        real = kinds != Kind.PAD
        position = np.cumsum(real, axis=1) - 1
        mask = real & ~np.isin(kinds, options.exclude)
        if options.skip_first:
            mask &= position > 0
        sample = np.nonzero(mask)[0]
        return cls(mask, sample, position[mask].astype(np.int32), kinds[mask])

    def without(self, far: NDArray[np.bool_]) -> Places:
        """The same but for some tokens, (B, T)."""
        if not far.any():
            return self
        keep = ~far[self.mask]
        mask = self.mask & ~far
        return Places(mask, self.sample[keep], self.position[keep], self.kind[keep])


def _hits(
    dictionary: Dictionary, x: Tensor, place: Places, samples: Sequence[tuple[int, Sample]]
) -> Hits:
    codes = dictionary.encode(x)  # (N, k) values and indices
    values = codes.values.float().cpu().numpy()
    indices = codes.indices.cpu().numpy()
    if not np.isfinite(values).all():
        broken = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        row, sample = samples[int(place.sample[broken])]
        raise NotFinite(
            f"{dictionary.site}/{dictionary.name} gives NaN or infinity on row {row} "
            f"({sample.id}); load the subject in float32 or bfloat16, or check the dictionary."
        )
    token, slot = np.nonzero(values > 0)
    return Hits(
        feature=indices[token, slot].astype(np.int64),
        value=values[token, slot],
        sample=place.sample[token],
        position=place.position[token],
        kind=place.kind[token],
    )
