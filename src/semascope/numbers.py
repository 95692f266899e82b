"""Types of numbers in user input, each with its valid range.

Pydantic rejects a value outside the range and names the flag or field. Infinity and NaN are
rejected everywhere.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

MOST = 10**12
"""A count larger than any run can read."""

Count = Annotated[int, Field(ge=1, le=MOST)]
"""At least one."""
CountOrNone = Annotated[int, Field(ge=0, le=MOST)]
"""A count that may be 0."""
Index = Annotated[int, Field(ge=0, le=10_000_000)]
"""The number of a layer or a feature."""
Position = Annotated[int, Field(ge=-10_000_000, le=10_000_000)]
"""A token of a prompt; negative from its end."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""A seed that all random number generators accept."""
Port = Annotated[int, Field(ge=0, le=65_535)]
"""A port of this machine; 0 takes a free one."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A share of a whole."""
Score = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
"""A score or a correlation."""
NotNegative = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""A rate, a price, a distance."""
Positive = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
"""A scale, a time limit."""
Strength = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
"""A dose or a coordinate, in any unit."""
Temperature = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
"""Of sampling; 0 takes the likeliest token."""
