"""Activations at the peaks of exemplars: what a reader reads.

For every feature the token where it is strongest, in a few exemplars of the explain split, from
strong to weak. The model's activation vectors there are kept in one file beside the evidence, so
that whoever reads them (``explain.reader``) needs no second pass over the corpus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.corpus.sample import Corpus
from semascope.evidence.store.evidence import Evidence
from semascope.evidence.store.files import mapped, write_arrays
from semascope.evidence.types import FeatureEvidence
from semascope.subject.patches import laid_out
from semascope.subject.protocols import ActivationSource
from semascope.subject.types import Kind

FILE = "peaks.safetensors"
SEEN = (int(Kind.IMAGE), int(Kind.TILE))
LEAST = 0.15
"""Weakest peak that is kept, as a share of the feature's largest activation."""
Place = tuple[int, int]
"""(row of the gathered corpus, token)."""


class Peak(NamedTuple):
    """Where a feature is strongest in one exemplar."""

    row: int
    token: int
    strength: float
    """Share of the feature's largest activation in the explain split."""


def peaks(
    record: FeatureEvidence, count: int | None = 4, kinds: Sequence[int] | None = SEEN
) -> list[Peak]:
    """Up to ``count`` peaks of the explain split, strong to weak, on the given kinds of tokens.

    None gives all. Half of them are the strongest; the others are spread evenly over the rest.
    """
    found: dict[Place, Peak] = {}
    exemplars = [e for e in (*record.top, *record.intervals) if e.shown.split == "explain"]
    largest = max((e.peak for e in exemplars), default=0.0)
    for exemplar in sorted(exemplars, key=lambda e: -e.peak):
        token = int(exemplar.activations.argmax())
        strength = exemplar.peak / max(largest, 1e-12)
        right_kind = kinds is None or int(exemplar.shown.kinds[token]) in kinds
        if strength >= LEAST and right_kind:
            found.setdefault((exemplar.shown.row, token), Peak(exemplar.shown.row, token, strength))
    listed = list(found.values())
    if count is None or len(listed) <= count:
        return listed
    strong = (count + 1) // 2
    rest = np.linspace(strong, len(listed) - 1, count - strong).round().astype(int)
    return listed[:strong] + [listed[i] for i in rest]


@dataclass(frozen=True, slots=True, eq=False)
class PeakVectors:
    """Vectors by place."""

    index: dict[Place, int]
    vectors: NDArray[np.float16]
    """(n, d) activations of the dictionary's site."""

    def __contains__(self, place: Place) -> bool:
        """Whether there is a vector of that (row, token)."""
        return place in self.index

    def of(self, places: Sequence[Place]) -> NDArray[np.float32]:
        """(len(places), d). KeyError for a place that was not kept."""
        return np.asarray(self.vectors[[self.index[p] for p in places]], np.float32)


def read(evidence: Evidence) -> PeakVectors | None:
    """What was written beside the evidence; None where nothing was."""
    path = evidence.folder / evidence.key / FILE
    if not path.is_file():
        return None
    arrays = mapped(path)
    places = zip(arrays["row"].tolist(), arrays["token"].tolist(), strict=True)
    return PeakVectors({place: n for n, place in enumerate(places)}, arrays["vector"])


def write(
    evidence: Evidence,
    subject: ActivationSource,
    site: str,
    corpus: Corpus,
    *,
    count: int = 4,
    max_tokens: int | None = 512,
    batch: int = 16,
    progress: Callable[[int, int, str], None] | None = None,
) -> PeakVectors:
    """Take the vectors at all features' peaks on pictures, where they are not there yet.

    Args:
        evidence: of one dictionary.
        subject: runs the model, or knows what it gave (``pipeline.activation_cache``).
        site: that the dictionary reads.
        corpus: the samples that the evidence was gathered from.
        count: peaks of each feature.
        max_tokens: as when it was gathered.
        batch: samples of one pass.
        progress: called with (done, total, note).
    """
    known = read(evidence)
    if known is not None:
        return known
    wanted: dict[int, set[int]] = defaultdict(set)
    for feature in evidence.alive().tolist():
        for peak in peaks(evidence.feature(feature), count):
            wanted[peak.row].add(peak.token)
    found = take(subject, site, corpus, wanted, max_tokens, batch=batch, progress=progress)
    arrays: dict[str, NDArray[Any]] = {
        "row": np.array([row for row, _ in found.index], np.int64),
        "token": np.array([token for _, token in found.index], np.int32),
        "vector": found.vectors,
    }
    write_arrays(evidence.folder / evidence.key / FILE, arrays)
    return found


def take(
    subject: ActivationSource,
    site: str,
    corpus: Corpus,
    wanted: Mapping[int, Collection[int]],
    max_tokens: int | None,
    *,
    batch: int = 16,
    progress: Callable[[int, int, str], None] | None = None,
) -> PeakVectors:
    """The site's activations at some tokens, by row of the corpus."""
    rows = sorted(wanted)
    places: list[Place] = []
    vectors: list[NDArray[np.float16]] = []
    for start in range(0, len(rows), batch):
        if progress is not None:
            progress(start, len(rows), "activations at the peaks of exemplars")
        part = rows[start : start + batch]
        for row, x in zip(part, _activations(subject, site, corpus, part, max_tokens), strict=True):
            tokens = sorted(wanted[row])
            places += [(row, token) for token in tokens]
            vectors.append(x[tokens].astype(np.float16))
    stacked = np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float16)
    return PeakVectors({place: n for n, place in enumerate(places)}, stacked)


def _activations(
    subject: ActivationSource,
    site: str,
    corpus: Corpus,
    rows: Sequence[int],
    max_tokens: int | None,
) -> Iterator[NDArray[np.float32]]:
    """(T, d) of each row's sample."""
    samples = [sample for row in rows for _, sample in corpus.read(row, row + 1)]
    encoded = subject.encode(samples, max_tokens=max_tokens)
    with torch.inference_mode():
        out, _ = laid_out(site, subject.run(encoded, [site])[site], encoded)  # (B, T, d)
    for x in out:
        yield x.float().cpu().numpy()
