"""The verb that looks at a run as a whole: report. It loads no model."""

from __future__ import annotations

import json
import sys
from typing import Annotated, TextIO

import tyro

from semascope.cli.base import InWorkspace
from semascope.workspace import Workspace


class Report(InWorkspace):
    """The figures of a run, beside their baselines, with the seconds of each stage.

    What semascope evaluate dictionary measured is shown as well: by kind of token, with density.
    """

    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def run(self) -> int:
        """Print the report."""
        if not self.space.exists() and self.space.atlas.is_file():
            return show_atlas(self.space, sys.stdout, as_json=self.as_json)
        self.space.begun()
        show(self.space, sys.stdout, as_json=self.as_json)
        return 0


def show_atlas(workspace: Workspace, to: TextIO, *, as_json: bool = False) -> int:
    """Print what an atlas holds that was imported, and not made by a run."""
    from rich.console import Console
    from rich.table import Table

    from semascope.atlas import Atlas

    with Atlas.open(workspace.atlas, readonly=True) as atlas:
        rows = [
            {
                "dictionary": row.key,
                "model": row.model,
                "from": row.about.get("imported", ""),
                "features": row.width,
                "alive": atlas.features(row.id, where={"alive": True}, limit=0).total,
                "explained": atlas.features(row.id, where={"explained": True}, limit=0).total,
                "scores": atlas.score_kinds(row.id),
            }
            for row in atlas.dictionaries()
        ]
    if as_json:
        print(json.dumps({"imported": rows}, indent=2), file=to)
        return 0
    table = Table(title=f"{workspace.root}: imported features, no run", box=None)
    for name in ("dictionary", "model", "from", "features", "alive", "explained", "scores"):
        table.add_column(name)
    for row in rows:
        table.add_row(*(", ".join(v) if isinstance(v, list) else str(v) for v in row.values()))
    Console(file=to, highlight=False, width=None if to.isatty() else 132).print(table)
    return 0


def show(workspace: Workspace, to: TextIO, *, as_json: bool = False) -> None:
    """Print the report of a workspace."""
    from rich.console import Console

    from semascope.cli.commands.evaluate.dictionary import kept, shown
    from semascope.pipeline.report import figures, missing, table

    record = workspace.record()
    stages = {name: stage.model_dump() for name, stage in record.stages.items()}
    report = figures(stages, f"{record.site}/{record.dictionary}")
    measured = list(kept(workspace))
    if as_json:
        quality = {"quality": {one["dictionary"]: one for one in measured}} if measured else {}
        print(json.dumps(report | quality, indent=2), file=to)
    else:
        title = f"{record.subject}, {record.site}/{record.dictionary}, {record.corpus}"
        width = None if to.isatty() else 132
        console = Console(file=to, highlight=False, width=width)
        console.print(table(report, title))
        for one in measured:
            console.print("", shown(one), one["picture"], sep="\n", soft_wrap=True)
    undone = missing(stages)
    if undone:
        print(
            f"semascope: not done yet: {', '.join(undone)}. "
            f"Go on with: semascope demo --no-serve --workspace {workspace.root}",
            file=sys.stderr,
        )
