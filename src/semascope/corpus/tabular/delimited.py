"""CSV and TSV to records: finds the delimiter and the header, and captions by file name.

Flickr30k's ``results.csv`` is delimited by ``|``; its ``.token`` file by tabs, without a header.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from semascope.corpus.tabular.json_files import SUFFIXES

_PICTURE = "|".join(sorted(suffix[1:] for suffix in SUFFIXES))
_NAMED = re.compile(rf"[^\t|,;]+\.(?:{_PICTURE})(?:#\d+)?\s*[\t|,;]", re.IGNORECASE)
_HEADER = re.compile(r"(image|file|picture|img)[\w ]*\s*[\t|,;]\s*(caption|text|comment)", re.I)
_COUNTED = re.compile(rf"(\.(?:{_PICTURE}))#\d+$", re.IGNORECASE)
DELIMITERS = ",\t|;"
FIELD = 1 << 28
"""Longest cell, in characters: a picture as base64."""


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A row that cannot be read, with the reason."""

    reason: str


def names_pictures(text: str) -> bool:
    """Whether a text file is a table of captions by file name: ``a.jpg#0<TAB>A dog runs.``"""
    lines = [line for line in text[:8192].splitlines() if line.strip()][:5]
    if len(lines) > 1 and _HEADER.match(lines[0]):
        lines = lines[1:]
    return bool(lines) and all(_NAMED.match(line) for line in lines)


def rows_of(text: str, ending: str) -> list[object]:
    """A dict for each row by the header's names; ``UnreadableRecord`` for rows that do not fit."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    mark = "\t" if ending in (".tsv", ".token") and "\t" in first else _delimiter(first)
    quoted = mark in ",;" or f'{mark}"' in text or text.startswith('"')
    old = csv.field_size_limit(FIELD)
    try:
        rows = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=mark,
            skipinitialspace=True,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        found = _cells(rows)
    finally:
        csv.field_size_limit(old)
    return _records(found)


def _delimiter(line: str) -> str:
    return max(DELIMITERS, key=lambda mark: (line.count(mark), -DELIMITERS.index(mark)))


def _cells(rows: object) -> list[list[str] | UnreadableRecord]:
    found: list[list[str] | UnreadableRecord] = []
    lines = iter(rows)  # type: ignore[call-overload]
    while True:
        try:
            row = next(lines)
        except StopIteration:
            return found
        except csv.Error:
            found.append(UnreadableRecord("row is not CSV"))
            continue
        if any(cell.strip() for cell in row):
            found.append([cell.strip() for cell in row])


def _records(rows: list[list[str] | UnreadableRecord]) -> list[object]:
    first = rows[0] if rows else []
    if isinstance(first, UnreadableRecord) or not first:
        return list(rows)
    if _named(first[0]):  # no header
        header = ["image", "text", *(f"column_{n}" for n in range(2, len(first)))][: len(first)]
    else:
        header, rows = first, rows[1:]
    return [_record(header, row) for row in rows]


def _record(header: list[str], row: list[str] | UnreadableRecord) -> object:
    if isinstance(row, UnreadableRecord):
        return row
    if len(row) > len(header):
        return UnreadableRecord("row has more fields than the header")
    if len(row) < len(header):
        return UnreadableRecord("row has fewer fields than the header")
    return {name: _COUNTED.sub(r"\1", cell) for name, cell in zip(header, row, strict=True)}


def _named(cell: str) -> bool:
    return bool(re.fullmatch(rf".+\.(?:{_PICTURE})(?:#\d+)?", cell, re.IGNORECASE))
