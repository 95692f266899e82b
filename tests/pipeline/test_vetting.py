"""A workspace checks its model when it first meets it: it stops, or goes on with --trust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from semascope import pipeline
from semascope.cli import main
from semascope.config import RunOptions, TrainOptions
from semascope.errors import SubjectError
from semascope.pipeline import model_check
from semascope.pipeline.run_context import Run
from semascope.subject.testing import tiny
from semascope.workspace import Workspace


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with one weight that is NaN: it loads, and answers nonsense."""
    folder = tmp_path_factory.mktemp("model")
    subject = tiny("llama")
    with torch.no_grad():
        subject.model.model.layers[-1].mlp.down_proj.weight[0, 0] = float("nan")
    subject.model.save_pretrained(folder)
    subject.tokenizer.save_pretrained(folder)
    return folder


def options(subject: str, **more: object) -> RunOptions:
    train = TrainOptions(
        subject=subject, site="resid_post.0", corpus="text", tokens=200, latents=16, k=2, rows=4,
        max_tokens=16, **more,
    )  # fmt: skip
    return RunOptions(train=train)


def test_a_run_stops_where_a_check_fails(broken: Path, tmp_path: Path) -> None:
    """Without: a run of hours on a model that is not whole ends in figures."""
    with pytest.raises(SubjectError, match=r"fails the model check 'weights'.*NaN.*--trust"):
        pipeline.run(Workspace(tmp_path / "w"), options(str(broken)), until="train")
    assert not Workspace(tmp_path / "w").record().stages


def test_trust_goes_on_and_is_remembered(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without: each later verb asks for --trust again, or none ever checks again."""
    space = Workspace(tmp_path / "w")
    record = pipeline.run(space, options(str(broken), trust=True), until="train")
    assert record.model_check["trusted"] is True
    states = {one["name"]: one["state"] for one in record.model_check["checks"]}
    assert states["weights"] == "failed"
    monkeypatch.setattr(model_check, "_CHECKED", {})
    recorded = pipeline.recorded(space)
    assert not recorded.train.trust  # it is no option that decides what is made
    assert Run(space, recorded).subject.d_model == 32


def test_a_sound_model_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without: every command on a workspace waits for the check."""
    space = Workspace(tmp_path / "w")
    record = pipeline.run(space, options("tiny:llama"), until="train")
    assert {one["state"] for one in record.model_check["checks"]} <= {"ok", "not applicable"}
    monkeypatch.setattr(model_check, "_CHECKED", {})
    monkeypatch.setattr("semascope.subject.check.check", lambda subject: pytest.fail("again"))
    assert Run(space, pipeline.recorded(space)).subject.name


def test_another_version_of_what_runs_the_model_is_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without: an update that breaks a model is noticed by nobody."""
    space = Workspace(tmp_path / "w")
    pipeline.run(space, options("tiny:llama"), until="train")
    monkeypatch.setattr(model_check, "versions", lambda: {"transformers": "9.0"})
    asked: list[object] = []
    monkeypatch.setattr(
        "semascope.subject.check.check", lambda subject: asked.append(subject) or []
    )
    assert Run(space, pipeline.recorded(space)).subject.name
    assert len(asked) == 1


def test_the_verb_prints_every_check_and_fails_with_one(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without: a script that checks a model goes on whatever came out."""
    assert main(["model", "check", "--subject", "tiny:llava", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in found["checks"]} >= {"weights", "left padding", "cache", "edits"}
    assert main(["model", "check", "--subject", str(broken)]) == 1
    assert "FAILED" in capsys.readouterr().out
