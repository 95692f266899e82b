"""POPE's and HallusionBench's own files as cases; the pictures stay where the user put them.

POPE: JSON lines of ``image`` (a file name), ``text`` (the question) and ``label`` (yes or no).
HallusionBench: one JSON list of ``question``, ``gt_answer`` ("1" yes, "0" no), ``filename``,
``visual_input`` ("0": no picture), ``category`` and ``subcategory``.

A row that cannot be read is counted and named in the report, and skipped. Knows files; no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from semascope.causal.cases import Case
from semascope.corpus.sample import Sample, SkipReport, Turn
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
    report = SkipReport()
    cases: list[Case] = []
    for number, row in _rows(path):
        if len(cases) == limit:
            break
        try:
            cases.append(convert(number, row, images))
        except KeyError as error:
            report.add(f"{path.name}:{number}", f"no field {error}")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            report.add(f"{path.name}:{number}", f"picture: {type(error).__name__}")
        except ValueError as error:
            report.add(f"{path.name}:{number}", str(error))
    if not cases:
        why = report.named[0][1] if report.named else "it is empty"
        raise CausalError(f"No question of {path} can be used: {why}.")
    return cases, report


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Numbered rows of a JSON list, or of JSON lines."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise CausalError(f"The questions at {path} cannot be read: {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CausalError(f"The questions at {path} are not JSON: {error}.") from error
    return enumerate(rows, start=1)


def _pope_row(number: int, row: Mapping[str, Any], images: Path) -> Case:
    label = str(row["label"]).strip().lower()
    if label not in ("yes", "no"):
        raise ValueError(f"the label is {label!r}, not yes or no")
    picture = _picture(images, str(row["image"]))
    turn = Turn("user", str(row["text"]), images=1)
    sample = Sample(id=str(row["image"]), turns=(turn,), images=(picture,), source="pope")
    return _yes_no(sample, label == "yes", "presence")


def _hallusion_row(number: int, row: Mapping[str, Any], images: Path) -> Case:
    answer = str(row["gt_answer"])
    if answer not in ("0", "1"):
        raise ValueError(f"gt_answer is {answer!r}, not 0 or 1")
    shown = str(row.get("visual_input", "1")) != "0" and bool(row.get("filename"))
    pictures = (_picture(images, str(row["filename"])),) if shown else ()
    turn = Turn("user", str(row["question"]), images=len(pictures))
    name = str(
        row.get("filename") or f"{row.get('subcategory', 'text')}-{row.get('set_id', number)}"
    )
    sample = Sample(id=name, turns=(turn,), images=pictures, source="hallusionbench")
    kind = "/".join(str(row[k]) for k in ("category", "subcategory") if k in row)
    return _yes_no(sample, answer == "1", kind or "hallusion")


def _yes_no(sample: Sample, yes: bool, kind: str) -> Case:
    return Case(sample, "Yes" if yes else "No", "No" if yes else "Yes", kind)


def _picture(folder: Path, name: str) -> Image.Image:
    """The picture, upright, RGB; a name may not lead out of the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"the picture {name!r} lies outside {folder}")
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")
