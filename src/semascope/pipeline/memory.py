"""What training read, kept on disk until the evidence is gathered.

A dictionary of the default run learns from the same samples that its evidence is gathered on, so
the model need not run twice: training keeps the activations of the samples it reads, one file a
chunk, and ``Remembering`` answers for the subject where every sample of a batch is known. The
numbers are those that training saw, to the bit. Files are written whole or not at all; training
that is killed and resumed writes the same ones.

Knows subjects and batches by their protocols; knows no dictionary and no evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from semascope.subject.patches import is_pictured
from semascope.subject.sites import parts_of, side_by_side
from semascope.subject.types import Batch
from semascope.workspace import disk_guard

SUFFIX = ".safetensors"


class Memory:
    """Activations by sample, of some sites, in a folder.

    Args:
        folder: where the files are; made when the first is written.
        most: bytes to keep at most; what does not fit is not kept.
    """

    def __init__(self, folder: Path, most: int = 0) -> None:
        self.folder, self.most = folder, most
        self.held = sum(path.stat().st_size for path in self._files())
        self._at: dict[str, tuple[Path, int, int]] | None = None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []

    def keep(self, number: int, parts: Sequence[tuple[Batch, Mapping[str, Tensor]]]) -> bool:
        """Keep the batches of one chunk, each with (B, T, d) a site; whether it is kept.

        Sites of the vision side are not: what stands there is of patches, not of tokens.
        """
        path = self.folder / f"chunk-{number:06d}{SUFFIX}"
        if path.is_file():
            return True
        if any(is_pictured(site) for _, found in parts for site in found):
            return False
        lengths = [int(n) for batch, _ in parts for n in batch.mask.sum(1)]
        rows = {
            site: torch.cat([found[site][batch.mask.to(found[site].device)].float().cpu()
                             for batch, found in parts])
            for site in (parts[0][1] if parts else ())
        }  # fmt: skip
        size = sum(x.numel() * 4 for x in rows.values())
        if not size or self.held + size > self.most:
            return False
        ids = [name for batch, _ in parts for name in batch.sample_ids]
        about = {"ids": json.dumps(ids), "lengths": json.dumps(lengths)}
        with disk_guard(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            save_file({site: x.contiguous() for site, x in rows.items()}, part, metadata=about)
            part.replace(path)
        self.held += size
        self._at = None
        return True

    def _index(self) -> dict[str, tuple[Path, int, int]]:
        """File, first row and number of rows of every sample."""
        if self._at is None:
            self._at = {}
            for path in self._files():
                with safe_open(path, "pt") as file:
                    about = file.metadata()
                first = 0
                for name, n in zip(
                    json.loads(about["ids"]), json.loads(about["lengths"]), strict=True
                ):
                    self._at[name] = (path, first, n)
                    first += n
        return self._at

    def __len__(self) -> int:
        """How many samples are known."""
        return len(self._index())

    def find(self, batch: Batch, sites: Sequence[str]) -> dict[str, Tensor] | None:
        """(B, T, d) a site, zeros where padded; None unless every row is known whole."""
        places = [self._index().get(name) for name in batch.sample_ids]
        lengths = batch.mask.sum(1).tolist()
        known = [p for p, n in zip(places, lengths, strict=True) if p is not None and p[2] == n]
        if not known or len(known) < len(lengths):
            return None
        out: dict[str, Tensor] = {}
        for site in sites:
            rows = []
            for path, first, n in known:
                with safe_open(path, "pt") as file:
                    if site not in file.keys():  # noqa: SIM118 - not a dict
                        return None
                    rows.append(file.get_slice(site)[first : first + n])
            whole = torch.cat(rows)
            x = whole.new_zeros(*batch.mask.shape, whole.shape[-1])
            x[batch.mask.cpu()] = whole
            out[site] = x
        return out

    def forget(self) -> None:
        """Remove every file."""
        for path in self._files():
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
        self.held, self._at = 0, None


class Remembering:
    """A subject that does not run where its memory knows the answer; else in all the subject."""

    def __init__(self, subject: Any, memory: Memory) -> None:
        self.subject, self.memory = subject, memory
        self.recalled = 0
        """Samples that were not run again."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def run(self, batch: Batch, sites: Sequence[str], **more: Any) -> Mapping[str, Tensor]:
        """As the subject's own."""
        found = None if more else self.memory.find(batch, parts_of(sites))
        if found is None:
            return self.subject.run(batch, sites, **more)  # type: ignore[no-any-return]
        self.recalled += len(batch.maps)
        return {site: side_by_side(found, site) for site in sites}
