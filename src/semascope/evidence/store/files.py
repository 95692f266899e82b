"""Files written whole or not at all, locks, and arrays mapped from safetensors files.

Knows bytes and arrays only.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from semascope.errors import DiskFull, EvidenceError

GATHERING = "gathering.json"
"""Comes last: where it stands, all the rest does."""
SHOWN = "shown.arrow"

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "<i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}  # fmt: skip


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; renamed to it if the block ends well, removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"No room left to write {path}; free some and run again.") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """One JSON file, whole."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """One safetensors file, whole."""
    solid = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    with replacing(path) as temporary:
        save_file(solid, str(temporary))


def mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, mapped: only what is read is loaded."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        data = np.memmap(path, np.uint8, "r", offset=8 + size) if header else b""
        return {
            name: _view(data, about) for name, about in header.items() if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError) as error:
        raise EvidenceError(
            f"{path} cannot be read ({error}); delete its folder and run `semascope gather` again."
        ) from error


def _view(data: Any, about: Mapping[str, Any]) -> NDArray[Any]:
    start, stop = about["data_offsets"]
    kind = np.dtype(_TYPES[about["dtype"]])
    if stop > len(data):
        raise ValueError("the file is cut short")
    flat = np.frombuffer(data, kind, (stop - start) // kind.itemsize, start)
    return flat.reshape(about["shape"])


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder for one process; the lock dies with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EvidenceError(
                f"Another process is gathering evidence into {folder}; wait for it to end."
            ) from error
        yield
