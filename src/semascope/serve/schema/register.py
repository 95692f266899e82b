"""Records of the safety register: its concepts, their features and the measured effects."""

from __future__ import annotations

from pydantic import Field

from semascope.serve.schema.responses import FeatureRow, Measure, Record


class TestedRecord(Record):
    """What steering with a feature did to a concept's probes."""

    effect: float
    """Change of log p(telling answer) − log p(plain answer), nats per token."""
    low: float
    high: float
    control: Measure = None
    """The same for a random feature matched in density and norm."""
    strength: float
    """In multiples of the feature's own maximum."""
    probes: int
    when: str


class RegisterRow(Record):
    """One feature found for a concept."""

    row: FeatureRow
    seed: str
    """The seed sentence that it is nearest to."""
    tested: TestedRecord | None = None


class ConceptFound(Record):
    """A concept of the register with the features found for it."""

    name: str
    title: str
    about: str
    caution: str
    seeds: list[str]
    features: list[RegisterRow] = Field(default_factory=list)
    note: str = ""


class RegisterRecord(Record):
    """Features that bear on safety, found by search."""

    caution: str
    concepts: list[ConceptFound]
