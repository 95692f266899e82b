"""Prompts in files, each with a version: ``name.v1.txt``.

A changed prompt is a new file, never an edit of an old one, because explanations remember the
version that made them and the reply cache hashes the text.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from string import Template
from typing import NamedTuple

from semascope.errors import ExplainError


class Prompt(NamedTuple):
    """A prompt's text and its name with version, e.g. ``explain/1``."""

    text: str
    version: str

    def fill(self, **values: str) -> str:
        """The text with ``$name`` replaced; a name that is missing is an error."""
        return Template(self.text).substitute(values)


@lru_cache
def load(name: str, version: int = 1) -> Prompt:
    """Read a prompt. An ExplainError lists those that exist."""
    folder = resources.files(__package__)
    file = folder.joinpath(f"{name}.v{version}.txt")
    if not file.is_file():
        found = sorted(f.name for f in folder.iterdir() if f.name.endswith(".txt"))
        raise ExplainError(f"No prompt {name!r} version {version}; there are {', '.join(found)}.")
    return Prompt(file.read_text("utf-8").strip(), f"{name}/{version}")
