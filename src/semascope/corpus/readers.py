"""Chooses the reader of a path, by the contents of a folder or the ending of a file.

Everything in a folder is read: tars, or tables with the pictures that they name, then the pictures
that no table names, each once. The corpus's report lists what was recognised and what was left out.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semascope.corpus.hf_datasets import HubRows
from semascope.corpus.image_folder import FolderSurvey, ImageFolder, survey
from semascope.corpus.media.text_encoding import encoding_of, is_packed
from semascope.corpus.mixed import Mixed
from semascope.corpus.sample import Corpus
from semascope.corpus.tabular.arrow import ArrowRows, saved_dataset
from semascope.corpus.tabular.base import BadRow, exists
from semascope.corpus.tabular.json_files import SUFFIXES, is_annotated, is_single
from semascope.corpus.tabular.text_tables import InMemory, JsonLines, Records, ending_of, parse_json
from semascope.corpus.tabular.to_sample import DatasetLayout, PictureFolder
from semascope.corpus.tabular.webdataset import WebDataset
from semascope.errors import CorpusError

TABLES: Mapping[str, type[Records]] = {
    ".jsonl": JsonLines, ".ndjson": JsonLines, ".json": InMemory, ".txt": InMemory,
    ".md": InMemory, ".csv": InMemory, ".tsv": InMemory, ".token": InMemory,
    ".parquet": ArrowRows, ".arrow": ArrowRows, ".feather": ArrowRows,
}  # fmt: skip
COLUMNS = ("image", "video", "text", "question", "answer", "conversation")
"""Options that name a column."""
HELP = (
    "scenes, text, a folder, .jsonl, .json, .csv, .tsv, .parquet, .arrow, .tar, .txt, or "
    "hf:name/split"
)
USELESS = "tables without a column of words or pictures"


def open_path(spec: str, options: Mapping[str, str]) -> Corpus:
    """The corpus at a path, a pattern of paths, or ``hf:``; CorpusError if there is none."""
    layout: dict[str, Any] = {key: options[key] for key in COLUMNS if key in options}
    if "frames" in options:
        layout["frames"] = max(1, int(options["frames"]))
    layout["fixed"] = "images" in options
    layout["outside"] = options.get("outside", "0") not in ("0", "false", "no", "")
    if spec.startswith("hf:"):
        corpus: Corpus = HubRows(spec[3:], layout)
    else:
        path, _, split = spec.partition("#") if not exists(spec) else (spec, "", "")
        split = split or options.get("split", "")
        if not exists(path) and path.startswith("~"):
            path = str(Path(path).expanduser())
        folder = Path(path)
        if exists(folder) and folder.is_dir():
            corpus = _folder(folder, split, options.get("images"), layout)
        else:
            corpus = _files(path, _matching(path), options.get("images"), layout)
    if len(corpus) == 0:
        why = ", ".join(f"{n} × {reason}" for reason, n in corpus.skipped.reasons.items())
        raise CorpusError(f"{spec} holds no rows{f' ({why})' if why else ''}.")
    if isinstance(corpus, Records) and (why := corpus.useless()):
        raise CorpusError(why)
    return corpus


def _folder(folder: Path, split: str, images: str | None, layout: dict[str, Any]) -> Corpus:
    """The corpus of a folder: a saved dataset, or all tars, tables and pictures in it."""
    if (folder / "dataset_dict.json").exists() or _saved(folder / "state.json"):
        return saved_dataset(folder, split or None, layout)
    found = survey(folder, split)
    parts = _parts(found, images, layout)
    if not parts:
        raise CorpusError(_nothing(folder, found, split))
    corpus = parts[0] if len(parts) == 1 else Mixed(parts, [max(1, len(part)) for part in parts])
    corpus.skipped.left.update(found.left)
    return corpus


def _saved(state: Path) -> bool:
    """Whether ``state.json`` was written by ``datasets.save_to_disk``."""
    try:
        return "_data_files" in state.read_text()
    except (OSError, ValueError):
        return False


def _parts(found: FolderSurvey, images: str | None, layout: dict[str, Any]) -> list[Corpus]:
    """The readers of a folder, without those that have no rows."""
    parts: list[Corpus] = []
    if found.tars:
        stems = {path.with_suffix("") for path in found.tars}
        twice = [path for path in found.tables if path.with_suffix("") in stems]
        found.left["tables that repeat what is in a tar of the same name"] += len(twice)
        found.tables = [path for path in found.tables if path not in twice]
        parts.append(_files(str(found.root), found.tars, None, layout))
    tables = _tables(found, images, layout)
    named = _named(tables) if found.pictures else set()
    loose = [path for path in found.pictures if os.path.normpath(path) not in named]
    if loose and not images:
        outside = layout["outside"]
        parts.append(ImageFolder(found.root, outside, loose, found.beside))
    elif not (loose or tables or parts) and found.texts:
        tables = [_files(str(found.root), found.texts, images, layout)]
    if parts and found.texts:
        found.left["text files that belong to no picture"] += len(found.texts)
    parts = [part for part in (*tables, *parts) if len(part)]
    for part in parts:
        part.skipped.layout.append(_line(part, named))
    found.left = +found.left
    return parts


def _line(part: Corpus, named: set[str]) -> str:
    """How a part of a folder was recognised, in one line."""
    if isinstance(part, ImageFolder):
        words = sum(path in part.beside for path in part.paths)
        return f"pictures: {len(part)}, {words} of them with words in a file beside them"
    files = getattr(part, "files", [])
    kind = "tars" if isinstance(part, WebDataset) else "tables"
    rows = f"{kind}: {len(files)}"
    shown = ", ".join(path.name for path in files[:4]) + (" …" if len(files) > 4 else "")
    pictures = f", which name {len(named)} pictures" if named and kind == "tables" else ""
    return f"{rows} ({shown}){pictures}"


def _tables(found: FolderSurvey, images: str | None, layout: dict[str, Any]) -> list[Corpus]:
    """A reader for each kind of table, for the tables that hold text or pictures."""
    captions = [path for path in found.texts if found.pictures and _table_of_captions(path)]
    found.texts = [path for path in found.texts if path not in captions]
    kept: dict[str, list[Path]] = {}
    faults: list[str] = []
    root = Path(images) if images else found.root
    near = PictureFolder(root)
    for path in (*found.tables, *captions):
        reason = _unfit(
            path, bool(found.pictures), DatasetLayout(root=root, pictures=near, **layout)
        )
        if not reason:
            kept.setdefault(ending_of(path), []).append(path)
            continue
        found.left[reason.partition(": ")[0]] += 1
        faults.append(reason)
    if faults and not kept and not (found.pictures or found.tars):
        columns = next((f.partition(": ")[2] for f in faults if f.startswith(USELESS)), "")
        if columns:
            raise CorpusError(columns)
    order = list(TABLES)
    return [
        _files(str(found.root), kept[ending], str(root), {**layout, "pictures": near})
        for ending in sorted(kept, key=order.index)
    ]


def _table_of_captions(path: Path) -> bool:
    from semascope.corpus.tabular.delimited import names_pictures

    try:
        with path.open("rb") as file:
            return names_pictures(file.read(8192).decode("utf-8", "replace"))
    except OSError:
        return False


def _unfit(path: Path, pictures: bool, layout: DatasetLayout) -> str:
    """Why a table of a folder is not read; '' if it is. The reader counts damaged files."""
    if ending_of(path) == ".json" and not is_packed(path):
        try:
            value = parse_json(path.read_bytes())
        except (OSError, BadRow):
            return "JSON files that cannot be read"
        if is_annotated(value):
            return "annotations without captions"
        if pictures and is_single(value):
            return "JSON files that hold one object and no rows"
    try:
        reader = _reader(path)(path.name, [path], layout)
    except (CorpusError, OSError):
        return ""
    if path.suffix == ".parquet" and _of_a_download(reader) and pictures:
        return "records of a download, whose pictures lie beside them"
    why = reader.useless()
    return f"{USELESS}: {why}" if why else ""


def _of_a_download(reader: Records) -> bool:
    """Whether this is img2dataset's record of its downloads: keys and URLs."""
    columns = {name for record in reader.glance()[:1] for name in record}
    return {"key", "url", "status"} <= columns


