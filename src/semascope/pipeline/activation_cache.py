"""What training read, kept on disk until the evidence is gathered.

A dictionary of the default run learns from the same samples that its evidence is gathered on, so
the model need not run twice: training keeps the activations of the samples it reads, one file a
chunk, and ``CachedSubject`` answers for the subject where every sample of a batch is known. The
numbers are those that training saw, to the bit. A sample is known by its id and by a hash of what
the model was given of it, and a file by what ran, so that a picture that was replaced, a row that
was inserted or another model is never answered from here. Files are written whole or not at all;
training that is killed and resumed writes the same ones. Sites of the vision side are kept as
the model has them, patches of pictures after pictures.

Knows subjects and batches by their protocols; knows no dictionary and no evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from semascope.files import whole
from semascope.subject.model import Subject
from semascope.subject.patches import is_pictured, pictures_of
from semascope.subject.sites import parts_of, side_by_side
from semascope.subject.types import Batch

SUFFIX = ".safetensors"


class _Kept(NamedTuple):
    """Where one sample's activations are."""

    path: Path
    first: int
    """Its first row, at sites of the language model."""
    tokens: int
    seen: int
    """Pictures of the samples before it in the file."""
    pictures: int


class ActivationCache:
    """Activations by sample, of some sites, in a folder.

    Args:
        folder: where the files are; made when the first is written.
        most: bytes to keep at most; what does not fit is not kept.
        stamp: of what runs (the model and the options it reads with); files of another are no
            answer, and are written anew.
    """

    def __init__(self, folder: Path, most: int = 0, stamp: str = "") -> None:
        self.folder, self.most, self.stamp = folder, most, stamp
        self.held = sum(path.stat().st_size for path in self._files())
        self._at: dict[tuple[str, str], _Kept] | None = None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []

    def keep(self, number: int, parts: Sequence[tuple[Batch, Mapping[str, Tensor]]]) -> bool:
        """Keep the batches of one chunk, each with what ran through every site; whether it is kept.

        What runs through the vision side is not where it is not picture after picture, (pictures,
        patches, d).
        """
        path = self.folder / f"chunk-{number:06d}{SUFFIX}"
        ids = [name for batch, _ in parts for name in batch.sample_ids]
        marks = [map_.mark for batch, _ in parts for map_ in batch.maps]
        if path.is_file() and self._same(path, ids, marks):
            return True
        lengths = [int(n) for batch, _ in parts for n in batch.mask.sum(1)]
        pictures = [[pictures_of(m) for m in batch.maps] for batch, _ in parts]
        rows, patches = {}, {}
        for site in parts[0][1] if parts else ():
            xs = [found[site].float().cpu() for _, found in parts]
            if not is_pictured(site):
                masks = [batch.mask.cpu() for batch, _ in parts]
                rows[site] = torch.cat([x[mask] for x, mask in zip(xs, masks, strict=True)])
                continue
            sizes = {x.shape[1] for x in xs if x.numel()}
            told = [len(x) == sum(n) for x, n in zip(xs, pictures, strict=True)]
            if len(sizes) > 1 or not all(told) or any(x.ndim != 3 for x in xs):
                return False
            rows[site] = torch.cat([x.flatten(0, 1) for x in xs])
            patches[site] = max(sizes, default=0)
        size = sum(x.numel() * 4 for x in rows.values())
        if not size or self.held + size > self.most:
            return False
        told_of = {
            "stamp": self.stamp,
            "ids": ids,
            "marks": marks,
            "lengths": lengths,
            "pictures": [n for each in pictures for n in each],
            "patches": patches,
        }
        about = {name: json.dumps(value) for name, value in told_of.items()}
        with whole(path, sync=False) as part:
            save_file({site: x.contiguous() for site, x in rows.items()}, part, metadata=about)
        self.held += size
        self._at = None
        return True

    def _same(self, path: Path, ids: Sequence[str], marks: Sequence[str]) -> bool:
        """Whether a file is of these very samples; one that is not is removed."""
        about = _about(path)
        if (about.get("stamp"), about["ids"], about.get("marks")) == (self.stamp, ids, marks):
            return True
        self.held -= path.stat().st_size
        path.unlink()
        self._at = None
        return False

    def _index(self) -> dict[tuple[str, str], _Kept]:
        """Where every sample is, by id and mark; without a mark, none is known."""
        if self._at is None:
            self._at = {}
            for path in self._files():
                about = _about(path)
                if about.get("stamp") != self.stamp or "marks" not in about:
                    continue
                first = seen = 0
                lengths = about["lengths"]
                pictures = about.get("pictures", [0] * len(lengths))
                names = zip(about["ids"], about["marks"], strict=True)
                for name, n, shown in zip(names, lengths, pictures, strict=True):
                    if all(name):
                        self._at[name] = _Kept(path, first, n, seen, shown)
                    first, seen = first + n, seen + shown
        return self._at

    def __len__(self) -> int:
        """How many samples are known."""
        return len(self._index())

    def find(self, batch: Batch, sites: Sequence[str]) -> dict[str, Tensor] | None:
        """What ran through each site, zeros where padded; None unless every row is known whole."""
        names = zip(batch.sample_ids, (map_.mark for map_ in batch.maps), strict=True)
        places = [self._index().get(name) for name in names]
        lengths = batch.mask.sum(1).tolist()
        known = [p for p, n in zip(places, lengths, strict=True) if p and p.tokens == n]
        if not known or len(known) < len(lengths):
            return None
        out: dict[str, Tensor] = {}
        for site in sites:
            rows = [_rows(place, site) for place in known]
            if any(x is None for x in rows):
                return None
            whole = [x for x in rows if x is not None]
            if is_pictured(site):
                seen = [x for x in whole if len(x)] or whole[:1]
                out[site] = torch.cat(seen)
                continue
            x = whole[0].new_zeros(*batch.mask.shape, whole[0].shape[-1])
            x[batch.mask.cpu()] = torch.cat(whole)
            out[site] = x
        return out

    def forget(self) -> None:
        """Remove every file."""
        for path in self._files():
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
        self.held, self._at = 0, None


def _about(path: Path) -> dict[str, Any]:
    """What a file says of itself."""
    with safe_open(path, "pt") as file:
        return {name: json.loads(value) for name, value in file.metadata().items()}


def _rows(place: _Kept, site: str) -> Tensor | None:
    """One sample's activations at a site, (T, d) or (pictures, patches, d); None where not kept."""
    with safe_open(place.path, "pt") as file:
        if site not in file.keys():  # noqa: SIM118 - not a dict
            return None
        part = file.get_slice(site)
        if not is_pictured(site):
            return part[place.first : place.first + place.tokens]  # type: ignore[no-any-return]
        n, d = json.loads(file.metadata()["patches"])[site], part.get_shape()[1]
        if not n or not place.pictures:
            return torch.empty(0, n, d)
        found: Tensor = part[place.seen * n : (place.seen + place.pictures) * n]
        return found.view(place.pictures, n, d)


class CachedSubject:
    """A subject that does not run where its memory knows the answer; else in all the subject."""

    def __init__(self, subject: Subject, memory: ActivationCache) -> None:
        self.subject, self.memory = subject, memory
        self.recalled = 0
        """Samples that were not run again."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def run(self, batch: Batch, sites: Sequence[str], **more: Any) -> Mapping[str, Tensor]:
        """As the subject's own."""
        found = None if more else self.memory.find(batch, parts_of(sites))
        if found is None:
            return self.subject.run(batch, sites, **more)
        self.recalled += len(batch.maps)
        return {site: side_by_side(found, site) for site in sites}
