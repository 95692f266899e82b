"""What a user may get wrong: a sentence that says what to do, an exit code, nothing left behind."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from semascope.cli import main
from semascope.cli.errors import INTERRUPTED
from semascope.cli.progress import ProgressBars
from semascope.pipeline import recorded
from semascope.pipeline.stages.base import StageProgress
from semascope.workspace import Workspace

SMALL = ["--tokens", "512", "--latents", "32", "--k", "4", "--rows", "8"]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A dataset without pictures."""
    path = tmp_path / "words.jsonl"
    path.write_text('{"text": "the river runs to the sea"}\n' * 40)
    return path


def train(folder: Path, *flags: str) -> int:
    """The verb, on a subject with random weights."""
    return main(["train", "--workspace", str(folder), *SMALL, *flags])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--subject", "./no-such-model"], "no folder './no-such-model'"),
        (["--subject", "tiny:llava", "--site", "resid_post.99"], "resid_post.0"),
        (["--subject", "tiny:llava", "--site", "resid_post.*"], "Name one with --site"),
        (["--subject", "tiny:llava", "--corpus", "no/such/folder"], "no/such/folder"),
        (["--subject", "tiny:llama", "--corpus", "scenes"], "reads words alone"),
    ],
    ids=["model", "site", "wildcard", "corpus", "pictures for a reader"],
)
def test_a_wrong_option_is_a_sentence_and_leaves_no_folder(
    flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a run was to be made of must not be remembered when it cannot be."""
    folder = tmp_path / "w"
    site = [] if "--site" in flags else ["--site", "resid_post.1"]
    assert train(folder, *flags, *site) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said
    assert not folder.exists()


def test_a_dataset_without_images_says_how_to_read_words(
    words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A subject that sees would quietly give features of text alone."""
    flags = ["--subject", "tiny:llava", "--site", "resid_post.1", "--corpus", str(words)]
    assert train(tmp_path / "w", *flags) == 2
    said = capsys.readouterr().err
    assert "has no pictures" in said
    assert "--text-only" in said
    assert not (tmp_path / "w").exists()


def test_a_wrong_explainer_is_found_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the user waits ten minutes for the sentence."""
    folder = tmp_path / "w"
    assert main(["explain", "--workspace", str(folder), "--explainers", "nobody"]) == 2
    assert "there are: vocabulary, subject, reader, causal, lmm" in capsys.readouterr().err
    assert main(["explain", "--workspace", str(folder), "--explainers", "server"]) == 2
    assert "--base-url" in capsys.readouterr().err
    assert not folder.exists()


def test_ctrl_c_keeps_what_was_done_and_the_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 130, the command that goes on, no half-written file; then it does go on."""
    flags = ["--subject", "tiny:llava", "--site", "resid_post.1", "--corpus", "scenes?n=40"]
    begin, reports = ProgressBars.begin, [3]

    def interrupting(bars: ProgressBars, stage: str, note: str) -> StageProgress:
        progress = begin(bars, stage, note)

        def told(done: int, total: int, note: str = "") -> None:
            reports[0] -= 1
            if reports[0] == 0:
                signal.raise_signal(signal.SIGINT)
            progress(done, total, note)

        return told

    monkeypatch.setattr(ProgressBars, "begin", interrupting)
    folder = tmp_path / "w"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as at a terminal
    try:
        assert train(folder, *flags) == INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    assert f"semascope train --workspace {folder}" in capsys.readouterr().err
    assert not Workspace(folder).record().stages["train"].done
    assert recorded(Workspace(folder)).train.site == "resid_post.1"
    assert not list(folder.rglob("*.tmp"))
    assert main(["train", "--workspace", str(folder)]) == 0  # the flags are remembered
    stage = Workspace(folder).record().stages["train"]
    assert stage.done
    assert stage.starts == 2