def _named(tables: Sequence[Corpus]) -> set[str]:
    """The picture files that the tables' rows name."""
    found: set[str] = set()
    for table in tables:
        if isinstance(table, Records):
            for row in range(len(table)):
                found.update(os.path.normpath(path) for path in table.paths(row))
    return found


def _nothing(folder: Path, found: FolderSurvey, split: str) -> str:
    if split:
        parts = sorted({path.name for path in folder.iterdir()})[:12]
        return f"{folder} has no split {split!r}; it holds {', '.join(parts)}."
    try:
        endings = sorted({path.suffix or path.name for path in folder.iterdir()})[:8]
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}."
    left = "".join(f"; {n} × {why}" for why, n in found.left.items())
    return (
        f"{folder} holds no data that can be read (it holds: "
        f"{', '.join(endings) or 'nothing'}{left}). Known are {HELP}."
    )


def _matching(pattern: str) -> list[Path]:
    """Files of a path, or of a pattern with * or {000..009}; existing names may have brackets."""
    found: list[Path] = []
    for name in _braces(pattern):
        magic = glob.has_magic(name) and not exists(name)
        names = sorted(glob.glob(name, recursive=True)) if magic else [name]  # noqa: PTH207
        found += [Path(each) for each in names]
    missing = [path for path in found if not (exists(path) and path.is_file())]
    if missing or not found:
        raise CorpusError(f"There is no corpus {str(missing[0] if missing else pattern)!r}. "
                          f"Known are {HELP}.")  # fmt: skip
    return found


