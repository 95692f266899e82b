"""Which reader reads a path: by what a folder holds, or by a file's ending.

Knows the readers and names of files; it reads no rows.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semascope.corpus.base import Rows, exists
from semascope.corpus.folders import SUFFIXES, ImageFolder
from semascope.corpus.hub import HubRows
from semascope.corpus.records import Layout
from semascope.corpus.shards import WebDataset
from semascope.corpus.tables import ArrowRows, InMemory, JsonLines, Records, saved_dataset
from semascope.errors import CorpusError

TABLES: Mapping[str, type[Records]] = {
    ".jsonl": JsonLines, ".ndjson": JsonLines, ".json": InMemory, ".txt": InMemory,
    ".md": InMemory, ".parquet": ArrowRows, ".arrow": ArrowRows, ".feather": ArrowRows,
}  # fmt: skip
HELP = "scenes, text, a folder, .jsonl, .json, .parquet, .arrow, .tar, .txt, or hf:name/split"


def open_path(spec: str, options: Mapping[str, str]) -> Rows:
    """The corpus at a path, a pattern of paths, or ``hf:``; CorpusError where there is none."""
    columns = ("image", "video", "text")
    layout: dict[str, Any] = {key: options[key] for key in columns if key in options}
    if "frames" in options:
        layout["frames"] = max(1, int(options["frames"]))
    layout["outside"] = options.get("outside", "0") not in ("0", "false", "no", "")
    if spec.startswith("hf:"):
        corpus: Rows = HubRows(spec[3:], layout)
    else:
        path, _, split = spec.partition("#") if not exists(spec) else (spec, "", "")
        split = split or options.get("split", "")
        folder = Path(path)
        if exists(folder) and folder.is_dir():
            corpus = _folder(folder, split, options.get("images"), layout)
        else:
            corpus = _files(path, _matching(path), options.get("images"), layout)
    if len(corpus) == 0:
        why = ", ".join(f"{n} × {reason}" for reason, n in corpus.skipped.reasons.items())
        raise CorpusError(f"{spec} holds no rows{f' ({why})' if why else ''}.")
    return corpus


def _folder(folder: Path, split: str, images: str | None, layout: dict[str, Any]) -> Rows:
    """What a folder is: a saved dataset, tars, tables, or pictures."""
    if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
        return saved_dataset(folder, split or None, layout)
    if (folder / "metadata.jsonl").exists():
        files = [folder / "metadata.jsonl"]
        return JsonLines(folder.name, files, Layout(root=Path(images or folder), **layout))
    for ending in (".tar", ".parquet", ".arrow", ".jsonl", ".ndjson", ".json"):
        files = sorted(folder.glob(f"**/*{ending}"))
        if split:
            files = [path for path in files if split in path.name]
        if files:
            return _files(str(folder), files, images or str(folder), layout)
    pictures = ImageFolder(folder, outside=layout["outside"])
    if len(pictures) == 0:
        endings = sorted({path.suffix or path.name for path in folder.iterdir()})[:8]
        raise CorpusError(
            f"{folder} holds nothing that a corpus is made of (it holds: "
            f"{', '.join(endings) or 'nothing'}). Known are {HELP}."
        )
    return pictures


def _matching(pattern: str) -> list[Path]:
    """Files of a path, of a pattern with *, or of one with {000..009}."""
    found: list[Path] = []
    for name in _braces(pattern):
        names = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else [name]  # noqa: PTH207
        found += [Path(each) for each in names]
    missing = [path for path in found if not (exists(path) and path.is_file())]
    if missing or not found:
        raise CorpusError(f"There is no corpus {str(missing[0] if missing else pattern)!r}. "
                          f"Known are {HELP}.")  # fmt: skip
    return found


def _braces(pattern: str) -> list[str]:
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if match is None:
        return [pattern]
    low, high = match.groups()
    head, tail = pattern[: match.start()], pattern[match.end() :]
    numbers = range(int(low), int(high) + 1)
    return [each for i in numbers for each in _braces(f"{head}{i:0{len(low)}d}{tail}")]


def _files(name: str, files: list[Path], images: str | None, layout: dict[str, Any]) -> Rows:
    """Files of one kind."""
    endings = {path.suffix.lower() for path in files}
    if len(endings) > 1:
        raise CorpusError(f"{name} matches files of several kinds: {', '.join(sorted(endings))}.")
    ending = endings.pop()
    title = Path(name).name
    if ending in (".tar", ".tgz") or title.endswith((".tar.gz", ".tar.xz", ".tar.zst")):
        return WebDataset(title, files)
    if ending in TABLES:
        root = Path(images) if images else files[0].parent
        try:
            return TABLES[ending](title, files, Layout(root=root, **layout))
        except OSError as error:
            raise CorpusError(f"{name} cannot be read: {error.strerror}.") from error
    if ending in SUFFIXES:
        raise CorpusError(f"{name} is one picture; name the folder that holds it.")
    raise CorpusError(f"{name} is of no kind that is known. Known are {HELP}.")
