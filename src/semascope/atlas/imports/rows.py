"""Rows of other people's files: read one by one, so that a bad one is counted and not the end.

Text keeps what a database can hold: half a surrogate pair and NUL become U+FFFD. Numbers are
finite. Knows files and JSON; knows no atlas.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from semascope.corpus.sample import SkipReport
from semascope.errors import AtlasError

LONGEST = 100_000
"""Characters of a text; no description is as long."""
WIDEST = 10_000_000
"""Features of a dictionary; no number of a feature is as large."""
NAMED = 3
"""Rows left out that are named for each reason."""
_UNKEPT = re.compile("[\ud800-\udfff\x00]")


def clean(value: Any) -> str:
    """Any value as a text that a database can hold; "" for None.

    Raises ValueError for one of more than ``LONGEST`` characters.
    """
    text = "" if value is None else str(value)
    if len(text) > LONGEST:
        raise ValueError(f"a text has more than {LONGEST:,} characters")
    return _UNKEPT.sub("\ufffd", text)


def cleaned(value: Any) -> Any:
    """A JSON value with every text in it cleaned, keys too."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean(name): cleaned(item) for name, item in value.items()}
    return value


def number(value: Any, default: float = 0.0) -> float:
    """A finite number, ``default`` for nothing; ValueError for what is none."""
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{type(value).__name__} in the place of a number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError("a number is NaN or infinite")
    return found


def share(value: Any) -> float:
    """A number between 0 and 1; ValueError for others."""
    found = number(value)
    if not 0 <= found <= 1:
        raise ValueError("a share is not between 0 and 1")
    return found


def index_of(value: Any) -> int:
    """The number of a feature; ValueError for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("it has no number of a feature")
    found = int(value)
    if not 0 <= found < WIDEST:
        raise ValueError("its number of a feature is out of range")
    return found


def parsed(text: str) -> Any:
    """JSON, cleaned; ValueError where it is none, or too deep."""
    try:
        return cleaned(json.loads(text))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def lines(path: Path, skips: SkipReport) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the row, JSON object) of a file of JSON lines, gzipped or not.

    A row that is no JSON object is counted in ``skips``; so is the end of a file cut short, after
    the rows before it. AtlasError where the file cannot be opened.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
            for place, line in enumerate(file, 1):
                name = f"{path.name}:{place}"
                if not line.strip():
                    continue
                try:
                    found = parsed(line)
                except ValueError:
                    skips.add(name, "no JSON, or cut short")
                    continue
                if isinstance(found, dict):
                    yield name, found
                else:
                    skips.add(name, "no JSON object")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        skips.add(path.name, f"cut short, or damaged ({error})")
    except OSError as error:
        raise AtlasError(f"{path} cannot be read ({error}).") from error


def told(skips: SkipReport) -> list[str]:
    """A line for each reason for which rows were left out, with the first of them."""
    out = []
    for reason, count in skips.reasons.items():
        names = [name for name, why in skips.named if why == reason][:NAMED]
        more = "…" if count > len(names) else ""
        out.append(f"{count} left out: {reason} ({', '.join(names)}{more})")
    return out


def json_file(path: Path) -> Any:
    """All of a JSON file, cleaned; AtlasError where it is none."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
        return cast(Any, parsed(text))
    except (OSError, ValueError) as error:
        raise AtlasError(f"{path} cannot be read as JSON ({error}).") from error
