"""Progress for a person: bars on a terminal, a line now and then where there is none.

The time left is what the rest will take at the pace of this process since it began the stage:
work that an earlier, interrupted run did is not counted into the pace.

It knows nothing of what is being done.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from semascope.cli.interrupt import check
from semascope.config import STAGES
from semascope.pipeline.stages.base import StageProgress as Told
from semascope.workspace import StageRecord

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""
TITLES = {
    "train": "train    a dictionary",
    "gather": "gather   evidence",
    "explain": "explain  in words",
    "score": "score    the words",
    "index": "index    for search",
}


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


class Pace:
    """Time left at the pace since the first report."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None
        self.total = 0

    def left(self, done: int, total: int) -> float | None:
        """Seconds left; None until the pace is known."""
        now = time.monotonic()
        if self.first is None or done < self.first[0] or total != self.total:
            self.first, self.total = (done, now), total
        begun, since = self.first
        if done <= begun or now - since < 1.0:
            return None
        return (total - done) * (now - since) / (done - begun)


class ProgressBars:
    """Tells a person about the stages of a run; used as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal
        self.bars = Progress(
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]:>16}", markup=False),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.console,
            disable=not self.live,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> ProgressBars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def begin(self, stage: str, note: str) -> Told:
        """A stage begins: say so, and return what it reports to."""
        title = f"[{STAGES.index(stage) + 1}/{len(STAGES)}]" if stage in STAGES else ""
        title = f"{title} {TITLES.get(stage, stage)}".strip()
        if note or not self.live:
            self.say(f"{title}{': ' + note if note else ''}")
        pace = Pace()
        if not self.live:
            return self._lines(stage, pace)
        task = self.bars.add_task(title, total=None, left="", note="")
        self.task = task

        def told(done: int, total: int, note: str = "") -> None:
            check()
            left = pace.left(done, total)
            words = "" if left is None else f"{duration(left)} left"
            self.bars.update(task, completed=done, total=total, left=words, note=note)

        return told

    def _lines(self, stage: str, pace: Pace) -> Told:
        last, said = time.monotonic() - EVERY + 2.0, ("", "")

        def told(done: int, total: int, note: str = "") -> None:
            nonlocal last, said
            check()
            left = pace.left(done, total)
            news = (f"{done}/{total}", note)
            if time.monotonic() - last < EVERY or news == said:
                return
            last, said = time.monotonic(), news
            words = "" if left is None else f", {duration(left)} left"
            share = 100 * done / total if total else 0.0
            self.say(f"[{stage}] {done}/{total} ({share:.0f} %){words}  {note}".rstrip())

        return told

    def end(self, stage: str, record: StageRecord, fresh: bool) -> None:
        """A stage ended, or stood already."""
        if self.live and self.task is not None and fresh:
            self.bars.update(
                self.task, total=1, completed=1, left=duration(record.seconds), note="done"
            )
        elif fresh:
            self.say(f"[{stage}] done in {duration(record.seconds)}")
        else:
            self.say(f"[{stage}] stands ({duration(record.seconds)} when it was made)")
        if fresh:
            from semascope.pipeline.accounts.text import lines

            for line in lines(record.figures.get("read", {})):
                self.say(f"[{stage}] {line}")

    def say(self, text: str) -> None:
        """One line, above the bars."""
        self.console.print(text, markup=False, soft_wrap=True)
