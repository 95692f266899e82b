"""Guided tours as data: steps to read, ask, explain and change, and what to measure afterwards.

A tour is a file in ``tours/``. It has no results, only questions that the player answers by
measuring (``Expect``). Pictures are given by what they show ("a flag") and searched in the run.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from semascope.errors import NotThere

At = Literal["all", "image", "user"]
Measure = Literal["changed", "kl", "contains", "probability", "clusters"]


class _Step(BaseModel):
    """Base of all steps."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    text: str = ""
    """Text for the reader; for ``ask``, the question."""


class Say(_Step):
    """Text to read."""

    do: Literal["say"]


class Put(_Step):
    """Ask the model, in a new conversation."""

    do: Literal["ask"]
    shows: str = ""
    """What its picture shows: the top exemplar of the feature nearest in meaning is taken."""
    system: str = ""
    prefill: str = ""
    tokens: int = Field(24, ge=1, le=256)
    """Length limit of the answer."""


class Look(_Step):
    """Show the concepts behind a token of the answer."""

    do: Literal["why"]
    token: str = ""
    """Words, one of which is in the token to explain. If empty or not in the answer: the answer's
    first token with content."""
    mode: Literal["attribution", "activation"] = "attribution"
    pictured: bool = False
    """Count only features at image tokens."""


class Change(_Step):
    """Suppress or strengthen a concept, and answer again."""

    do: Literal["suppress", "strengthen"]
    words: str = Field(min_length=1)
    """Words for the concept."""
    k: int = Field(20, ge=1, le=500)
    """Number of features, nearest in meaning first."""
    strength: float = Field(1.0, gt=0, le=10)
    """Suppress: the share to remove, at most 1. Strengthen: multiples of the feature's maximum."""
    at: At = "all"
    """At which tokens: all, those of the picture (where objects are named at the smallest dose, see
    ``evaluate steering``), or those of the user's words."""


class SwitchOff(_Step):
    """Ablate the cluster of the last look that is nearest to the words, and answer again."""

    do: Literal["switch_off"]
    words: str = Field(min_length=1)
    """The meaning of the concept."""


class Undo(_Step):
    """Undo all changes."""

    do: Literal["undo"]


class Expect(_Step):
    """A question that a measurement answers."""

    do: Literal["expect"]
    question: str = Field(min_length=1)
    measure: Measure
    """``changed``: does the answer differ; ``kl``: the divergence, with that of a control;
    ``contains``: does the answer contain ``text``; ``probability``: of the explained token, before
    and after; ``clusters``: does a cluster of the last look mean ``text``."""


Step = Annotated[Say | Put | Look | Change | SwitchOff | Undo | Expect, Field(discriminator="do")]


class Tour(BaseModel):
    """A guided tour."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[a-z][a-z-]*$")
    title: str
    about: str
    thing: str = ""
    """Value of ``{thing}`` in the steps; a run without a feature for it uses another."""
    steps: tuple[Step, ...] = Field(min_length=2)

    @property
    def needs_picture(self) -> bool:
        """Whether a question needs a picture."""
        return any(isinstance(step, Put) and step.shows for step in self.steps)


@lru_cache(maxsize=1)
def tours() -> tuple[Tour, ...]:
    """The built-in tours, by file name."""
    folder = files("semascope.monitor") / "tours"
    paths = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(Tour.model_validate(tomllib.loads(f.read_text("utf-8"))) for f in paths)


def tour(name: str) -> Tour:
    """One tour by name. NotThere if there is none."""
    for one in tours():
        if one.name == name:
            return one
    names = ", ".join(one.name for one in tours())
    raise NotThere(f"There is no tour {name!r}; there are {names}.")
