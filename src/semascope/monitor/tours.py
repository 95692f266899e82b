"""Guided tours as data: what to say, ask, look at, change, and which question to put afterwards.

A tour is a file in ``tours/``; it holds no result, only questions that whoever plays it answers
by measuring (``Expect``). Pictures are told by what they show ("a flag") and found in the run.
Knows files; who plays a tour, and on what, is not its affair.
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
    """What every step is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    text: str = ""
    """Words for the person who follows the tour; for ``ask``, the question itself."""


class Say(_Step):
    """Something to read."""

    do: Literal["say"]


class Put(_Step):
    """A question to the model; it begins a new conversation."""

    do: Literal["ask"]
    shows: str = ""
    """What its picture shows: the strongest exemplar of the feature whose words are nearest."""
    system: str = ""
    prefill: str = ""
    tokens: int = Field(24, ge=1, le=256)
    """Longest answer."""


class Look(_Step):
    """Which concepts stand behind a token of the answer."""

    do: Literal["why"]
    token: str = ""
    """Words, one of which the token asked about holds; where empty or not found, the answer's
    first token that is more than an article."""
    mode: Literal["attribution", "activation"] = "attribution"
    pictured: bool = False
    """Only features on the picture count."""


class Change(_Step):
    """Turn a concept down or up; the answer is given again."""

    do: Literal["suppress", "strengthen"]
    words: str = Field(min_length=1)
    """The concept."""
    k: int = Field(20, ge=1, le=500)
    """How many features nearest in meaning."""
    strength: float = Field(1.0, gt=0, le=10)
    """Suppress: the share that is taken away, to 1. Strengthen: multiples of the maximum."""
    at: At = "all"
    """At which tokens: every one, the picture's (where a thing is named soonest: ``evaluate
    steering``) or those of the user's words."""


class SwitchOff(_Step):
    """Take out a concept of the last look, the one whose words come nearest; the answer is given
    again."""

    do: Literal["switch_off"]
    words: str = Field(min_length=1)
    """What the concept means."""


class Undo(_Step):
    """Drop all changes."""

    do: Literal["undo"]


class Expect(_Step):
    """A question that is answered by measuring."""

    do: Literal["expect"]
    question: str = Field(min_length=1)
    measure: Measure
    """``changed``: is the answer another; ``kl``: how far beside a control; ``contains``: does the
    answer hold ``text``; ``probability``: of the token asked about, before and after; ``clusters``:
    does a concept of the last look mean ``text``."""


Step = Annotated[Say | Put | Look | Change | SwitchOff | Undo | Expect, Field(discriminator="do")]


class Tour(BaseModel):
    """A guided tour."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[a-z][a-z-]*$")
    title: str
    about: str
    thing: str = ""
    """What ``{thing}`` means in its steps; a run without a feature of it goes on with another."""
    steps: tuple[Step, ...] = Field(min_length=2)

    @property
    def needs_picture(self) -> bool:
        """Whether some question shows a picture."""
        return any(isinstance(step, Put) and step.shows for step in self.steps)


@lru_cache(maxsize=1)
def tours() -> tuple[Tour, ...]:
    """The tours that ship, by file name."""
    folder = files("semascope.monitor") / "tours"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(Tour.model_validate(tomllib.loads(f.read_text("utf-8"))) for f in found)


def tour(name: str) -> Tour:
    """One by name; NotThere where there is none."""
    for one in tours():
        if one.name == name:
            return one
    names = ", ".join(one.name for one in tours())
    raise NotThere(f"There is no tour {name!r}; there are {names}.")
