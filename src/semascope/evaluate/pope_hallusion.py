"""POPE's and HallusionBench's own files as cases; the pictures stay where the user put them.

POPE: JSON lines of ``image`` (a file name), ``text`` (the question) and ``label`` (yes or no).
HallusionBench: one JSON list of ``question``, ``gt_answer`` ("1" yes, "0" no), ``filename``,
``visual_input`` ("0": no picture), ``category`` and ``subcategory``.

Files are decoded and pictures are read as those of a corpus are. A row that cannot be used is
counted and named in the report, and skipped. Knows files; no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from semascope.causal.search.cases import Case
from semascope.corpus.media.pictures import decode
from semascope.corpus.media.text_encoding import is_packed, unpacked, well_formed, words_of
from semascope.corpus.sample import Sample, SkipReport, Turn
from semascope.corpus.tabular.base import BadRow
from semascope.corpus.tabular.to_sample import DatasetLayout, PictureFolder, located
from semascope.errors import CausalError


def read_pope(path: Path, images: Path, limit: int | None = None) -> tuple[list[Case], SkipReport]:
    """Cases of a POPE file, e.g. ``coco_pope_adversarial.json``.

    Args:
        path: the question file.
        images: the folder of the pictures that it names.
        limit: most cases to read.
    """
    return _read(path, images, limit, _pope_row)


def read_hallusion(
    path: Path, images: Path, limit: int | None = None
) -> tuple[list[Case], SkipReport]:
    """Cases of ``HallusionBench.json``; ``images`` is the folder that ``filename`` starts from."""
    return _read(path, images, limit, _hallusion_row)


def _read(
    path: Path, images: Path, limit: int | None, convert: Any
) -> tuple[list[Case], SkipReport]:
    """Rows to cases, bad rows to the report."""
    if not images.is_dir():
        raise CausalError(f"There is no folder of pictures {images}. Name it with --images.")
    report = SkipReport()
    cases: list[Case] = []
    layout = DatasetLayout(root=images, pictures=PictureFolder(images))
    for number, row in _rows(path):
        if len(cases) == limit:
            break
        try:
            cases.append(convert(number, _object(row), layout))
        except KeyError as error:
            report.add(f"{path.name}:{number}", f"no field {error}")
        except BadRow as error:
            report.add(f"{path.name}:{number}", str(error))
    if not cases:
        why = report.named[0][1] if report.named else "it is empty"
        raise CausalError(f"No question of {path} can be used: {why}.")
    return cases, report


class _Spoilt(str):
    """Why a line cannot be read."""


def _object(row: object) -> Mapping[str, Any]:
    if isinstance(row, _Spoilt):
        raise BadRow(str(row))
    if not isinstance(row, Mapping):
        raise BadRow("question is not an object")
    return row


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    """Numbered rows of a JSON list, or of JSON lines; a line that is no JSON is one bad row."""
    try:
        data = path.read_bytes()
        text = words_of(unpacked(data) if is_packed(path) else data)
    except OSError as error:
        raise CausalError(f"The questions at {path} cannot be read: {error.strerror}.") from error
    except BadRow as error:
        raise CausalError(f"The questions at {path} cannot be read: {error}.") from error
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [line for line in text.splitlines() if line.strip()]
        rows = [_line(line) for line in lines]
        if text.lstrip().startswith("[") or all(isinstance(row, _Spoilt) for row in rows):
            raise CausalError(f"The questions at {path} are not JSON: {error}.") from error
        return enumerate(rows, start=1)
    return enumerate(_listed(whole), start=1)


def _listed(whole: object) -> list[object]:
    """The questions of a file that is one JSON value."""
    if isinstance(whole, dict):
        lists = [v for v in whole.values() if isinstance(v, list)]
        return max(lists, key=len) if lists else [whole]
    return whole if isinstance(whole, list) else [whole]


def _line(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return _Spoilt("line is not JSON")


def _word(row: Mapping[str, Any], *names: str) -> str:
    """The first of these fields, as words; KeyError where none is there, BadRow for an object."""
    name = next((name for name in names if row.get(name) not in (None, "")), None)
    if name is None:
        raise KeyError(names[0])
    value = row[name]
    if not isinstance(value, str | int | float):
        raise BadRow(f"{name} is not a word")
    return well_formed(str(value))


def _pope_row(number: int, row: Mapping[str, Any], layout: DatasetLayout) -> Case:
    label = _word(row, "label", "answer").strip().lower().rstrip(".")
    if label not in ("yes", "no"):
        raise BadRow("label is neither yes nor no")
    name = _word(row, "image", "image_source")
    text = _word(row, "text", "question")
    picture = _picture(layout, name)
    sample = Sample(
        id=name, turns=(Turn("user", text, images=1),), images=(picture,), source="pope"
    )
    return _yes_no(sample, label == "yes", "presence")


def _hallusion_row(number: int, row: Mapping[str, Any], layout: DatasetLayout) -> Case:
    answer = _word(row, "gt_answer").strip()
    if answer not in ("0", "1"):
        raise BadRow("gt_answer is neither 0 nor 1")
    shown = str(row.get("visual_input", "1")) != "0"
    if shown and not row.get("filename") and "visual_input" in row:
        raise BadRow("a question about a picture names none")
    seen = shown and bool(row.get("filename"))
    pictures = (_picture(layout, _word(row, "filename")),) if seen else ()
    turn = Turn("user", _word(row, "question"), images=len(pictures))
    name = str(
        row.get("filename") or f"{row.get('subcategory', 'text')}-{row.get('set_id', number)}"
    )
    sample = Sample(id=name, turns=(turn,), images=pictures, source="hallusionbench")
    kind = "/".join(str(row[k]) for k in ("category", "subcategory") if k in row)
    return _yes_no(sample, answer == "1", kind or "hallusion")


def _yes_no(sample: Sample, yes: bool, kind: str) -> Case:
    return Case(sample, "Yes" if yes else "No", "No" if yes else "Yes", kind)


def _picture(layout: DatasetLayout, name: str) -> Image.Image:
    """The picture as a corpus reads it; a name may not lead out of the folder."""
    return decode(located(name, layout))