def _braces(pattern: str) -> list[str]:
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if match is None or exists(pattern):
        return [pattern]
    low, high = match.groups()
    head, tail = pattern[: match.start()], pattern[match.end() :]
    numbers = range(int(low), int(high) + 1)
    return [each for i in numbers for each in _braces(f"{head}{i:0{len(low)}d}{tail}")]


def _reader(path: Path) -> type[Records]:
    """The reader of a table; JSON lines that are compressed or not UTF-8 are read as a whole."""
    kind = TABLES[ending_of(path)]
    if kind is JsonLines:
        with path.open("rb") as file:
            if is_packed(path) or encoding_of(file.read(4096)) not in ("utf-8", "utf-8-sig"):
                return InMemory
    return kind


def _files(name: str, files: list[Path], images: str | None, layout: dict[str, Any]) -> Corpus:
    """Files of one kind."""
    title = Path(name).name
    packed = (".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2", ".tgz", ".tar")
    if all(path.name.lower().endswith(packed) for path in files):
        root = files[0].parent
        known = {key: value for key, value in layout.items() if key != "pictures"}
        return WebDataset(title, files, DatasetLayout(root=root, **known))
    endings = {ending_of(path) for path in files}
    if len(endings) > 1:
        raise CorpusError(f"{name} matches files of several kinds: {', '.join(sorted(endings))}.")
    ending = endings.pop()
    if ending in TABLES:
        root = Path(images) if images else files[0].parent
        try:
            kinds = {_reader(path) for path in files}
            kind = kinds.pop() if len(kinds) == 1 else InMemory
            return kind(title, files, DatasetLayout(root=root, **layout))
        except OSError as error:
            raise CorpusError(f"{name} cannot be read: {error.strerror}.") from error
    if ending in SUFFIXES:
        raise CorpusError(f"{name} is one picture; name the folder that holds it.")
    raise CorpusError(f"{name} is of an unknown kind. Known are {HELP}.")
