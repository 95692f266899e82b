"""A folder of pictures: every picture below it, each with the text of a file beside it.

Beside ``a.jpg``: ``a.txt``, ``a.caption``, or ``a.json`` with a caption in it, as img2dataset
writes them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from semascope.corpus.media.pictures import decode, file_bytes
from semascope.corpus.media.text_encoding import is_packed, words_of
from semascope.corpus.sample import Sample
from semascope.corpus.tabular.base import BadRow, RowCorpus, files_digest
from semascope.corpus.tabular.json_files import SUFFIXES
from semascope.corpus.tabular.text_tables import ending_of, parse_json
from semascope.corpus.tabular.to_sample import DatasetLayout, inside, to_sample

PICTURE = "the picture beside it"
WORDS = (".txt", ".caption", ".text")
ABOUT = frozenset(
    "readme license licence changelog citation notice dataset_info dataset_infos dataset_dict "
    "state config package package-lock tsconfig preprocessor_config".split()
)
"""Stems of files that describe a folder and are not data."""
TABLES = frozenset(
    ".parquet .arrow .feather .jsonl .ndjson .json .csv .tsv .token".split(),
)


@dataclass(slots=True)
class FolderSurvey:
    """The files in a folder and its sub-folders, by kind."""

    root: Path
    pictures: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    tars: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    beside: dict[Path, list[Path]] = field(default_factory=dict)
    """Text files by their picture, in order of preference."""
    left: Counter[str] = field(default_factory=Counter)
    """Files that are not read, by reason."""


def survey(root: Path, split: str = "") -> FolderSurvey:
    """Sort the files of a folder by kind; only those of one split, if it is named."""
    found, files = FolderSurvey(root), list(_files(root, split))
    others: dict[Path, list[Path]] = {}
    for path, fault in files:
        if fault:
            found.left[fault] += 1
        elif path.suffix.lower() in SUFFIXES:
            found.pictures.append(path)
        else:
            others.setdefault(path.parent, []).append(path)
    found.pictures.sort()
    by_stem: dict[Path, Path] = {}
    for picture in found.pictures:
        by_stem.setdefault(picture.with_suffix(""), picture)
        by_stem.setdefault(picture, picture)  # a.jpg.txt
    for path in sorted(path for several in others.values() for path in several):
        _sort(path, by_stem, found)
    for words in found.beside.values():
        words.sort(key=lambda path: (*WORDS, ".json").index(path.suffix.lower()))
    return found


def _files(root: Path, split: str) -> Iterable[tuple[Path, str]]:
    """Every file, with why it is left out or ''."""
    faults: list[OSError] = []
    for folder, below, names in os.walk(root, onerror=faults.append):
        for name in list(below):
            if name.startswith(".") or name == "__MACOSX":
                below.remove(name)
                yield Path(folder, name), "hidden folders"
            elif Path(folder, name).is_symlink():
                yield Path(folder, name), "folders that are links"
        for name in names:
            path = Path(folder, name)
            if name.startswith(".") or name in ("Thumbs.db", "desktop.ini"):
                yield path, "hidden files"
            elif split and not any(split in part for part in path.relative_to(root).parts):
                yield path, f"files of another split than {split}"
            else:
                yield path, ""
    for _ in faults:
        yield root, "folders that cannot be read"


def _sort(path: Path, by_stem: dict[Path, Path], found: FolderSurvey) -> None:
    ending, stem = ending_of(path), path.with_suffix("")
    if path.suffix.lower() in (*WORDS, ".json") and stem in by_stem:
        found.beside.setdefault(by_stem[stem], []).append(path)
    elif path.stem.lower().split(".")[0] in ABOUT:
        found.left["files about the folder (README, licence, dataset_infos …)"] += 1
    elif path.name.lower().endswith((".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.zst")):
        found.tars.append(path)
    elif path.name.endswith("_stats.json"):
        found.left["statistics of a download (_stats.json)"] += 1
    elif ending in TABLES:
        found.tables.append(path)
    elif ending in (".txt", ".md") and not is_packed(path):
        found.texts.append(path)
    else:
        found.left[f"files of another kind ({path.suffix or path.name})"] += 1


class ImageFolder(RowCorpus):
    """Pictures of a folder and of those below it, in the order of their paths."""

    def __init__(
        self,
        root: Path,
        outside: bool = False,
        paths: Sequence[Path] | None = None,
        beside: dict[Path, list[Path]] | None = None,
    ) -> None:
        super().__init__(root.name or str(root))
        self.layout = DatasetLayout(root=root, outside=outside)
        found = None if paths is not None and beside is not None else survey(root)
        self.paths = list(paths) if found is None else found.pictures  # type: ignore[arg-type]
        self.beside = beside or {} if found is None else found.beside

    def __len__(self) -> int:
        return len(self.paths)

    def fingerprint(self) -> str:
        """Hash of the picture files and of the text files beside them."""
        words = [path for picture in self.paths for path in self.beside.get(picture, ())]
        return files_digest(self.layout.root, [*self.paths, *words])

    def label(self, row: int) -> str:
        """The path below the folder."""
        return str(self.paths[row].relative_to(self.layout.root))

    def sample(self, row: int) -> Sample:
        """The picture, and its text if there is one."""
        path, fresh = self.paths[row], self.fresh(row)
        image = decode(inside(self.label(row), self.layout))
        first, *others = self.beside.get(path, [None])
        if others and fresh:
            self.skipped.left["further files of words beside a picture"] += len(others)
        if first is not None and first.suffix.lower() == ".json":
            return self._recorded(row, image, first, fresh)
        text = "" if first is None else words_of(file_bytes(first)).strip()
        return Sample(id=self.label(row), text=text, images=(image,), source=path.parent.name)

    def _recorded(self, row: int, image: Image.Image, path: Path, fresh: bool) -> Sample:
        """A picture with the record beside it; the picture replaces any paths in the record."""
        value = parse_json(file_bytes(path))
        if not isinstance(value, dict):
            raise BadRow("record is not an object")
        layout = replace(self.layout, image=PICTURE, video="")
        report = self.skipped if fresh else None
        source = self.paths[row].parent.name
        return to_sample({**value, PICTURE: [image]}, layout, self.label(row), source, report)
