"""Whole training states on disk: one file each, the last two kept.

A state is a flat mapping of tensors with JSON in the same file, so that it is either there or not;
there is no moment at which weights and optimiser could disagree. Knows not what is trained.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from semascope.errors import FormatError
from semascope.files import read_tensors, write_tensors

log = logging.getLogger(__name__)
KEPT = 2


def write_state(folder: Path, step: int, tensors: Mapping[str, Tensor], meta: Any) -> Path:
    """Write the state after ``step`` steps; older ones but one are removed."""
    path = folder / f"state-{step:09d}.safetensors"
    write_tensors(path, tensors, {"step": step, **meta})
    for old in steps_on_disk(folder)[:-KEPT]:
        (folder / f"state-{old:09d}.safetensors").unlink(missing_ok=True)
    return path


def steps_on_disk(folder: Path) -> list[int]:
    """Steps of the states in ``folder``, rising."""
    return sorted(int(p.stem.split("-")[1]) for p in folder.glob("state-*.safetensors"))


def read_state(folder: Path, step: int | None = None) -> tuple[dict[str, Tensor], Any] | None:
    """The newest whole state (not after ``step``), or None where there is none.

    A file that cannot be read is named in the log and the one before it is taken.
    """
    for found in reversed(steps_on_disk(folder)):
        if step is not None and found > step:
            continue
        path = folder / f"state-{found:09d}.safetensors"
        try:
            tensors, meta = read_tensors(path)
        except FormatError as error:
            log.warning("Passing over a training state: %s", error)
            continue
        return tensors, meta
    return None
