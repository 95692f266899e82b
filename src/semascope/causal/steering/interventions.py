"""Interventions as data: what to do to which features at which tokens, and their JSON.

They are saved, shared and replayed without a model: ``token_masks`` finds the positions, ``edits``
does the arithmetic.

The dose is ``strength``, in units of ``unit``; u is one unit of the feature in activations:

* ``clamp``    z' = strength · u
* ``add``      z' = z + strength · u
* ``scale``    z' = strength · z
* ``ablate``   z' = (1 − strength) · z
* ``project``  x' = x − strength · P x, P the orthogonal projector on the features' directions

Strength 0 (1 for ``scale``) leaves the model alone, to the bit; to silence a feature, ablate it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from semascope.errors import CausalError
from semascope.files import write_text
from semascope.numbers import Index, Position, Strength

FeatureId = tuple[str, int]
"""(dictionary as ``site/name``, index)."""
RoleName = Literal["system", "user", "assistant"]
KindName = Literal["text", "special", "image", "tile", "newline"]
How = Literal["clamp", "scale", "add", "ablate", "project"]
Unit = Literal["max", "quantile", "absolute"]


class Region(BaseModel):
    """A box on one picture, in pixels of the picture as the user gave it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    left: Strength
    top: Strength
    right: Strength
    bottom: Strength
    image: Index = 0
    """Which picture of the sample."""

    @model_validator(mode="after")
    def _has_area(self) -> Region:
        if self.right <= self.left or self.bottom <= self.top:
            raise ValueError(f"the region {self.box} has no area: left < right and top < bottom")
        if self.left < 0 or self.top < 0:
            raise ValueError(f"the region {self.box} lies outside the picture")
        return self

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return (self.left, self.top, self.right, self.bottom)


class Where(BaseModel):
    """Selects tokens. A token must match every field that is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    roles: tuple[RoleName, ...] | None = None
    """Roles of the tokens; generated tokens are the assistant's."""
    kinds: tuple[KindName, ...] | None = None
    """Kinds of token; generated tokens are text."""
    text: str | None = None
    """Tokens of every occurrence of this text in the prompt, partly covered ones included."""
    positions: tuple[Position, ...] | None = None
    """Positions from the prompt's first real token; negative ones count from its end."""
    region: Region | None = None
    """Image tokens that look at this part of a picture."""
    generated: bool | None = None
    """True for generated tokens only, False for the prompt only."""


class Intervention(BaseModel):
    """One change to a set of features, at some tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[tuple[str, Annotated[int, Field(le=10_000_000)]], ...] = Field(min_length=1)
    """(dictionary, index) pairs, the dictionary as ``site/name``."""
    where: Where = Where()
    how: How = "clamp"
    strength: Strength = 1.0
    """The dose, in units."""
    unit: Unit = "max"
    """Size of strength 1: the feature's maximum, a quantile of its activations, or 1.0."""
    quantile: float = Field(default=0.999, gt=0.0, lt=1.0)
    """Which quantile of the feature's firing activations, for ``unit='quantile'``."""
    only_active: bool = False
    """Act only where the feature fires: for a signed neuron, where its polarity matches."""
    name: str = ""
    """Name in messages."""

    @model_validator(mode="after")
    def _distinct(self) -> Intervention:
        if len(set(self.features)) < len(self.features):
            raise ValueError(f"{self.label} names one feature twice")
        if any(index < 0 for _, index in self.features):
            raise ValueError(f"{self.label} names a negative feature number")
        return self

    @property
    def label(self) -> str:
        """The name, or a short description without one."""
        first = "/".join(map(str, self.features[0]))
        rest = f" and {len(self.features) - 1} more" if len(self.features) > 1 else ""
        return self.name or f"{self.how} {first}{rest} × {self.strength:g}"

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing, whatever the model."""
        return self.strength == (1.0 if self.how == "scale" else 0.0)

    def at(self, strength: float) -> Intervention:
        """The same at another dose."""
        return self.model_copy(update={"strength": float(strength)})


_MANY = TypeAdapter(tuple[Intervention, ...])


def parse(value: object) -> tuple[Intervention, ...]:
    """Interventions from JSON text or already parsed JSON: one object or a list of them.

    Raises CausalError that says which field is wrong.
    """
    try:
        raw: Any = json.loads(value) if isinstance(value, str | bytes) else value
        if isinstance(raw, dict):
            raw = raw.get("interventions", [raw])
        return _MANY.validate_python(raw)
    except json.JSONDecodeError as error:
        raise CausalError(f"These interventions are not JSON: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the list"
        raise CausalError(
            f"These interventions cannot be read: {place}: {first['msg']}."
        ) from error


def dump(interventions: Iterable[Intervention]) -> list[dict[str, Any]]:
    """The JSON of interventions, defaults left out; ``parse`` gives them back."""
    return [item.model_dump(mode="json", exclude_defaults=True) for item in interventions]


def save(interventions: Sequence[Intervention], path: Path) -> None:
    """Write interventions as readable JSON; the file is whole or not there."""
    write_text(path, json.dumps(dump(interventions), indent=2) + "\n")


def load(path: Path) -> tuple[Intervention, ...]:
    """Interventions from a JSON file. CausalError if it cannot be read."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CausalError(f"The interventions at {path} cannot be read: {error}.") from error
