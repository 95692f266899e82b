"""Finds what is wrong with a model folder before anything is loaded.

Names, sizes and first bytes reveal a git-lfs pointer, a truncated file, a missing shard, or a
folder one level up or down.
"""

from __future__ import annotations

import difflib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semascope.errors import ModelNotFound

POINTER = b"version https://git-lfs"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
CHECKED = (*WEIGHTS, ".json", ".model", ".jinja", ".txt")
DEEP = 3
"""Levels of sub-folders that are searched for a model."""


def locate(ref: str) -> str:
    """A model folder's path, or a hub name.

    Raises:
        ModelNotFound: it can be neither, or the folder is not one that transformers reads.
    """
    path = Path(ref).expanduser()
    if ref.strip() and path.is_dir():
        _has_config(path, ref)
        inspect_files(path)
        return str(path)
    if ref.strip() and path.is_file():
        raise ModelNotFound(
            f"{ref!r} is a file: give the folder that holds it and its config.json."
        )
    if path.is_absolute() or ref.startswith((".", "~")) or ref.count("/") > 1 or not ref.strip():
        raise ModelNotFound(
            f"There is no folder {ref!r}:{near(ref)} give an existing folder, a hub name such as "
            "org/model, or 'sprite-llava', which needs no download."
        )
    return ref


def near(ref: str) -> str:
    """ " Did you mean …?" where a folder beside it has nearly that name, else ''."""
    path = Path(ref).expanduser()
    if not ref.strip() or not path.parent.is_dir():
        return ""
    names = [p.name for p in path.parent.iterdir() if p.is_dir()]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f" did you mean {str(path.parent / close[0])!r}? Otherwise" if close else ""


def config_of(folder: Path) -> dict[str, Any]:
    """A folder's config.json.

    Raises:
        ModelNotFound: it is cut short, not JSON, or not an object.
    """
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelNotFound(
            f"{path} cannot be read as JSON ({error}): it is cut short or damaged. Copy or "
            "download it again."
        ) from error
    if not isinstance(found, dict):
        raise ModelNotFound(f"{path} holds a {type(found).__name__}, not the config of a model.")
    return found


def inspect_files(folder: Path) -> None:
    """Raise ModelNotFound for damaged files."""
    for path in sorted(folder.iterdir()):
        if path.suffix in CHECKED and path.is_file():
            _inspect(path)
    for index in folder.glob("*.index.json"):
        _inspect_index(index)


def _has_config(path: Path, ref: str) -> None:
    if (path / "config.json").is_file():
        return
    names = {p.name for p in path.iterdir()}
    if "adapter_config.json" in names:
        raise ModelNotFound(
            f"The folder {ref!r} holds an adapter (LoRA), not a whole model: merge it into its "
            "base model (merge_and_unload), save that, and give its folder."
        )
    if any(name.endswith(".gguf") for name in names):
        raise ModelNotFound(
            f"The folder {ref!r} holds GGUF files, which are not read: give the folder or hub name "
            "of the model that they were made from."
        )
    elsewhere = next(_models_near(path), None)
    hint = "Give the folder that save_pretrained wrote."
    if elsewhere:
        hint = f"There is one in {str(elsewhere)!r}: give that folder."
    raise ModelNotFound(f"The folder {ref!r} holds no config.json. {hint}")


def _models_near(path: Path) -> Iterator[Path]:
    """Folders with a config.json below a folder, or around it."""
    for depth in range(1, DEEP + 1):
        pattern = "/".join(["*"] * depth) + "/config.json"
        yield from (found.parent for found in sorted(path.glob(pattern)))
    above = path.resolve().parent
    if (above / "config.json").is_file():
        yield above


def _inspect(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(POINTER))
    if start == POINTER:
        raise ModelNotFound(
            f"{path} is a git-lfs pointer, not the file itself: run `git lfs pull` in that "
            "folder, or download the model again."
        )
    if size == 0 and path.suffix in (*WEIGHTS, ".json", ".model"):
        raise ModelNotFound(f"{path} is empty: download or copy it again.")
    if path.suffix == ".safetensors":
        _inspect_safetensors(path, size)


def _inspect_safetensors(path: Path, size: int) -> None:
    """A safetensors file is 8 bytes of length, a JSON header of that length, and the data."""
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        try:
            header: dict[str, Any] = json.loads(file.read(length) if 8 + length <= size else b"")
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
            raise ModelNotFound(
                f"{path} is not a whole safetensors file: its header cannot be read. Download or "
                "copy it again."
            ) from error
    whole = 8 + length + max(ends, default=0)
    if whole > size:
        raise ModelNotFound(
            f"{path} is cut short: it holds {size:,} of {whole:,} bytes. Download or copy it again."
        )


def _inspect_index(index: Path) -> None:
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelNotFound(
            f"{index} cannot be read as a list of weight files: download or copy it again."
        ) from error
    gone = sorted({name for name in named if not (index.parent / name).is_file()})
    if gone:
        raise ModelNotFound(
            f"{index.parent} lacks {len(gone)} of the files that its index names, {gone[0]} the "
            "first: the download is not complete."
        )
