"""WebDataset: tars in which neighbouring files of one stem are one sample.

The offsets of files in a tar are found once and kept in the user's cache, keyed by the tar's path,
size and modification time; rows are then read by offset. Members that are read: pictures, ``.txt``
and ``.json`` records. Compressed tars have no offsets and are refused.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from semascope.corpus.media.text_encoding import words_of
from semascope.corpus.sample import Sample
from semascope.corpus.tabular.base import BadRow, RowCorpus, digest, files_digest
from semascope.corpus.tabular.json_files import SUFFIXES
from semascope.corpus.tabular.text_tables import parse_json
from semascope.corpus.tabular.to_sample import DatasetLayout, to_sample

Entry = tuple[str, list[tuple[str, int, int]]]
"""A sample: its key, and (extension, offset, size) of each of its files."""
TEXTS = (".txt", ".text", ".caption")
PICTURES = "pictures of the tar"
BLOCK = 512


class WebDataset(RowCorpus):
    """The samples of tars, in their order."""

    def __init__(
        self, name: str, files: Sequence[Path], layout: DatasetLayout | None = None
    ) -> None:
        super().__init__(name)
        self.files, self.layout = list(files), layout
        self.rows: list[tuple[Path, Entry]] = []
        for path in self.files:
            entries, fault = index(path)
            self.rows += [(path, entry) for entry in entries]
            if fault:
                self.skipped.add(path.name, fault)
        seen: Counter[str] = Counter()
        self._again: dict[int, int] = {}
        for row, (path, (key, _)) in enumerate(self.rows):
            label = f"{path.name}:{key}"
            seen[label] += 1
            if seen[label] > 1:  # tars of one name in two folders, or a key that comes twice
                self._again[row] = seen[label]

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self) -> str:
        """Hash of the tars."""
        return files_digest(self.files[0].parent, self.files)

    def label(self, row: int) -> str:
        """Tar and key."""
        path, (key, _) = self.rows[row]
        again = f"~{self._again[row]}" if row in self._again else ""
        return f"{path.name}:{key}{again}"

    def sample(self, row: int) -> Sample:
        """Pictures, text and record of one key."""
        path, (_, members) = self.rows[row]
        record: dict[str, object] = {}
        images, fresh = [], self.fresh(row)
        for extension, offset, size in sorted(members):
            last = "." + extension.rsplit(".", 1)[-1].lower()
            if last in SUFFIXES:
                images.append(_slice(path, offset, size))
            elif last in TEXTS:
                record["text"] = words_of(_slice(path, offset, size))
            elif last == ".json":
                value = parse_json(_slice(path, offset, size))
                record = {**value, **record} if isinstance(value, dict) else record
            elif fresh:
                self.skipped.left[f"files of a tar that are not read ({last})"] += 1
        # Pictures of the tar replace any paths in the record.
        asked = self.layout or DatasetLayout(root=path.parent)
        image = PICTURES if images else asked.image
        layout = replace(asked, root=path.parent, image=image, video="")
        if images:
            record = {**record, PICTURES: images}
        report = self.skipped if fresh else None
        return to_sample(record, layout, self.label(row), path.stem, report)


def _slice(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as handle:
            handle.seek(offset)
            data = handle.read(size)
    except OSError as error:
        raise BadRow("file cannot be read") from error
    if len(data) < size:
        raise BadRow("tar is cut short")
    return data


def index(path: Path) -> tuple[list[Entry], str]:
    """Samples of one tar, and what is wrong with it, or ''; kept in the cache."""
    stat = path.stat()
    key = digest(["2", os.path.realpath(path), str(stat.st_size), str(stat.st_mtime_ns)])
    kept = _cache() / f"{key}.json"
    try:
        entries, fault = json.loads(kept.read_text("utf-8"))
        return [(name, [(e, o, s) for e, o, s in files]) for name, files in entries], fault
    except (OSError, ValueError, TypeError):  # not there yet, or damaged: look again
        found = _scan(path)
    _keep(kept, found)
    return found


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "semascope" / "webdataset"


def _keep(kept: Path, found: object) -> None:
    """Write the cache atomically; errors are ignored."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=kept.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as part:
            json.dump(found, part)
        Path(name).replace(kept)
    except OSError:
        return


def _scan(path: Path) -> tuple[list[Entry], str]:
    entries: list[Entry] = []
    end = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                end = member.offset_data + (member.size if member.isreg() else 0)
                if not member.isreg() or Path(member.name).name.startswith("."):
                    continue
                folder, _, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if not entries or entries[-1][0] != key:
                    entries.append((key, []))
                entries[-1][1].append((extension, member.offset_data, member.size))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        compressed = path.suffix.lower() in (".gz", ".tgz", ".bz2", ".xz", ".zst")
        if not entries and (compressed or _compressed(path)):
            return [], "tar is compressed"
        return entries, "tar is cut short or damaged" if not isinstance(error, OSError) or not (
            error.errno
        ) else "file cannot be read"
    return entries, "" if _ends(path, end) else "tar is cut short or damaged"


def _ends(path: Path, end: int) -> bool:
    """Whether a tar's end mark, a block of zeros, follows its last member.

    ``tarfile`` takes a truncated or damaged header for the end, without an error.
    """
    start = -(-end // BLOCK) * BLOCK
    with path.open("rb") as handle:
        handle.seek(start)
        block = handle.read(BLOCK)
    return len(block) == BLOCK and not any(block)


def _compressed(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            head = handle.read(6)
    except OSError:
        return False
    return head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
