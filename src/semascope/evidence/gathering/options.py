"""What one gathering is: its options, its identity, and which rows belong to which shard.

A gathering's identity is a hash of all that decides its result, so that a run is resumed, or a
shard merged, only into what it is a part of. Knows the protocols of corpus and dictionary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from semascope.corpus.sample import Corpus
from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.gathering.bounded_entries import CELLS
from semascope.subject.protocols import ActivationSource
from semascope.subject.sites import JOIN
from semascope.subject.types import Kind

FORMAT = 1
CHUNK = 8
"""Batches formed at once: their samples are sorted by length, so that little is padding."""
_PROBED = 256
WIDEST = 1 << 22
"""Features of one dictionary, at most: what the numbers that are sorted have room for."""


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """What decides the result, beside subject, corpus and dictionaries."""

    top: int = 24
    """Strongest samples kept of each feature."""
    per_interval: int = 5
    """Samples drawn from each tenth of [0, max]."""
    silent: int = 12
    """Counter-examples of each feature in each split."""
    neighbours: int = 16
    """Nearest features kept by decoder cosine, and by co-firing."""
    batch_size: int = 8
    max_tokens: int = 512
    exclude: tuple[int, ...] = (Kind.PAD, Kind.SPECIAL, Kind.NEWLINE)
    """Kinds of tokens on which no feature is looked at."""
    skip_first: bool = True
    """Leave out the first token of every sequence too, whatever it is: its norm is many times
    that of the others ("massive activations", Sun et al. 2024)."""
    outlier: float = 10.0
    """Leave out tokens whose norm is over so many times the median of their sample's, at any of the
    sites: later sinks (``subject.sinks``). 0 leaves out none."""
    seed: int = 0

    def check(self) -> None:
        """An EvidenceError for what cannot be."""
        for name in ("top", "per_interval", "batch_size", "max_tokens"):
            if getattr(self, name) < 1:
                raise EvidenceError(f"{name} must be 1 or more, not {getattr(self, name)}.")
        if self.per_interval > 1000 or self.top > 10_000:
            raise EvidenceError("top must be at most 10000 and per_interval at most 1000.")

    @property
    def chunk(self) -> int:
        """Rows that are read at once; a shard's edges are multiples of it."""
        return self.batch_size * CHUNK


def key_of(dictionary: Dictionary) -> str:
    """``site/name``."""
    return f"{dictionary.site}/{dictionary.name}"


def keyed(dictionaries: Sequence[Dictionary]) -> dict[str, Dictionary]:
    """Dictionaries by ``site/name``; an EvidenceError where two share one, or there is none."""
    out = {key_of(d): d for d in dictionaries}
    if not out:
        raise EvidenceError("No dictionary was given: train one first, with `semascope train`.")
    wide = [k for k, d in out.items() if d.width > WIDEST]
    if wide:
        raise EvidenceError(f"{wide[0]} has more than {WIDEST:,} features; cut it in two.")
    if len(out) != len(dictionaries):
        raise EvidenceError("Two dictionaries share a site and a name; rename one of them.")
    return out


def fits(subject: ActivationSource, dictionaries: Mapping[str, Dictionary]) -> None:
    """An EvidenceError for a dictionary that reads other widths than its site has, before the
    model reads anything. A subject that does not tell its sites is taken at its word."""
    known = subject.sites() if hasattr(subject, "sites") else {}
    for key, dictionary in dictionaries.items():
        parts = dictionary.site.split(JOIN)
        if not all(part in known for part in parts):
            continue
        width = sum(known[part] for part in parts)
        if dictionary.d_in != width:
            raise EvidenceError(
                f"{key} reads activations of width {dictionary.d_in}, but {dictionary.site} of "
                f"{subject.name} is {width} wide: the dictionary belongs to another site or "
                "another model. Name one that was trained here."
            )


@torch.no_grad()
def dictionary_digest(dictionary: Dictionary) -> str:
    """A hash of its directions, of at most 256 of them evenly spread."""
    step = max(1, dictionary.width // _PROBED)
    ids = torch.arange(0, dictionary.width, step)
    rows = dictionary.directions(ids).detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()[:16]


def identity(
    subject: ActivationSource,
    corpus: Corpus,
    dictionaries: Mapping[str, Dictionary],
    rows: int,
    options: EvidenceOptions,
) -> dict[str, Any]:
    """All that decides the result, for a person to read."""
    return {
        "format": FORMAT,
        "cells": CELLS,
        "subject": str(subject.name),
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "rows": rows,
        "dictionaries": {
            k: {"width": d.width, "digest": dictionary_digest(d)} for k, d in dictionaries.items()
        },
        "options": asdict(options) | {"exclude": [int(k) for k in options.exclude]},
    }


def same(found: Mapping[str, Any], wanted: Mapping[str, Any], where: object) -> None:
    """An EvidenceError that names what differs between two identities."""
    normal = json.loads(json.dumps(wanted))
    for name in normal:
        if found.get(name) == normal[name]:
            continue
        what = "the corpus has changed" if name == "fingerprint" else f"{name} differs"
        raise EvidenceError(
            f"{where} holds evidence gathered from something else: {what}. "
            "Delete that folder, or gather into another."
        )


def shard_rows(rows: int, chunk: int, rank: int, world_size: int) -> tuple[int, int]:
    """The rows [start, stop) of one shard; edges fall on chunks, so batches never differ."""
    if not 0 <= rank < world_size:
        raise EvidenceError(f"A rank must be in [0, {world_size}), not {rank}.")
    chunks = -(-rows // chunk)
    start, stop = (chunks * r // world_size * chunk for r in (rank, rank + 1))
    return min(start, rows), min(stop, rows)
