"""Files that are either whole or not there: written beside their place, synced, renamed.

Knows bytes and tensors, not what they mean.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from semascope.errors import DiskFull, FormatError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a temporary file, then put it at ``path`` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(
                f"No room left on the device to write {path}; what was there is whole. "
                "Free some space and run again."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON, indented."""
    text = json.dumps(value, indent=2) + "\n"
    write_whole(path, lambda at: at.write_text(text, "utf-8"))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Any = None) -> None:
    """safetensors, with JSON in its header."""
    header = None if metadata is None else {"semascope": json.dumps(metadata)}
    flat = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_whole(path, lambda at: save_file(flat, at, metadata=header))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a safetensors file and the JSON that was put in its header, or None.

    Raises:
        FormatError: the file is cut short, or is no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("semascope")
        return load_file(path), None if header is None else json.loads(header)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        why = "It may have been cut short while it was copied: fetch it again."
        if path.is_file() and _start(path, 24) == b"version https://git-lfs.":
            why = "It is a git-lfs pointer, not the file: run git lfs pull."
        raise FormatError(f"{path} cannot be read as safetensors ({error}). {why}") from error


def _start(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def read_json(path: Path) -> Any:
    """The value of a JSON file, or a FormatError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} is not readable JSON ({error}).") from error
