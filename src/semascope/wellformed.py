"""Text that can be written: halves of surrogate pairs joined or replaced.

JSON may hold ``\\ud83d`` alone, half of an emoji. Python reads it into a string that no file, no
database and no socket takes. Knows strings only.
"""

from __future__ import annotations

import json
from typing import Any


def well_formed(text: str) -> str:
    """The same text with surrogate pairs joined and lone surrogates as U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def loads(text: str) -> Any:
    """``json.loads`` with every string well formed. Raises ValueError as it does."""
    found = json.loads(text)
    # Only an escape can make half a pair; most files hold none.
    return _each(found) if "\\ud" in text or "\\uD" in text else found


def _each(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_each(one) for one in value]
    if isinstance(value, dict):
        return {well_formed(key): _each(one) for key, one in value.items()}
    return value
