"""The verb tour: a guided tour on a run, as text and pictures, without a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from semascope.cli.base import InWorkspace

if TYPE_CHECKING:
    from semascope.serve.schema.events import Event
    from semascope.serve.schema.tours import TourEvent


class Guided(InWorkspace):
    """Follow a guided tour: it asks, looks behind the answer, changes it, and measures.

    Without a name, the tours are listed. Nothing in a tour is a result: every question that it
    puts is answered by measuring on this run, and the control beside it is measured too.
    """

    name: tyro.conf.Positional[str] = ""
    """Which tour."""
    out: Path | None = None
    """Folder for tour.md, tour.json and the pictures; by default tours/NAME in the workspace."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def run(self) -> int:
        """Play it, write it, and print it."""
        if not self.name:
            return _list()
        from semascope.monitor.tours import tour

        tour(self.name)  # a name that is none is told before anything is loaded
        self.space.require("index")
        from semascope.files import disk_guard
        from semascope.serve.explorer.workspace import WorkspaceExplorer
        from semascope.serve.schema.tours import TourEvent
        from semascope.serve.tour.files import write
        from semascope.serve.tour.player import TourPlayer

        data = WorkspaceExplorer(self.space)
        found = data.guides.tour(self.name)
        lines: list[TourEvent] = []

        def hear(event: Event) -> bool:
            if isinstance(event, TourEvent):
                lines.append(event)
                if not self.as_json:
                    print(f"{event.line:>8}  {event.text}", flush=True)
            return False

        if not self.as_json:
            print(f"{found.title}\n")
        TourPlayer(data, hear).play(found)
        folder = self.out or self.space.results("tours", self.name)
        with disk_guard(folder):
            file = write(folder, found, lines, data.media)
        if self.as_json:
            print((file.parent / "tour.json").read_text("utf-8"))
        else:
            print(f"\nWritten, with its pictures, to {file}")
        return 0


def _list() -> int:
    from semascope.monitor.tours import tours

    for one in tours():
        print(f"  {one.name:<10}{one.title}")
        print(f"  {'':<10}{one.about}")
    print("\nPlay one: semascope tour nine --workspace workspace/demo")
    return 0
