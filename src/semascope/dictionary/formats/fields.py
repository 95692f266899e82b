"""Reading a foreign configuration strictly: every field is there and of its type, or refused.

A value that is missing is never replaced by a default of ours. Where a caller knows it, it comes as
one of ``CheckpointHints``; where neither says it, the error names the field, the file and the flag.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semascope.dictionary.config import ArchitectureName
from semascope.errors import FormatError


@dataclass(frozen=True, slots=True)
class CheckpointHints:
    """What the caller knows of a checkpoint that its files do not say."""

    architecture: ArchitectureName | None = None
    """Activation function."""
    k: int | None = None
    """Active latents a token."""
    threshold: float | None = None
    """One threshold for all latents, in the units of the stored weights."""
    scale: float | None = None
    """Factor that activations were multiplied by in training; 1 where it is folded already."""
    subtract_b_dec: bool | None = None
    """Whether b_dec is subtracted from the input."""
    site: str = ""
    """Where the dictionary reads, if the files do not say or name it otherwise."""
    site_out: str = ""
    """Where a transcoder writes."""


class ConfigFields:
    """A configuration file with the checks that reading it needs."""

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        self.values, self.path = values, path

    @classmethod
    def read(cls, path: Path) -> ConfigFields:
        """The JSON object of a file.

        Raises:
            FormatError: it is not readable JSON, is no object, or has NaN or a key twice.
        """
        return cls(read_object(path), path)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def fault(self, name: str, want: str) -> FormatError:
        """The error for a field of the wrong type or value."""
        return FormatError(f"{self.path}: {name} is {shown(self.values.get(name))}, not {want}.")

    def text(self, name: str) -> str | None:
        """A string, or None where it is absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.fault(name, "a string")
        return value

    def flag(self, name: str) -> bool | None:
        """A boolean, or None where it is absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.fault(name, "true or false")
        return value

    def count(self, name: str, least: int = 1) -> int | None:
        """A whole number of at least ``least``, or None where it is absent."""
        value = self.values.get(name)
        return None if value is None else whole(value, name, self.path, least)

    def number(self, name: str) -> float | None:
        """A finite number, or None where it is absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(name, "a number")
        if not math.isfinite(value) or abs(value) > 1e30:
            raise self.fault(name, "a finite number")
        return float(value)

    def part(self, name: str) -> ConfigFields:
        """A nested object; an empty one where it is absent."""
        value = self.values.get(name)
        if value is None:
            return ConfigFields({}, self.path)
        if not isinstance(value, dict):
            raise self.fault(name, "an object")
        return ConfigFields(value, self.path)

    def width(self, name: str, is_: int) -> None:
        """FormatError where the field is there and is not the tensors' size ``is_``."""
        said = self.count(name, least=0)
        if said and said != is_:
            raise FormatError(f"{self.path}: {name} is {said}, but the tensors say {is_}.")


def decided(field: str, path: Path, flag: str, *said: Any) -> Any:
    """The one value that files and hints agree on.

    Args:
        field: name of the field, for the error.
        path: file that should hold it.
        flag: what the caller can say instead.
        said: what each source says; None where it says nothing.

    Raises:
        FormatError: nobody says it, or two sources contradict each other.
    """
    found = [value for value in said if value is not None]
    if not found:
        raise FormatError(
            f"{path} does not say {field}, and the tensors do not decide it. Find it out from "
            f"where the checkpoint was published, and give it: {flag}."
        )
    if any(value != found[0] for value in found):
        values = " and ".join(dict.fromkeys(shown(value) for value in found))
        raise FormatError(f"{path}: {field} is given as {values}; only one can be right.")
    return found[0]


def flag(name: str, value: str) -> str:
    """How a hint is given on the command line and in Python."""
    python = name.replace("-", "_")
    return f"--{name} {value} on the command line, {python}=... in Python"


def k_of(path: Path, hints: CheckpointHints, *said: int | None) -> int:
    """Active latents a token, from wherever it is said."""
    found: int = decided("k, the number of active latents", path, flag("k", "N"), *said, hints.k)
    return found


def whole(value: Any, name: str, path: Path, least: int = 1) -> int:
    """A JSON number or a tensor of one number as an integer."""
    if hasattr(value, "numel"):
        value = value.item() if value.numel() == 1 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 40:
        raise FormatError(f"{path}: {name} is {shown(value)}, not a whole number from {least}.")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file, without NaN, infinities or keys that stand twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"the key {twice[0]!r} stands twice")
        return dict(pairs)

    def constant(word: str) -> Any:
        raise ValueError(f"it holds {word}")

    try:
        text = path.read_text(encoding="utf-8-sig")
        value = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except (OSError, ValueError, RecursionError) as error:
        pointer = " It is a git-lfs pointer: run git lfs pull." if is_pointer(path) else ""
        raise FormatError(f"{path} is not readable JSON ({error}).{pointer}") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path} holds {shown(value)}, not a JSON object.")
    return value


def is_pointer(path: Path) -> bool:
    """Whether git-lfs left a pointer in the place of the file."""
    try:
        with path.open("rb") as file:
            return file.read(42).startswith(b"version https://git-lfs.github.com/spec/")
    except OSError:
        return False


def unknown(cfg: Mapping[str, Any], known: Collection[str], kept: Any = None) -> dict[str, Any]:
    """Keys of a configuration that mean nothing here, with those that were carried along."""
    carried = kept if isinstance(kept, Mapping) else {}
    return {**carried, **{key: value for key, value in cfg.items() if key not in known}}


def shown(value: Any) -> str:
    """A value in an error, on one line and cut short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
