"""Stages: what stands, what is redone, what a full disk and a kill leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from semascope.config import GatherOptions, RunOptions, TrainOptions
from semascope.errors import DiskFull, SemascopeError, WorkspaceError
from semascope.files import disk_guard, write_text
from semascope.pipeline import recorded
from semascope.pipeline.stages.base import SilentReporter, Stage, StageProgress, ignore, run_stage
from semascope.pipeline.stages.parts import Parts, blocks
from semascope.workspace import RunRecord, StageRecord, Workspace


class Heard(SilentReporter):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.ended: list[tuple[str, bool]] = []

    def begin(self, stage: str, note: str) -> StageProgress:
        self.begun.append((stage, note))
        return ignore

    def end(self, stage: str, record: StageRecord, fresh: bool) -> None:
        self.ended.append((stage, fresh))


def stage_of(folder: Path, calls: list[str], **options: Any) -> Stage:
    """A stage whose output is one file."""

    def work(progress: StageProgress) -> Mapping[str, Any]:
        progress(0, 1)
        calls.append("worked")
        write_text(folder / "out" / "made", str(options))
        return {"made": 1}

    return Stage(name="train", work=work, options=options, outputs=(folder / "out",))


def test_a_stage_that_stands_returns_at_once(tmp_path: Path) -> None:
    """A second demo opens in seconds only if nothing is done twice."""
    workspace, calls, heard = Workspace(tmp_path), [], Heard()
    first = run_stage(workspace, stage_of(tmp_path, calls, k=8), "", heard)
    again = run_stage(workspace, stage_of(tmp_path, calls, k=8), "", heard)
    assert calls == ["worked"]
    assert first == again
    assert heard.ended == [("train", True), ("train", False)]
    assert workspace.record().stages["train"].figures == {"made": 1}


def test_a_changed_option_redoes_the_stage_and_says_which(tmp_path: Path) -> None:
    """Artefacts of other options would be mistaken for those asked for."""
    workspace, calls, heard = Workspace(tmp_path), [], Heard()
    run_stage(workspace, stage_of(tmp_path, calls, k=8, seed=0), "", heard)
    (tmp_path / "out" / "stale").touch()
    run_stage(workspace, stage_of(tmp_path, calls, k=16, seed=0), "", heard)
    assert heard.begun[1] == ("train", "done anew (k: 8 → 16)")
    assert not (tmp_path / "out" / "stale").exists()
    assert workspace.record().stages["train"].starts == 1


def test_what_stands_on_a_redone_stage_stands_no_longer(tmp_path: Path) -> None:
    """Evidence of an old dictionary must not be reported beside a new one."""
    workspace = Workspace(tmp_path)
    done = StageRecord(hash="h", done=True, seconds=3.0)
    workspace.save(RunRecord(stages={"train": done, "gather": done}))
    run_stage(workspace, stage_of(tmp_path, [], k=8), "", SilentReporter())
    assert not workspace.record().stages["gather"].done
    assert workspace.record().stages["gather"].hash == "h"


def test_a_lost_output_is_made_again(tmp_path: Path) -> None:
    """Somebody deleted the folder: the record alone is no dictionary."""
    workspace, calls = Workspace(tmp_path), []
    run_stage(workspace, stage_of(tmp_path, calls, k=8), "", SilentReporter())
    (tmp_path / "out" / "made").unlink()
    (tmp_path / "out").rmdir()
    run_stage(workspace, stage_of(tmp_path, calls, k=8), "", SilentReporter())
    assert len(calls) == 2


def test_seconds_add_up_over_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run killed at the end of every stage would report that it took no time."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    workspace, tries = Workspace(tmp_path), [1]

    def work(progress: StageProgress) -> Mapping[str, Any]:
        now[0] += 10.0
        if tries:
            tries.pop()
            raise KeyboardInterrupt
        return {}

    stage = Stage(name="train", work=work, options={})
    with pytest.raises(KeyboardInterrupt):
        run_stage(workspace, stage, "", SilentReporter())
    record = workspace.record().stages["train"]
    assert (record.done, record.seconds, record.starts) == (False, 10.0, 1)
    now[0] += 1000.0
    run_stage(workspace, stage, "", SilentReporter())
    record = workspace.record().stages["train"]
    assert (record.done, record.seconds, record.starts) == (True, 20.0, 2)


def test_seconds_are_written_while_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill -9 runs no handler: what the clock had not written would be lost."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    workspace, seen = Workspace(tmp_path), []

    def work(progress: StageProgress) -> Mapping[str, Any]:
        now[0] += 60.0
        progress(1, 2)
        seen.append(workspace.record().stages["train"].seconds)
        return {}

    run_stage(workspace, Stage(name="train", work=work, options={}), "", SilentReporter())
    assert seen == [60.0]


def test_a_mistake_found_by_the_check_writes_nothing(tmp_path: Path) -> None:
    """A wrong site must not become what the workspace remembers as its options."""

    def check() -> None:
        raise SemascopeError("no such site")

    stage = Stage(name="train", work=lambda _: {}, options={}, check=check)
    with pytest.raises(SemascopeError):
        run_stage(Workspace(tmp_path / "w"), stage, "", SilentReporter())
    assert not (tmp_path / "w").exists()


def test_a_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    """ENOSPC in the middle of a stage: a sentence, and the stage not done."""
    workspace = Workspace(tmp_path)

    def work(progress: StageProgress) -> Mapping[str, Any]:
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskFull, match="run the same command again"):
        run_stage(workspace, Stage(name="train", work=work, options={}), "", SilentReporter())
    assert not workspace.record().stages["train"].done


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a run.json would lose the run."""
    path = tmp_path / "run.json"
    write_text(path, "whole")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull):
        write_text(path, "new")
    assert path.read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_two_runs_do_not_share_a_workspace(tmp_path: Path) -> None:
    """Two demos in one folder would write over each other."""
    workspace = Workspace(tmp_path)
    with (
        workspace.lock(),
        pytest.raises(WorkspaceError, match="Another semascope"),
        Workspace(tmp_path).lock(),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(WorkspaceError, match="cannot be written"),
        Workspace(tmp_path / "file" / "w").lock(),
    ):
        pass


