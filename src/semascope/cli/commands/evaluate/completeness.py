"""The verb evaluate completeness: which known concepts have a feature, by width."""

from __future__ import annotations

import json
from typing import Annotated, Any

import tyro

from semascope.cli.base import InWorkspace
from semascope.cli.commands.run import gathered
from semascope.numbers import Count, Seed, Share


class EvaluateCompleteness(InWorkspace):
    """The share of known concepts that have a feature, against how often the concept occurs.

    On scenes, where the truth is known: a concept has a feature where that feature, chosen on one
    half of the scenes, tells the concept on the other half. Every dictionary of the run is
    measured, by width, with the frequency at which half of the concepts have a feature
    (Templeton et al. 2024). The curve is drawn as SVG in the workspace's evaluations. Evidence
    that is not gathered yet is gathered first.
    """

    concepts: str = "name"
    """What is a concept: name, category, colour, emotion, texture or word."""
    bar: Share = 0.5
    """A concept has a feature where the F1 of the best one is this or more."""
    least: Count = 4
    """Leave out concepts that occur less often than this in either half."""
    seed: Seed = 0
    """Of the intervals."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def run(self) -> int:
        """Measure and print."""
        gathered(self.space)
        from semascope.evidence.analysis.families import complete

        found = complete(
            self.space.evidence(),
            field=self.concepts,
            least=self.least,
            bar=self.bar,
            seed=self.seed,
        )
        found["picture"] = self._drawn(found)
        if self.as_json:
            print(json.dumps(found, indent=2))
        else:
            _show(found)
        return 0

    def _drawn(self, found: dict[str, Any]) -> str:
        """Keep the figures and the curve in the workspace; the picture's path."""
        from semascope.evidence.analysis import plots
        from semascope.files import write_text

        path = self.space.results("evaluations") / f"completeness-{self.concepts}.svg"
        write_text(path, plots.completeness(found))
        write_text(path.with_suffix(".json"), json.dumps(found, indent=2) + "\n")
        return str(path)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    concepts = found["dictionaries"][0]["concepts"]
    console.print(
        f"{len(concepts)} concepts (by {found['concepts']}) in {found['scenes']} scenes of "
        f"{found['corpus']}; one has a feature where F1 is {found['bar']:g} or more on scenes that "
        "had no part in choosing it",
        soft_wrap=True,
    )
    rows = Table(box=None, pad_edge=False)
    for column in ("dictionary", "width", "alive", "share", "chance", "half at", "95 %"):
        rows.add_column(column)
    for one in found["dictionaries"]:
        rows.add_row(
            one["id"], str(one["width"]), str(one["alive"]), _text(one["share"]),
            _text(one["chance"]), _text(one["half"]),
            f"{_text(one['half_low'])}–{_text(one['half_high'])}" if one["half_low"] else "",
        )  # fmt: skip
    console.print(rows)
    for one in found["dictionaries"]:
        steps = "  ".join(f"{b['frequency']:.3f}: {b['share']:.0%}" for b in one["curve"])
        console.print(f"{one['id']} by frequency  {steps}", soft_wrap=True)
    print(found["picture"])


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
