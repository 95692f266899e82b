"""Every stage is done anew with other options: what people made stands after each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from semascope.atlas import Atlas
from semascope.cli import main
from semascope.config import (
    ExplainOptions,
    GatherOptions,
    RunOptions,
    ScoreOptions,
    TrainOptions,
)
from semascope.errors import WorkspaceError
from semascope.explain.human.blind_rating import BlindRatings
from semascope.explain.types import Explanation
from semascope.pipeline import run, search
from semascope.serve.explorer.workspace import WorkspaceExplorer
from semascope.serve.session_store import SessionStore
from semascope.workspace import Workspace

KEY = "resid_post.1/main"


def options(**changed: dict[str, object]) -> RunOptions:
    """Options of a small run, some of them changed."""
    train: dict[str, object] = {
        "subject": "tiny:llava", "site": "resid_post.1", "corpus": "scenes?n=40", "tokens": 600,
        "latents": 32, "k": 4, "rows": 8, "max_tokens": 128,
    }  # fmt: skip
    return RunOptions(
        train=TrainOptions(**(train | changed.get("train", {}))),  # type: ignore[arg-type]
        gather=GatherOptions(**({"samples": 24, "top": 6, "batch": 8} | changed.get("gather", {}))),  # type: ignore[arg-type]
        explain=ExplainOptions(
            **({"explainers": ("vocabulary",)} | changed.get("explain", {}))  # type: ignore[arg-type]
        ),
        score=ScoreOptions(**({"scorers": ("iou",)} | changed.get("score", {}))),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run on which people have worked."""
    space = Workspace(tmp_path_factory.mktemp("people") / "run")
    run(space, options())
    with Atlas.open(space.atlas) as atlas:
        atlas.add_note(KEY, 3, "an hour of work", author="ann")
        atlas.add_note(KEY, 31, "the last one")
        atlas.set_list("mine", [(KEY, 31), (KEY, 3)], "what it is about")
        mine = SimpleNamespace(
            feature=3, label="a hound", description="by hand", category="", confidence=1.0,
            abstained=False, author="ann", prompt_version="", inputs="", cost={},
        )  # fmt: skip
        atlas.write_explanations(KEY, [mine], own=False)
    ratings = BlindRatings(space.root / "ratings.db")
    ratings.deal([Explanation(3, "words", "label", author="x")])
    task = ratings.next("ann")
    assert task is not None
    ratings.rate(task.id, "ann", 2)
    ratings.close()
    sessions = SessionStore(space.root / "sessions.db")
    sessions.save("browser", "a talk", "{}")
    sessions.close()
    return space


def check(space: Workspace, *, width: int) -> None:
    """All of it is there."""
    with Atlas.open(space.atlas) as atlas:
        assert [n.text for n in atlas.all_notes()] == ["an hour of work", "the last one"]
        assert [row.index for row in atlas.list_features("mine")] == [31, 3]
        assert atlas.feature(KEY, 3).notes[0].author == "ann"
        assert "ann" in {e.author for e in atlas.feature(KEY, 3).explanations}
        assert ("there no longer" in atlas.notes(KEY, 31)[0].past) == (width < 32)
        assert atlas.dictionary(KEY).width == width
    ratings = BlindRatings(space.root / "ratings.db")
    assert ratings.progress("ann")[0] == 1
    ratings.close()
    sessions = SessionStore(space.root / "sessions.db")
    assert [title for _, title, _ in sessions.of("browser")] == ["a talk"]
    sessions.close()


def test_what_people_made_stands_after_every_stage(made: Workspace) -> None:
    """A stage done anew deleted notes, members of lists and words of other authors."""
    changes: list[dict[str, dict[str, object]]] = [
        {"score": {"scorers": ("iou", "detection")}},
        {"explain": {"explainers": ("vocabulary",), "least_gain": 0.3}},
        {"gather": {"samples": 20}},
        {"train": {"seed": 5}},
        {"train": {"latents": 24}},
    ]
    for change in changes:
        record = run(made, options(**change))
        assert record.stages["index"].done
        check(made, width=24 if "latents" in change.get("train", {}) else 32)
    with Atlas.open(made.atlas) as atlas:
        assert "earlier training" in atlas.notes(KEY, 3)[0].past


@pytest.fixture
def sealed(made: Workspace) -> Iterator[Workspace]:
    """The run in a folder that cannot be written, by whoever is not root."""
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    paths = [made.root, *made.root.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    yield made
    for path in paths:
        if path.exists():
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_a_folder_that_cannot_be_written_is_read(sealed: Workspace, tmp_path: Path) -> None:
    """Every verb that only reads wanted to write the atlas first."""
    assert search(sealed, "a thing", 3)
    root = str(sealed.root)
    assert main(["export", str(tmp_path / "f.jsonl"), "-w", root]) == 0
    assert main(["report", "-w", root]) == 0


def test_a_run_that_can_only_be_read_says_what_is_not_kept(
    made: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is kept, keeping is refused in a sentence, and results go elsewhere."""
    monkeypatch.setattr(Workspace, "writable", property(lambda _: False))
    monkeypatch.chdir(tmp_path)
    data = WorkspaceExplorer(made)
    assert "not kept" in data.info().read_only and not data.keeps
    here = made.results("evaluations")
    assert here == tmp_path / "semascope-results" / made.root.name / "evaluations"
    with Workspace(tmp_path / "mine").lock():
        pass
    with pytest.raises(WorkspaceError, match="no run of its own"):
        atlas = Workspace(tmp_path / "imports")
        Atlas.open(atlas.atlas).close()
        atlas.require("gather")
