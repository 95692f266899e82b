"""The folder that holds a run: where each thing lies, and ``run.json``, what made it.

Every file is written whole (temporary file, then rename), so a run that is killed leaves the
last whole state. ``run.json`` keeps each stage's options, hash, seconds (summed over resumes)
and figures. One process writes a workspace at a time; a lock that dies with its process says so.

It knows names and folders. It does not know what a dictionary, a model or a feature is.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semascope.errors import WorkspaceError
from semascope.files import disk_guard, remove, write_text

LOG = logging.getLogger(__name__)
FORMAT = 1


class StageRecord(BaseModel):
    """What one stage has done so far."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    hash: str = ""
    """Of the stage's options and of all that they stand on."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The options in force."""
    done: bool = False
    """Its output stands whole."""
    seconds: float = 0.0
    """Wall seconds of work, summed over resumes."""
    starts: int = 0
    """How many times it was begun or taken up again."""
    figures: dict[str, Any] = Field(default_factory=dict)
    """What was measured when it ended."""


class RunRecord(BaseModel):
    """``run.json``."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    format: int = FORMAT
    """Layout of this file."""
    subject: str = ""
    """The model under the microscope."""
    weights: str = ""
    """What its weights were (``subject_stamp``); empty in runs of before this was kept."""
    site: str = ""
    """Where its activations are read."""
    dictionary: str = "main"
    """Name of the dictionary trained there."""
    corpus: str = ""
    """What was read."""
    fingerprint: str = ""
    """Of the corpus's content when training began; empty in runs of before this was kept."""
    seed: int = 0
    """Seed of everything drawn."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of semascope and the libraries beneath."""
    model_check: dict[str, Any] = Field(default_factory=dict)
    """What ``semascope model check`` found when this workspace first met its model: ``identity``,
    ``trusted`` and ``checks``; empty in runs of before this was kept."""
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    """By name, in order of the data flow."""

    def __repr__(self) -> str:
        done = ", ".join(name for name, stage in self.stages.items() if stage.done) or "none yet"
        return f"RunRecord({self.subject}, {self.site}; stages done: {done})"

    def _repr_html_(self) -> str:
        from semascope import html

        stages = [
            (name, f"{'done' if stage.done else 'not done'}, {stage.seconds:.0f} s")
            for name, stage in self.stages.items()
        ]
        about = [("model", self.subject), ("site", self.site), ("corpus", self.corpus)]
        return html.table([*about, *stages])


