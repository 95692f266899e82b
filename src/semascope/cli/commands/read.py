"""The verb read: what the model says of the activations at a feature's exemplars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from semascope.cli.base import InWorkspace
from semascope.errors import NotThere
from semascope.numbers import Count

if TYPE_CHECKING:
    from semascope.pipeline.readings import ReadExemplar
    from semascope.pipeline.run_context import Run


class Read(InWorkspace):
    """Let the model say in words what its own activations hold, at a feature's exemplars.

    At the token where the feature is strongest, in exemplars from strong to weak, the model's
    activation is put into a prompt without a picture, and the model answers as if it saw it.
    Before that, the model is tried on drawn things that are known: the share that it names is
    printed, and a model that cannot name them is not asked.
    """

    feature: tyro.conf.Positional[str]
    """site/dictionary/number, such as resid_post.12/main/2479; or the number alone."""
    count: Count = 8
    """How many exemplars."""
    question: tuple[str, ...] = ()
    """What to ask of each activation; several may be given: "What is in the picture?" "What colour
    is it?". Without any, the first of these."""
    html: Path | None = None
    """Write a page with the pictures and their heat to this file."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def run(self) -> int:
        """Print the readings, strongest exemplar first."""
        from semascope.pipeline import readings, recorded
        from semascope.pipeline.run_context import Run

        self.space.require("gather")
        state = Run(self.space, recorded(self.space))
        number = _number(self.feature, state.dictionary_id)
        read = readings.of_feature(state, number, count=self.count, questions=self.question)
        trial = readings.read(state).trial
        if self.html is not None:
            _write(self.html, state, f"{state.dictionary_id}/{number}", read, trial)
        if self.as_json:
            print(json.dumps({"trial": trial, "readings": [_plain(one) for one in read]}, indent=2))
        else:
            _show(f"{state.dictionary_id}/{number}", read, trial)
        return 0


def _number(feature: str, dictionary: str) -> int:
    from semascope.atlas.records import split_id

    if feature.isascii() and feature.isdigit():
        return int(feature)
    key, number = split_id(feature)
    if key != dictionary:
        raise NotThere(f"This run reads features of {dictionary}, not of {key}.")
    return number


def _plain(one: ReadExemplar) -> dict[str, Any]:
    return {
        "sample": one.exemplar.shown.id,
        "token": one.token,
        "strength": round(one.strength, 4),
        "answers": one.answers,
    }


def _tried(trial: dict[str, Any]) -> str:
    return (
        f"Of {trial['probes']} activations of known things this model names {trial['named']:.0%} "
        f"({trial['chance']:.0%} by chance)."
    )


def _show(feature: str, read: list[ReadExemplar], trial: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{feature}: what the model reads", box=None)
    table.add_column("strength", justify="right")
    table.add_column("sample")
    for question in read[0].answers:
        table.add_column(question)
    for one in read:
        table.add_row(f"{one.strength:.0%}", one.exemplar.shown.id, *one.answers.values())
    console = Console(highlight=False)
    console.print(table)
    console.print(_tried(trial), style="dim")


def _write(
    path: Path, run: Run, feature: str, read: list[ReadExemplar], trial: dict[str, Any]
) -> None:
    """A page that opens from disk, the pictures inside it."""
    from html import escape

    from semascope import html
    from semascope.explain.crops import firing_picture, overlay
    from semascope.files import write_text

    cards = []
    for one in read:
        picture = firing_picture(one.exemplar)
        drawn = ""
        if picture >= 0:
            image = run.media.open(one.exemplar.shown.media[picture])
            drawn = html.picture(overlay(image, one.exemplar, picture))
        said = "".join(html.turn(q, answer) for q, answer in one.answers.items())
        cards.append(f"<div>{drawn}{said}{html.line(f'{one.strength:.0%} of its largest')}</div>")
    style = (
        "body{margin:2rem;font-family:system-ui,sans-serif;color-scheme:light dark}"
        "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:1rem}"
    )
    write_text(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(feature)}</title>'
        f"<style>{style}</style><h1>{escape(feature)}: what the model reads</h1>"
        f"<p>{escape(_tried(trial))}</p><main>{''.join(cards)}</main></html>\n",
    )
    print(f"written: {path}")
