"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "failed", "not applicable"]
OK: State = "ok"
FAILED: State = "failed"
NOT_APPLICABLE: State = "not applicable"


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """A check's name, its result, a sentence about it and, where there is one, a figure."""

    name: str
    state: State
    sentence: str
    figure: float | None = None
    """What was measured: mostly the largest difference as a share of what it is compared with."""