class Workspace:
    """A folder with a run in it, or about to be."""

    def __init__(self, root: str | Path) -> None:
        """Name the folder; nothing is made until something is written."""
        self.root = Path(root).expanduser()

    @property
    def run_file(self) -> Path:
        """``run.json``."""
        return self.root / "run.json"

    @property
    def atlas(self) -> Path:
        """The database of what is known."""
        return self.root / "atlas.db"

    @property
    def media(self) -> Path:
        """Pictures by content hash."""
        return self.root / "media"

    @property
    def vectors(self) -> Path:
        """Sentence vectors of the descriptions."""
        return self.root / "vectors"

    @property
    def metrics(self) -> Path:
        """One JSON line a measurement, appended."""
        return self.root / "metrics.jsonl"

    def dictionary(self, site: str, name: str) -> Path:
        """Folder of one dictionary's checkpoint and training state."""
        return self.root / "dictionaries" / site / name

    def evidence(self) -> Path:
        """Folder of evidence; one folder a ``site/name`` below it."""
        return self.root / "evidence"

    @property
    def writable(self) -> bool:
        """Whether files can be made here, or the folder be made where it is not there yet."""
        folder = self.root.absolute()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return os.access(folder, os.W_OK | os.X_OK)

    def results(self, *names: str) -> Path:
        """The folder for what is measured on the run: in the workspace, or, where that can only
        be read, below the current folder, which is logged. It need not be there yet."""
        if self.writable:
            return self.root.joinpath(*names)
        other = Path.cwd() / "semascope-results" / self.root.resolve().name
        LOG.warning("%s can only be read: results go to %s", self.root, other)
        return other.joinpath(*names)

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.run_file.is_file()

    def record(self) -> RunRecord:
        """``run.json`` as it stands; an empty record where there is none."""
        if not self.exists():
            return RunRecord()
        try:
            record = RunRecord.model_validate_json(self.run_file.read_text())
        except (ValidationError, UnicodeDecodeError) as error:
            raise WorkspaceError(
                f"{self.run_file} cannot be read as the record of a run: {_first_line(error)}. "
                "Move it away to begin anew, or name another --workspace."
            ) from error
        if record.format > FORMAT:
            raise WorkspaceError(
                f"{self.root} was written by a later semascope (layout {record.format}, this one "
                f"knows {FORMAT}). Update semascope, or name another --workspace."
            )
        return record

    def begun(self) -> RunRecord:
        """The record of a run that was begun here; WorkspaceError, with near names, where none was.

        Asked by every verb that does not begin runs: a slip in a name must not begin one.
        """
        if self.exists():
            return self.record()
        there = self.root.is_dir() and any(self.root.iterdir())
        what = "holds no run" if there else "was never made"
        if self.atlas.is_file():
            what = "holds imported features and no run of its own, which this needs"
        near = self._near()
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise WorkspaceError(
            f"The workspace {self.root} {what}.{meant} "
            f"To begin one there: semascope demo --no-serve --workspace {self.root}"
        )

    def _near(self) -> list[str]:
        """Runs beside this folder, those of like name first; three at most."""
        try:
            runs = [path.parent for path in self.root.parent.glob("*/run.json")]
        except OSError:
            return []
        names = {path.name: str(path) for path in runs}
        alike = get_close_matches(self.root.name, names, n=3, cutoff=0.5)
        return [names[name] for name in alike] or sorted(names.values())[:3]

    def abandon(self) -> bool:
        """Remove what a run that failed before it made anything has left; whether that was so.

        Nothing is removed where a stage is done or a training state stands, and no file that is
        not this workspace's own.
        """
        done = any(stage.done for stage in self.record().stages.values())
        if done or any((self.root / "dictionaries").rglob("*.safetensors")):
            return False
        for name in ("dictionaries", "activations", "reading", "metrics.jsonl", "run.json"):
            remove(self.root / name)
        return True

    def require(self, stage: str) -> RunRecord:
        """The record, once ``stage`` is done; else a sentence that says how to do it."""
        record = self.begun()
        if not record.stages.get(stage, StageRecord()).done:
            raise WorkspaceError(
                f"The workspace {self.root} has no finished '{stage}' stage. "
                f"Run: semascope demo --no-serve --workspace {self.root}"
            )
        return record

    def save(self, record: RunRecord) -> None:
        """Write ``run.json`` whole."""
        write_text(self.run_file, record.model_dump_json(indent=2) + "\n")

    def save_stage(self, name: str, stage: StageRecord) -> None:
        """Replace one stage's record."""
        record = self.record()
        self.save(record.model_copy(update={"stages": {**record.stages, name: stage}}))

    def log(self, **figures: Any) -> None:
        """Append one line to ``metrics.jsonl``."""
        line = json.dumps({"time": round(time.time(), 3), **figures}) + "\n"
        with disk_guard(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(line)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace; the lock goes when the process does, however it ends."""
        with disk_guard(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("a+", encoding="utf-8")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                    raise WorkspaceError(
                        f"{self.root} lies on a file system that cannot lock files "
                        f"({error.strerror}): two runs could write over one another there. Name a "
                        "--workspace on a local disk."
                    ) from error
                file.seek(0)
                raise WorkspaceError(
                    f"Another semascope (process {file.read().strip() or 'unknown'}) is at work "
                    f"in {self.root}. Wait for it, stop it, or name another --workspace."
                ) from error
            file.truncate(0)
            for left in self.root.glob(".*.tmp"):  # by a process that was killed while writing
                left.unlink(missing_ok=True)
            with disk_guard(self.root):
                file.write(str(os.getpid()))
                file.flush()
            try:
                yield
            finally:
                self._leave()

    def _leave(self) -> None:
        """A folder in which nothing was begun is not left behind."""
        if self.exists():
            return
        (self.root / ".lock").unlink(missing_ok=True)
        with suppress(OSError):
            self.root.rmdir()


def versions() -> Mapping[str, str]:
    """Versions of semascope and of the libraries that decide its numbers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("semascope", "torch", "transformers", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
