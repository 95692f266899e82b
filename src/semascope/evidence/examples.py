"""Features that fire on these samples and not on those.

One sample, a set, or a set against another (the searches of Templeton et al. 2024): each sample
is run through the subject, and features are ranked by how much more of the one set they fire on.
A picture with a question is one sample, so this is also the search by image. Knows subject and
dictionary by their protocols; stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.corpus.sample import Sample
from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.plan import Options, keyed
from semascope.evidence.reading import Reader
from semascope.evidence.tally import Hits
from semascope.subject.types import Kind


@dataclass(frozen=True, slots=True)
class Responding:
    """A feature that tells the two sets apart."""

    index: int
    contrast: float
    """Mean over ``like`` minus mean over ``unlike`` of the peak, as a share of its maximum."""
    like: float
    """Share of the ``like`` samples on which it fires."""
    unlike: float
    """Share of the ``unlike`` samples; 0 where there are none."""


def fires_on(
    subject: Any,
    dictionary: Dictionary,
    like: Sequence[Sample],
    unlike: Sequence[Sample] = (),
    *,
    k: int = 20,
    maximum: NDArray[np.floating] | None = None,
    max_density: float = 1.0,
    density: NDArray[np.floating] | None = None,
    images_only: bool = False,
    options: Options | None = None,
) -> list[Responding]:
    """The k features of largest contrast, largest first; all fire on some ``like`` sample.

    ``maximum`` (width,), from the evidence, puts peaks on one scale; without it, each feature's
    largest peak here stands in. ``max_density`` with ``density`` (width,) leaves out features
    that fire on almost everything. ``images_only`` looks at the tokens of pictures alone.
    Raises EvidenceError where ``like`` is empty.
    """
    if not like:
        raise EvidenceError("Give at least one sample that the features should fire on.")
    options = options or Options()
    reader = Reader(subject, keyed([dictionary]), options)
    peaks = _peaks(reader, [*like, *unlike], dictionary.width, options.batch_size, images_only)
    largest = peaks.max(axis=0) if maximum is None else np.asarray(maximum, np.float32)
    scaled = peaks / np.where(largest > 0, largest, 1)
    n = len(like)
    yes, no = scaled[:n], scaled[n:]
    contrast = yes.mean(axis=0) - (no.mean(axis=0) if len(no) else 0)
    fired, other = (yes > 0).mean(axis=0), (no > 0).mean(axis=0) if len(no) else None
    good = fired > 0
    if density is not None:
        good &= np.asarray(density) <= max_density
    order = np.lexsort((np.arange(len(contrast)), -contrast))
    chosen = order[good[order]][:k]
    return [
        Responding(
            int(i), float(contrast[i]), float(fired[i]), 0.0 if other is None else float(other[i])
        )
        for i in chosen
    ]


def _peaks(
    reader: Reader, samples: Sequence[Sample], width: int, size: int, images_only: bool
) -> NDArray[np.float32]:
    """(n, width) largest activation of each feature in each sample."""
    out = np.zeros((len(samples), width), np.float32)
    rows = list(enumerate(samples))
    for first in range(0, len(rows), size):
        for read in reader(rows[first : first + size]):
            hits = next(iter(read.hits.values()))
            chosen = _on_pictures(hits) if images_only else slice(None)
            place = read.rows.row[hits.sample[chosen]], hits.feature[chosen]
            np.maximum.at(out, place, hits.value[chosen])
    return out


def _on_pictures(hits: Hits) -> NDArray[np.bool_]:
    return np.isin(hits.kind, (Kind.IMAGE, Kind.TILE))
