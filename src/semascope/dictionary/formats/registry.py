"""Which format a path holds, found by looking; nothing is imported from any other library."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.formats import (
    dictionary_learning,
    llamascopium,
    openai,
    saelens,
    sparsify,
)
from semascope.dictionary.formats.common import KEPT
from semascope.errors import FormatError

log = logging.getLogger(__name__)
FORMATS: dict[str, ModuleType] = {
    "sparsify": sparsify,
    "saelens": saelens,
    "dictionary_learning": dictionary_learning,
    "openai": openai,
    "llamascopium": llamascopium,
}
"""By name. multimodal-sae's checkpoints are sparsify's with a key more."""


def detect(path: Path | str) -> str:
    """The name of the format that a path holds.

    Raises:
        FormatError: nothing is there, or nothing known; the message says what was seen.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"There is nothing at {path}; check the path.")
    for name, module in FORMATS.items():
        if module.recognises(path):
            return name
    raise FormatError(f"{path} is in no known format. {_saw(path)} Known: {', '.join(FORMATS)}.")


def load(path: Path | str, *, allow_pickle: bool = False) -> SparseCoder:
    """Read a dictionary from a folder or file of any known format.

    Args:
        allow_pickle: read torch's ``.pt`` files too (tensors and plain values only; a file that
            would run code is refused even then).

    Raises:
        FormatError: nothing is there, it is cut short, unknown, or a pickle.
    """
    path = Path(path)
    name = detect(path)
    coder: SparseCoder = FORMATS[name].read(path, allow_pickle=allow_pickle)
    if coder.cfg.extra:
        log.warning("%s: keys without a meaning here, kept: %s", path, sorted(coder.cfg.extra))
    return coder


def save(
    coder: SparseCoder,
    path: Path | str,
    *,
    to: str = "sparsify",
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a dictionary; by default in our own format, which is sparsify's with keys added.

    Raises:
        FormatError: no such format, or one that cannot say what this dictionary is.
    """
    if to not in FORMATS:
        raise FormatError(f"No format is called {to!r}; there are {', '.join(FORMATS)}.")
    carried = {KEPT: coder.cfg.extra} if coder.cfg.extra and to != sparsify.NAME else {}
    FORMATS[to].write(coder, Path(path), {**carried, **(notes or {})})


def convert(
    source: Path | str, target: Path | str, *, to: str = "sparsify", allow_pickle: bool = False
) -> tuple[str, SparseCoder]:
    """Read one format, write another; the source's format and the dictionary."""
    name = detect(source)
    coder = load(source, allow_pickle=allow_pickle)
    save(coder, target, to=to)
    return name, coder


def _saw(path: Path) -> str:
    if path.is_file():
        return "It is a file of its own."
    names = sorted(p.name for p in path.iterdir())
    return f"It holds {', '.join(names[:8]) or 'nothing'}."
