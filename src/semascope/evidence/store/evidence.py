"""Reading evidence back: any feature in a few milliseconds, whatever the size of the run.

Files are mapped; a feature touches its own bytes and the records of the samples it is shown
on. Knows no model and no database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semascope.atlas.packing import pack_activations
from semascope.atlas.records import NewExemplar
from semascope.errors import EvidenceError
from semascope.evidence.gathering.tally import BINS
from semascope.evidence.store.all_activations import AllActivations
from semascope.evidence.store.files import GATHERING, SHOWN, mapped
from semascope.evidence.store.samples import SampleStore
from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence
from semascope.subject.types import Kind

_NOT_SCALAR = ("histogram", "tokens")


@dataclass(frozen=True, slots=True)
class NearFeature:
    """A near feature."""

    index: int
    strength: float
    """Cosine of the decoder's rows, or Jaccard overlap of the tokens on which both fire."""


class Evidence:
    """All evidence of one dictionary. ``Evidence.open(folder, "site/name")``."""

    def __init__(self, folder: Path, key: str, store: SampleStore) -> None:
        self.folder, self.key, self.shown = folder, key, store
        self.gathering: dict[str, Any] = json.loads((folder / GATHERING).read_text())
        self._exemplars = mapped(folder / key / "exemplars.safetensors")
        self._near = mapped(folder / key / "neighbours.safetensors")
        self._stats = mapped(folder / key / "stats.safetensors")

    @classmethod
    def open(cls, folder: Path | str, name: str) -> Evidence:
        """``name`` is ``site/name``, or ``name`` alone where one dictionary is called so.

        An EvidenceError where nothing was gathered, or not for that dictionary.
        """
        folder = Path(folder)
        if not (folder / GATHERING).is_file():
            raise EvidenceError(
                f"No finished evidence in {folder}: run `semascope gather` first, or again."
            )
        keys = dictionaries(folder)
        found = [k for k in keys if k == name] or [k for k in keys if k.split("/")[-1] == name]
        if len(found) != 1:
            what = "is more than one dictionary" if found else "is no dictionary"
            raise EvidenceError(f"{name!r} {what} in {folder}; it holds: {', '.join(keys)}.")
        return cls(folder, found[0], SampleStore(folder / SHOWN))

    @property
    def width(self) -> int:
        """Features, dead ones included."""
        return len(self._stats["fired"])

    def __len__(self) -> int:
        return self.width

    def alive(self) -> NDArray[np.int64]:
        """(n,) features that fired at least once, ascending."""
        return np.flatnonzero(self._stats["fired"] > 0)

    def names(self) -> tuple[str, ...]:
        """Names that ``stats`` takes."""
        return tuple(n for n in self._stats if n not in _NOT_SCALAR)

    def stats(self, name: str) -> NDArray[Any]:
        """(width,) one figure of every feature; an EvidenceError that lists the names."""
        if name not in self._stats or name in _NOT_SCALAR:
            raise EvidenceError(f"No figure {name!r}; there are: {', '.join(self.names())}.")
        return self._stats[name]

    def tokens(self, kind: Kind | None = None) -> int:
        """Tokens looked at, all or of one kind."""
        counts = self._stats["tokens"]
        return int(counts.sum() if kind is None else counts[kind])

    def histogram(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(BINS + 1,) edges of activation, two bins to an octave, and (BINS,) counts of tokens."""
        edges = 2.0 ** ((np.arange(BINS + 1) - BINS // 2) / 2)
        return edges, self._stats["histogram"][self._checked(index)]

    def near(self, index: int, by: str = "cosine") -> list[NearFeature]:
        """Nearest features, by ``"cosine"`` of directions or by ``"cofire"``, nearest first."""
        if by not in ("cosine", "cofire"):
            raise EvidenceError(f"Neighbours are by 'cosine' or by 'cofire', not by {by!r}.")
        index = self._checked(index)
        pairs = zip(self._near[f"{by}_index"][index], self._near[by][index], strict=True)
        return [NearFeature(int(i), float(s)) for i, s in pairs if i >= 0]

    def nearest(self, by: str = "cosine") -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(width, k) numbers and strengths of every feature's neighbours, −1 and 0 padded."""
        return self._near[f"{by}_index"], self._near[by]

    def sketch(self) -> NDArray[np.uint64] | None:
        """(width, SKETCH) which tokens each feature fires on, for ``neighbours.overlap`` with any
        dictionary of this gathering; None where the gathering is older than this."""
        return self._near.get("sketch")

    def everything(self) -> AllActivations:
        """Every activation of every feature; an EvidenceError where only exemplars were kept."""
        return AllActivations(self.folder / self.key)

    def feature(self, index: int) -> FeatureEvidence:
        """All that was gathered about one feature; an EvidenceError where there is none."""
        index = self._checked(index)
        columns = self._exemplars
        first, last = (int(v) for v in columns["offsets"][index : index + 2])
        rank, drawn = columns["rank"][first:last], columns["drawn"][first:last]
        all_ = [self._exemplar(i) for i in range(first, last)]
        top = sorted((int(r), i) for i, r in enumerate(rank) if r >= 0)
        draws = [e for e, d in zip(all_, drawn, strict=True) if d]
        return FeatureEvidence(
            index=index,
            top=tuple(all_[i] for _, i in top),
            intervals=tuple(sorted(draws, key=lambda e: -e.interval)),
            silent=tuple(self._silent(index)),
            stats=self._figures(index),
        )

    def _exemplar(self, place: int) -> Exemplar:
        columns = self._exemplars
        shown: EvidenceSample = self.shown.get(int(columns["shown"][place]))
        run = slice(*(int(v) for v in columns["starts"][place : place + 2]))
        activations = np.zeros(len(shown.tokens), np.float32)  # (T,)
        activations[columns["position"][run]] = columns["value"][run]
        return Exemplar(shown, activations, int(columns["interval"][place]))

    def packed(self, index: int, most: int | None = None) -> Iterator[NewExemplar]:
        """The exemplars of one feature as the atlas stores them, at most so many of each role."""
        columns = self._exemplars
        first, last = (int(v) for v in columns["offsets"][index : index + 2])
        places = np.arange(first, last)
        rank, drawn = columns["rank"][first:last], columns["drawn"][first:last]
        strong = places[rank >= 0][np.argsort(rank[rank >= 0], kind="stable")]
        draws = places[drawn]
        if most is not None and len(draws) > most:  # spread over the intervals
            draws = draws[np.linspace(0, len(draws) - 1, most).astype(np.int64)]
        for role, chosen in (("top", strong[:most]), ("interval", draws)):
            for order, place in enumerate(chosen.tolist()):
                start, stop = columns["starts"][place : place + 2]
                yield NewExemplar(
                    feature=index,
                    row=int(self.shown.rows[columns["shown"][place]]),
                    role=role,
                    rank=order,
                    interval=int(columns["interval"][place]),
                    peak=float(columns["peak"][place]),
                    activations=pack_activations(
                        columns["position"][start:stop], columns["value"][start:stop]
                    ),
                )
        for order, number in enumerate(self._silent_numbers(index)[:most]):
            row = int(self.shown.rows[number])
            yield NewExemplar(index, row, "silent", order, 0, 0.0, b"")

    def _silent_numbers(self, index: int) -> list[int]:
        numbers = [self._near[f"silent_{s}"][index] for s in ("explain", "score")]
        return [int(n) for pair in zip(*numbers, strict=True) for n in pair if n >= 0]

    def _silent(self, index: int) -> list[EvidenceSample]:
        return [self.shown.get(n) for n in self._silent_numbers(index)]

    def _figures(self, index: int) -> dict[str, float]:
        figures = {name: float(self._stats[name][index]) for name in self.names()}
        return figures | {
            "tokens": float(self.tokens()),
            "silent_hard": float(self._near["silent_hard"][index]),
        }

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.width:
            raise EvidenceError(f"No feature {index} in {self.key}: it has {self.width}.")
        return int(index)


def dictionaries(folder: Path | str) -> tuple[str, ...]:
    """The ``site/name`` of every dictionary that a gathering holds."""
    about = json.loads((Path(folder) / GATHERING).read_text())
    return tuple(about["identity"]["dictionaries"])
