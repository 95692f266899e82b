"""From rows of a corpus to hits: which feature fired on which token, how strongly.

Batches are a function of row numbers alone, never of the shard or of where a run was resumed:
rounding in the model depends on what shares a batch, and the result must not. A dictionary of the
vision side has the tokens that a patch stands for, one of the language model has all. Knows subject
and dictionary by their protocols; keeps nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.corpus.sample import Corpus, Sample, kind_of
from semascope.dictionary.types import Dictionary
from semascope.errors import NotFinite, SubjectError
from semascope.evidence.gathering.hashing import ContentHash, content_hash
from semascope.evidence.gathering.options import EvidenceOptions
from semascope.evidence.gathering.tally import KINDS, Hits, SampleRows
from semascope.subject.patches import is_pictured, laid_out
from semascope.subject.protocols import ActivationSource
from semascope.subject.readable import REAL, read_kinds, without_sinks
from semascope.subject.types import Batch, Kind

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class ReadBatch:
    """One batch after the model: who was in it, and what fired, by dictionary."""

    samples: list[tuple[int, Sample]]
    names: list[ContentHash]
    batch: Batch
    rows: SampleRows
    hits: dict[str, Hits]
    tokens: dict[str, NDArray[np.int64]]
    """(KINDS,) tokens looked at, by kind, for each dictionary: not all sites have all tokens."""


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


def encoded(
    subject: ActivationSource, samples: Sequence[Sample], max_tokens: int
) -> Iterator[Batch]:
    """One batch; where the subject refuses it, one for each sample that it takes.

    For passes beside a gathering, which has counted and named those that are refused.
    """
    try:
        batch: Batch = subject.encode(samples, max_tokens=max_tokens)
    except SubjectError:
        if len(samples) > 1:
            for one in samples:
                yield from encoded(subject, [one], max_tokens)
        return
    yield batch


class EvidenceReader:
    """Runs batches through the subject and its dictionaries."""

    def __init__(
        self,
        subject: ActivationSource,
        dictionaries: Mapping[str, Dictionary],
        options: EvidenceOptions,
    ):
        self.subject, self.dictionaries, self.options = subject, dictionaries, options
        self.warned: set[str] = set()
        self.sites = list(dict.fromkeys(d.site for d in dictionaries.values()))

    def __call__(self, samples: list[tuple[int, Sample]]) -> list[ReadBatch]:
        """One Read; where the subject refuses the batch, one for each sample that it takes."""
        try:
            batch = self.subject.encode([s for _, s in samples], max_tokens=self.options.max_tokens)
        except SubjectError as error:
            if len(samples) > 1:
                return [read for one in samples for read in self([one])]
            row, sample = samples[0]
            kind = kind_of(str(error), sample.id)
            if kind not in self.warned:
                self.warned.add(kind)
                log.warning(
                    "row %d (%s) was skipped (others like it are counted, not named): %s",
                    row,
                    sample.id,
                    error,
                )
            return []
        return [self._read(samples, batch)]

    @torch.inference_mode()
    def _read(self, samples: list[tuple[int, Sample]], batch: Batch) -> ReadBatch:
        found = self.subject.run(batch, self.sites)
        laid = {site: laid_out(site, found[site], batch) for site in self.sites}
        names = [content_hash(s) for _, s in samples]
        places = self._places(batch, laid)
        taken: dict[str, Tensor] = {}
        hits, tokens = {}, {}
        for key, dictionary in self.dictionaries.items():
            x, place = laid[dictionary.site][0], places[dictionary.site]  # (B, T, d)
            if dictionary.site not in taken:
                taken[dictionary.site] = x[torch.from_numpy(place.mask).to(x.device)].float()
            hits[key] = _hits(dictionary, taken[dictionary.site], place, samples)
            tokens[key] = np.bincount(place.kind, minlength=KINDS).astype(np.int64)
        return ReadBatch(
            samples=samples,
            names=names,
            batch=batch,
            rows=SampleRows(
                row=np.array([r for r, _ in samples], np.int64),
                content=np.array([n.content for n in names], np.uint64),
                picture=np.array([n.picture for n in names], np.uint64),
            ),
            hits=hits,
            tokens=tokens,
        )

    def _places(
        self, batch: Batch, laid: Mapping[str, tuple[Tensor, Tensor | None]]
    ) -> dict[str, ReadTokens]:
        """The tokens looked at, by site: one set of them for the language model's sites, and one
        for those of the vision side, which have fewer."""
        out: dict[str, ReadTokens] = {}
        for pictured in (False, True):
            here = {site: laid[site] for site in self.sites if is_pictured(site) == pictured}
            if not here:
                continue
            place = ReadTokens.of(batch, self.options, next(iter(here)))
            place = place.at(self._without_sinks([x for x, _ in here.values()], place.mask))
            out |= dict.fromkeys(here, place)
        return out

    def _without_sinks(
        self, activations: Sequence[Tensor], mask: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """(B, T): the tokens of ``mask`` that are no sinks at any of these sites, (B, T, d)."""
        by_token = [x for x in activations if tuple(x.shape[:2]) == mask.shape]
        if not by_token or not self.options.outlier:
            return mask
        return without_sinks(by_token, torch.from_numpy(mask), self.options.outlier).numpy()


@dataclass(slots=True, eq=False)
class ReadTokens:
    """The tokens of a batch that are looked at, in row-major order."""

    mask: NDArray[np.bool_]
    """(B, T)"""
    sample: NDArray[np.int64]
    position: NDArray[np.int32]
    """Counted without padding."""
    kind: NDArray[np.int8]

    @classmethod
    def of(cls, batch: Batch, options: EvidenceOptions, site: str = "") -> ReadTokens:
        """The tokens of a batch that a dictionary of ``site`` reads."""
        kinds = np.stack([m.kinds for m in batch.maps])  # (B, T)
        position = np.cumsum(kinds != Kind.PAD, axis=1) - 1
        wanted = [kind for kind in REAL if kind not in options.exclude]
        read = [
            read_kinds(m, site, kinds=wanted, skip_first=options.skip_first) for m in batch.maps
        ]
        mask = np.stack(read) != 0
        sample = np.nonzero(mask)[0]
        return cls(mask, sample, position[mask].astype(np.int32), kinds[mask])

    def at(self, mask: NDArray[np.bool_]) -> ReadTokens:
        """Only the tokens of a (B, T) mask that lies within this one's."""
        keep = mask[self.mask]
        return ReadTokens(mask, self.sample[keep], self.position[keep], self.kind[keep])


def _hits(
    dictionary: Dictionary, x: Tensor, place: ReadTokens, samples: Sequence[tuple[int, Sample]]
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
