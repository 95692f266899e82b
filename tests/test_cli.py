"""The command line: its tour, its help, and what it says to a user's mistake."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from semascope.cli import main
from semascope.cli.base import workspace_of
from semascope.cli.errors import INTERRUPTED, guarded
from semascope.cli.progress import Pace, ProgressBars, duration
from semascope.cli.verbs import ENTRIES, STEPS, VERBS
from semascope.errors import DiskFull, SemascopeError
from semascope.workspace import RunRecord, StageRecord, Workspace

HEAVY = ("torch", "transformers", "duckdb", "sklearn", "fastapi", "matplotlib")


def test_the_tour_names_every_verb_once_in_the_order_of_the_data_flow(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A verb that the tour forgets is a verb that nobody finds."""
    assert main([]) == 0
    out = capsys.readouterr().out
    listed = [name for _, names in STEPS for name in names]
    assert sorted(listed) == sorted(VERBS)
    places = [out.index(f"\n  {name} ") for name in listed]
    assert places == sorted(places)
    flow = ["train", "gather", "explain", "score", "steer", "serve"]
    assert [name for name in listed if name in flow] == flow


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_verbs_help_ends_with_its_example(
    entry: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help without an example leaves the user to guess; a wrong path breaks the verb itself."""
    name, example = entry.name, entry.example  # type: ignore[attr-defined]
    assert main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert out.rstrip().endswith(example)
    assert example.startswith(f"semascope {name}")


def test_help_imports_nothing_heavy() -> None:
    """The tour must not wait for torch: seconds on a cold disk."""
    code = (
        "import sys; from semascope.cli import main; main([]); main(['train', '--help']);"
        f"sys.exit(any(name in sys.modules for name in {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stdout


def test_an_unknown_verb_is_told_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the finger gets a hint, not a list of flags."""
    assert main(["trian"]) == 2
    assert "Did you mean: semascope train?" in capsys.readouterr().err
    assert main(["model", "crad"]) == 2
    assert "Did you mean: semascope model card?" in capsys.readouterr().err


def test_a_wrong_flag_is_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error in a flag must not run the verb with its defaults."""
    assert main(["train", "--tokns", "5"]) == 2
    assert main(["train", "--tokens", "none"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_workspace_is_found_before_flags_are_parsed() -> None:
    """Defaults come from the workspace that the flags name, wherever they name it."""
    assert workspace_of(["--tokens", "5", "-w", "a/b"]) == Path("a/b")
    assert workspace_of(["--workspace=c", "--json"]) == Path("c")
    assert workspace_of(["-w"]) == workspace_of([]) == Path("workspace/demo")


@pytest.mark.parametrize("verb", ["report", "search", "steer", "serve", "export"])
def test_looking_where_there_is_no_run_says_how_to_make_one(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Verbs that look at a run must not make a folder, nor fail with a traceback."""
    extra = {"search": ["a flag"], "steer": ["3"], "export": [str(tmp_path / "f.jsonl")]}
    nowhere = tmp_path / "none"
    assert main([verb, *extra.get(verb, []), "--workspace", str(nowhere)]) == 2
    assert f"semascope demo --no-serve --workspace {nowhere}" in capsys.readouterr().err
    assert not nowhere.exists()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 130, and the very command that resumes."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert guarded(interrupted, "semascope train -w here", tmp_path) == INTERRUPTED
    assert "semascope train -w here" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_is_heard_at_the_next_report(tmp_path: Path) -> None:
    """One raised in a finaliser is printed and lost; the work would go on to its end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    steps: list[int] = []

    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> int:
        with ProgressBars(Console(file=io.StringIO())) as bars:
            told = bars.begin("gather", "")
            for number in range(5):
                if number == 2:
                    Finalised()
                told(number, 5, "")
                steps.append(number)
        return 0

    assert guarded(work, "semascope gather", tmp_path) == INTERRUPTED
    assert steps == [0, 1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ignored_interrupts_stay_ignored(tmp_path: Path) -> None:
    """A shell's background job is not to be stopped by the Ctrl-C of another."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert guarded(lambda: signal.raise_signal(signal.SIGINT) or 0, "", tmp_path) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_disk_is_a_sentence_whoever_finds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Libraries in C and Rust say it in errors of their own: none may end in a traceback."""

    class RustError(Exception):
        pass

    def full(error: Exception) -> int:
        raise error

    errors = (OSError(28, "x"), RustError("I/O error: No space left on device (os error 28)"))
    for error in errors:
        assert guarded(lambda error=error: full(error), "", tmp_path) == DiskFull.exit_code
        assert "is full" in capsys.readouterr().err


def test_a_fault_of_our_own_is_not_hidden(tmp_path: Path) -> None:
    """A bug must show its traceback, else nobody can report it."""

    def broken() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guarded(broken, "", tmp_path)
    assert issubclass(DiskFull, SemascopeError)


def test_report_has_exactly_the_keys_that_others_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs read this: a missing figure is null, never absent and never invented."""
    workspace = Workspace(tmp_path)
    stage = StageRecord(done=True, seconds=2.5, figures={"fvu": 0.25, "l0": 32.0})
    workspace.save(RunRecord(stages={"train": stage, "gather": StageRecord(seconds=1.0)}))
    assert main(["report", "--workspace", str(tmp_path), "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert set(report) == {
        "fvu", "explained_variance", "l0", "dead_fraction", "features_alive",
        "features_explained", "iou_mean", "iou_random", "detection_auroc_mean",
        "detection_auroc_shuffled", "seconds",
    }  # fmt: skip
    assert report["fvu"] == 0.25
    assert report["iou_mean"] is None
    assert report["seconds"] == {"train": 2.5, "gather": 1.0}
    assert "not done yet" in captured.err
    assert main(["report", "--workspace", str(tmp_path)]) == 0
    assert "0.250" in capsys.readouterr().out


def test_time_left_does_not_count_what_an_earlier_run_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resumed stage would otherwise promise to end at once."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace()
    assert pace.left(90, 100) is None
    now[0] = 10.0
    assert pace.left(95, 100) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (125, "2 min 05 s"), (7260, "2 h 01 min")]
)
def test_durations_are_said_as_a_person_would(seconds: float, words: str) -> None:
    """A bar that says 7260 s is not read."""
    assert duration(seconds) == words


def test_lines_without_a_terminal_repeat_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch may be followed by minutes of writing, which are not 100 % again and again."""
    out, now = io.StringIO(), iter(range(0, 10_000, 20))
    monkeypatch.setattr("semascope.cli.progress.time.monotonic", lambda: float(next(now)))
    told = ProgressBars(Console(file=out, width=200)).begin("gather", "")
    for done in (1, 2, 2, 2, 2):
        told(done, 2, "")
    told(2, 2, "writing")
    lines = [line for line in out.getvalue().splitlines() if "/2" in line]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2", "2/2"]
    assert lines[-1].endswith("writing")
