"""Files that are whole or not there, and what a full disk says, in one place.

A file is written beside its place, synced and renamed, so nobody ever sees half of it; what was
there before stays until then.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.errors import DiskFull, FormatError, SemascopeError, WorkspaceError

if TYPE_CHECKING:
    from torch import Tensor

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = ("no space left", "disk is full", "disk quota exceeded")


@contextmanager
def whole(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path``, put in its place in one step at the end.

    ``sync`` False leaves out the wait for the disk, for many files that can be made again.

    Raises:
        DiskFull: there is no room; what was there is whole.
        WorkspaceError: the folder cannot be written.
    """
    with disk_guard(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            yield temporary
            if sync:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file, whole."""
    with whole(path) as temporary:
        write(temporary)


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, whole."""
    write_whole(path, lambda at: at.write_text(text, encoding="utf-8", newline=""))


def remove(path: Path) -> None:
    """Remove a file or a folder that a changed option made stale."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def disk_guard(folder: Path) -> Iterator[None]:
    """Turn what a full disk or a forbidden folder says into a sentence for the user."""
    try:
        yield
    except SemascopeError:
        raise
    except Exception as error:
        if is_full(error):
            raise DiskFull(full_sentence(folder)) from error
        forbidden = isinstance(error, PermissionError | NotADirectoryError | FileExistsError)
        if forbidden or (isinstance(error, OSError) and error.errno == errno.EROFS):
            raise WorkspaceError(
                f"{folder} cannot be written ({getattr(error, 'strerror', error)}). "
                "Name another --workspace."
            ) from error
        raise


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one beneath it, says that the disk is full.

    Libraries in C and Rust raise types of their own; their message is then all there is.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(words in str(error).lower() for words in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def full_sentence(folder: Path) -> str:
    """What to do when the disk that holds ``folder`` is full."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f"The disk that holds {folder} is full ({free:.0f} MiB free). What was written before is "
        "whole: free some room, or move the workspace, and run the same command again to go on."
    )


def write_json(path: Path, value: Any) -> None:
    """JSON, indented."""
    text = json.dumps(value, indent=2) + "\n"
    write_whole(path, lambda at: at.write_text(text, "utf-8"))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Any = None) -> None:
    """safetensors, with JSON in its header."""
    from safetensors.torch import save_file

    header = None if metadata is None else {"semascope": json.dumps(metadata)}
    flat = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_whole(path, lambda at: save_file(flat, at, metadata=header))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a safetensors file and the JSON that was put in its header, or None.

    Raises:
        FormatError: the file is cut short, or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

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
