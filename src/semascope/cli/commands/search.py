"""The verb search: features by words, by a picture, by examples and counter-examples."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from semascope.cli.base import InWorkspace
from semascope.errors import WorkspaceError
from semascope.numbers import Count, Index, Score, Share


class Search(InWorkspace):
    """Features by what they mean, or by what they fire on.

    With words: the words of every feature are compared with yours; no model is loaded.
    With --image: what fires on this picture. With --like: what fires on these prompts, and with
    --unlike: not on those (a file holds one prompt a line; a line that is the path of a picture
    is that picture). With words as well: of what fires, the nearest in meaning.
    """

    query: tyro.conf.Positional[str] = ""
    """What to look for, in your words."""
    image: Path | None = None
    """A picture: what fires here?"""
    like: Path | None = None
    """A file of prompts that the features fire on."""
    unlike: Path | None = None
    """A file of prompts that they do not fire on."""
    limit: Count = 10
    """How many."""
    min_score: Score | None = None
    """Only features whose words score so much or more."""
    score: str = "detection"
    """The kind of score that --min-score reads."""
    density: Share | None = None
    """Only features that fire on at most this share of tokens."""
    modality: Literal["image", "text", "both"] | None = None
    """Only features that fire on this."""
    category: str = ""
    """Only features of this category: object, colour, text…"""
    layer: Index | None = None
    """Only features of this layer."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def run(self) -> int:
        """Print the features that were found, best first."""
        found = self._found()
        if self.as_json:
            print(json.dumps(found, indent=2))
        else:
            _show(found)
        return 0

    def _found(self) -> list[dict[str, Any]]:
        from semascope.pipeline import feature_search

        like = [feature_search.picture(self.image)] if self.image else []
        like += feature_search.prompts(self.like) if self.like else []
        unlike = feature_search.prompts(self.unlike) if self.unlike else []
        if like or unlike:
            return feature_search.by_samples(
                self.space,
                like,
                unlike,
                text=self.query,
                limit=self.limit,
                where=self._where(),
                images_only=bool(self.image) and not self.like,
            )
        if not self.query:
            raise WorkspaceError(
                "Say what to look for: words, --image FILE, or --like FILE with one prompt a line."
            )
        return feature_search.by_words(self.space, self.query, self.limit, self._where())

    def _where(self) -> dict[str, Any]:
        """The filters that were given."""
        score = {"min_score": self.min_score, "score": self.score}
        return {
            name: value
            for name, value in {
                "max_density": self.density,
                "modality": self.modality,
                "category": self.category or None,
                "layer": self.layer,
                **(score if self.min_score is not None else {}),
            }.items()
            if value is not None
        }


def _show(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not found:
        print("semascope: nothing was found.", file=sys.stderr)
        return
    figures = [n for n in ("similarity", "contrast", "like", "unlike") if n in found[0]]
    rows = Table(box=None, pad_edge=False)
    for column in ("feature", *figures, "label", "description"):
        rows.add_column(column)
    for one in found:
        numbers = (f"{one[name]:.2f}" for name in figures)
        rows.add_row(one["id"], *numbers, one["label"], one["description"])
    Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(rows)
