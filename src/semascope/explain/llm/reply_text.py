"""The JSON objects in the text of a reply: what was thought is left out, what was asked is found.

Models think in tags before they answer, write drafts, put fences and prose around the answer,
nest it under a key, and write single quotes or a comma too many. Knows text only: no feature and
no server.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

LONGEST = 100_000
"""Characters of a reply that are looked at, the last ones: answers stand at the end."""
MOST_STARTS = 1_000
"""Opening braces that are tried."""
MOST_REPAIRS = 64
LONGEST_REPAIR = 20_000
_DEPTH = 5
"""Levels under which an answer may be nested."""

_NAMES = r"(?:seed:)?(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad|analysis)"
_OPEN = re.compile(
    rf"<{_NAMES}>|◁think▷|\[THINK\]|<\|(?:begin_of_thought|START_THINKING|thinking)\|>"
    r"|<\|channel\|?>\s*(?:analysis|commentary|thought)|<unused94>|\A\s*analysis(?=[A-Z{\"'])",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    rf"</{_NAMES}>|◁/think▷|\[/THINK\]|<\|(?:end_of_thought|END_THINKING|/thinking)\|>"
    r"|<\|channel\|>\s*final[^<]*<\|message\|>|<channel\|>|<unused95>|assistantfinal",
    re.IGNORECASE,
)


class CutWhileThinkingError(ValueError):
    """The reply ended before the thinking did."""


def answer_part(text: str) -> str:
    """The text without what was thought; tags inside a JSON object are part of the object.

    Raises:
        CutWhileThinkingError: The thinking was never closed.
    """
    spans = [span for span, _ in objects(text)] if _OPEN.search(text) or _CLOSE.search(text) else []
    opens = [m for m in _OPEN.finditer(text) if not _inside(m.start(), spans)]
    closes = [m for m in _CLOSE.finditer(text) if not _inside(m.start(), spans)]
    kept, at = "", 0
    for close in closes:
        first = next((m.start() for m in opens if at <= m.start() < close.start()), None)
        # Closed and never opened: the tag that opens was part of the prompt.
        kept = "" if first is None else kept + text[at:first]
        at = close.end()
    if any(m.start() >= at for m in opens):
        raise CutWhileThinkingError("The reply ended while the model was still thinking.")
    return kept + text[at:]


def _inside(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(a < place < b for a, b in spans)


def objects(text: str) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    """((start, end), object) of each outermost JSON object, in order."""
    starts = [m.start() for m in re.finditer(r"\{", text)][-MOST_STARTS:]
    at, repairs = 0, 0
    for start in starts:
        if start < at:
            continue
        found = _decoded(text, start)
        if found is None and repairs < MOST_REPAIRS:
            repairs += 1
            found = _repaired(text, start)
        if found is not None:
            at = found[0]
            yield (start, at), found[1]


def _decoded(text: str, start: int) -> tuple[int, dict[str, Any]] | None:
    try:
        found, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError
        return None
    return (end, found) if isinstance(found, dict) else None


def _repaired(text: str, start: int) -> tuple[int, dict[str, Any]] | None:
    """An object with a comma too many, single or curly quotes, or Python's constants."""
    end = _balanced(text, start)
    if end is None:
        return None
    part = text[start:end]
    for version in (part, part.replace("“", '"').replace("”", '"')):
        found = _literal(version)
        if isinstance(found, dict) and all(isinstance(key, str) for key in found):
            return end, found
    return None


def _balanced(text: str, start: int) -> int | None:
    """End of the braces that open at ``start``; strings are skipped."""
    depth, quote, before = 0, "", "{"
    place, last = start, min(len(text), start + LONGEST_REPAIR)
    while place < last:
        char = text[place]
        if quote:
            if char == "\\":
                place += 1
            elif char == quote:
                quote = ""
        elif char == '"' or (char == "'" and before in "{[:,"):
            quote = char
        else:
            depth += (char == "{") - (char == "}")
            if not depth:
                return place + 1
        if not char.isspace():
            before = char
        place += 1
    return None


_CONSTANT = re.compile(
    r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|\b(true|false|null|NaN)\b""", re.DOTALL
)
_PYTHON = {"true": "True", "false": "False", "null": "None", "NaN": "None"}


def _literal(part: str) -> Any:
    """The object as a literal of Python, which takes both quotes and a comma at the end."""
    python = _CONSTANT.sub(lambda m: m[1] or _PYTHON[m[2]], part)
    # A line's end inside a string is no literal; outside it is a space like others.
    python = python.replace("\r", " ").replace("\n", " ").replace("\x00", " ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.literal_eval(python)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def with_fields(value: Any, fields: Sequence[str], depth: int = _DEPTH) -> dict[str, Any] | None:
    """``value`` or what lies inside it that has one of the fields, keys in lower case.

    Looks under keys, in lists, and in strings that are JSON themselves; of several, the last.
    """
    if depth < 0:
        return None
    if isinstance(value, dict):
        plain = {_key(k): v for k, v in value.items()}
        if any(name in plain for name in fields):
            return plain
        inner = list(value.values())
    elif isinstance(value, str) and "{" in value:
        inner = [found for _, found in objects(value[-LONGEST:])]
    elif isinstance(value, list):
        inner = value
    else:
        return None
    for one in reversed(inner):
        found = with_fields(one, fields, depth - 1)
        if found is not None:
            return found
    return None


def _key(name: Any) -> str:
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def placeholder(answer: dict[str, Any], fields: Sequence[str]) -> bool:
    """Whether an object repeats the form of the answer: dots, or types, in place of values."""
    given = [answer[name] for name in fields if name in answer]
    return bool(given) and all(
        (isinstance(v, str) and bool(re.fullmatch(r"\s*(?:\.{2,}|…|<[^<>]*>|string|number)\s*", v)))
        or isinstance(v, dict)
        for v in given
    )


def unfinished(text: str, after: int, fields: Sequence[str]) -> bool:
    """Whether an object with one of the fields begins behind ``after`` and does not end."""
    tail = text[after:]
    names = "|".join(map(re.escape, fields))
    return re.search(rf"\{{\s*[\"']?(?:{names})[\"']", tail, re.IGNORECASE) is not None


def whole(text: str) -> Any:
    """The text as one JSON value that is no object, None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
