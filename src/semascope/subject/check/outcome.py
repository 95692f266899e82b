"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "failed", "not applicable"]
OK: State = "ok"
FAILED: State = "failed"
NOT_APPLICABLE: State = "not applicable"


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """A check's name, its result, a sentence about it and a figure, if there is one."""

    name: str
    state: State
    sentence: str
    figure: float | None = None
    """The measured value: mostly the largest relative difference."""
