"""One feature's part in an attribution."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeatureShare:
    """Attribution of one feature, summed over tokens."""

    key: str
    index: int
    score: float
    """Signed sum over tokens, in the unit of the metric (nats, or logits)."""
    positive: float
    """Sum of the positive entries."""
    negative: float
    """Sum of the negative entries."""
    peak: float
    """Largest activation."""
    tokens: int
    """Number of tokens at which it fires."""

    @property
    def id(self) -> tuple[str, int]:
        """The pair that an ``Intervention`` takes."""
        return (self.key, self.index)
