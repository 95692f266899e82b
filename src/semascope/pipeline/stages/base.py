"""What every stage shares: does its output stand, is it stale, how long did it take.

A stage's hash covers its own options and the hash of the stage it stands on, so a changed option
redoes that stage and all above it, and nothing beneath. Seconds are written to ``run.json`` while
the work goes on, so a run that is killed and taken up again reports the time of all its parts.

It knows neither what a stage makes nor how.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from semascope.config import STAGES, StageName, digest
from semascope.errors import WorkspaceError
from semascope.files import disk_guard, remove
from semascope.workspace import StageRecord, Workspace

LOG = logging.getLogger(__name__)
HEARTBEAT = 3.0
"""Seconds between two writes of the clock: what a kill may lose."""


class StageProgress(Protocol):
    """What a stage tells while it works."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total``; ``note`` is one line for a person."""
        ...


class Reporter(Protocol):
    """What the pipeline tells about its stages."""

    def begin(self, stage: str, note: str) -> StageProgress:
        """A stage begins, or goes on; the progress to report to."""
        ...

    def end(self, stage: str, record: StageRecord, fresh: bool) -> None:
        """A stage ended; not ``fresh`` when its output already stood."""
        ...


class SilentReporter:
    """A reporter that says nothing."""

    def begin(self, stage: str, note: str) -> StageProgress:
        """Ignore."""
        return ignore

    def end(self, stage: str, record: StageRecord, fresh: bool) -> None:
        """Ignore."""


def ignore(done: int, total: int, note: str = "") -> None:
    """A progress that says nothing."""


@dataclass
class Clock:
    """Wall seconds of one stage, kept in ``run.json`` while it works."""

    workspace: Workspace
    name: str
    record: StageRecord
    started: float
    written: float = 0.0

    def __post_init__(self) -> None:
        self.written = self.started

    def now(self) -> StageRecord:
        """The record with the seconds up to now."""
        seconds = self.record.seconds + time.monotonic() - self.started
        return self.record.model_copy(update={"seconds": round(seconds, 3)})

    def beat(self) -> None:
        """Write the seconds, when the last write is some seconds old."""
        if time.monotonic() - self.written >= HEARTBEAT:
            self.write()

    def write(self) -> None:
        """Write the seconds now."""
        self.written = time.monotonic()
        self.workspace.save_stage(self.name, self.now())

    def finish(self, figures: Mapping[str, Any]) -> StageRecord:
        """Mark the stage done, with what it measured."""
        record = self.now().model_copy(update={"done": True, "figures": dict(figures)})
        self.workspace.save_stage(self.name, record)
        self.workspace.log(stage=self.name, seconds=record.seconds, **dict(figures))
        return record


@dataclass(frozen=True)
class Stage:
    """One stage: how it is named, what decides its output, where that lies, how it is made."""

    name: StageName
    work: Callable[[StageProgress], Mapping[str, Any]]
    """Make the output, from wherever the last attempt ended; return figures."""
    options: Mapping[str, Any]
    """What decides the output, beside the stage beneath."""
    check: Callable[[], None] = lambda: None
    """Raise for what the user got wrong, before anything is written."""
    clear: Callable[[], None] = lambda: None
    """Remove a stale output that is not a file of this stage alone."""
    outputs: tuple[Path, ...] = ()
    """Files and folders that are this stage's alone."""
    needs: tuple[Path, ...] = ()
    """Files shared with others, without which the output does not stand."""


def run_stage(workspace: Workspace, stage: Stage, beneath: str, reporter: Reporter) -> str:
    """Do one stage unless its output stands; return its hash.

    Raises what the work raises, with the clock written first; a full disk as ``DiskFull``.
    """
    key = digest(stage.name, dict(stage.options), beneath)
    old = workspace.record().stages.get(stage.name, StageRecord())
    if (
        old.done
        and old.hash == key
        and all(path.exists() for path in (*stage.outputs, *stage.needs))
    ):
        reporter.end(stage.name, old, fresh=False)
        return key
    begun = time.monotonic()
    stage.check()
    note, record = _opening(stage, old, key)
    if old.hash and old.hash != key:
        for path in stage.outputs:
            remove(path)
        stage.clear()
    _begin(workspace, stage.name, record)
    progress = reporter.begin(stage.name, note)
    clock = Clock(workspace, stage.name, record, started=begun)

    def beat(done: int, total: int, note: str = "") -> None:
        clock.beat()
        progress(done, total, note)

    try:
        with disk_guard(workspace.root):
            figures = stage.work(beat)
    except BaseException:
        _try_write(clock)
        raise
    record = clock.finish(figures)
    reporter.end(stage.name, record, fresh=True)
    return key


def _opening(stage: Stage, old: StageRecord, key: str) -> tuple[str, StageRecord]:
    """What to tell the user, and the record to begin with."""
    options = dict(stage.options)
    if old.hash == key:
        again = old.model_copy(update={"done": False, "starts": old.starts + 1})
        return "goes on where it was", again
    note = ""
    if old.hash:
        changed = [k for k in options if options[k] != old.options.get(k)]
        why = (
            ", ".join(f"{k}: {old.options.get(k, 'unset')} → {options[k]}" for k in changed)
            or "a stage beneath it changed"
        )
        note = f"done anew ({why})"
    return note, StageRecord(hash=key, options=options, starts=1)


def _begin(workspace: Workspace, name: StageName, record: StageRecord) -> None:
    """Write the stage's record; what stands on it stands no longer."""
    run = workspace.record()
    above = STAGES[STAGES.index(name) + 1 :]
    stages = {
        other: old.model_copy(update={"done": False}) if other in above else old
        for other, old in run.stages.items()
    }
    workspace.save(run.model_copy(update={"stages": {**stages, name: record}}))


def _try_write(clock: Clock) -> None:
    """Keep the seconds of a stage that failed; a disk too full for that must not hide why."""
    try:
        clock.write()
    except (OSError, WorkspaceError) as error:
        LOG.warning("the clock of stage %s could not be written: %s", clock.name, error)