def test_other_errors_pass_the_guard(tmp_path: Path) -> None:
    """The guard explains full disks; it must not swallow bugs."""
    with pytest.raises(KeyError), disk_guard(tmp_path):
        raise KeyError("bug")


@pytest.mark.parametrize("text", ["", "{", '{"format": "x"}', "\x00"])
def test_a_broken_record_is_a_sentence(tmp_path: Path, text: str) -> None:
    """Somebody edited run.json: no traceback, and no overwriting."""
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(WorkspaceError, match="cannot be read as the record of a run"):
        Workspace(tmp_path).record()


def test_a_later_layout_is_refused(tmp_path: Path) -> None:
    """An old program must not rewrite what a new one made."""
    Workspace(tmp_path).save(RunRecord(format=99))
    with pytest.raises(WorkspaceError, match="later semascope"):
        Workspace(tmp_path).record()


def test_recorded_options_become_the_defaults(tmp_path: Path) -> None:
    """`semascope gather` after a special training must not retrain with the usual options."""
    workspace = Workspace(tmp_path)
    options = TrainOptions(k=7, device="cpu").binding()
    assert "device" not in options
    unknown = {"samples": 9, "no_longer_an_option": 1}
    workspace.save(
        RunRecord(
            stages={"train": StageRecord(options=options), "gather": StageRecord(options=unknown)}
        )
    )
    assert recorded(workspace) == RunOptions(train=TrainOptions(k=7), gather=GatherOptions())


def test_parts_are_whole_or_absent(tmp_path: Path) -> None:
    """What is done is what has a file."""
    parts = Parts(tmp_path / "parts")
    parts.write(1, [{"b": 1.5}])
    parts.write(0, [{"a": "ä"}])
    assert 1 in parts and 2 not in parts
    assert list(parts.read()) == [{"a": "ä"}, {"b": 1.5}]
    (tmp_path / "parts" / "part-000001.jsonl").write_text("{")
    with pytest.raises(WorkspaceError, match="Delete it"):
        list(parts.read())
    assert blocks(list(range(5)), 2) == [[0, 1], [2, 3], [4]]
