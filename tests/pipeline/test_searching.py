"""Search from the command line: words, pictures, examples; filters and mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from semascope.atlas import Atlas, FeatureFigures, HashingEmbedder, search, write_vectors
from semascope.cli import main
from semascope.dictionary import CoderConfig, SparseCoder, save
from semascope.pipeline import feature_search
from semascope.subject.testing import tiny
from semascope.workspace import RunRecord, StageRecord, Workspace

SITE, WIDTH = "resid_post.1", 24


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace as an index stage leaves it, without the stages: 24 features, four named."""
    workspace = Workspace(tmp_path / "w")
    torch.manual_seed(0)
    subject = tiny("llava")
    coder = SparseCoder(CoderConfig(d_in=subject.d_model, width=WIDTH, k=4), site=SITE)
    save(coder, workspace.dictionary(SITE, "main"))
    key = f"{SITE}/main"
    with Atlas.open(workspace.atlas) as atlas:
        atlas.add_dictionary(key, model="tiny-llava", width=WIDTH)
        atlas.write_features(key, [figures(i) for i in range(WIDTH)])
        atlas.write_explanations(
            key, [Words(i, w) for i, w in enumerate(("flag", "cat", "red", "word"))]
        )
        write_vectors(atlas, key, workspace.vectors / key, HashingEmbedder())
    done = {"index": StageRecord(done=True)}
    train = StageRecord(done=True, options={"subject": "tiny:llava", "site": SITE})
    workspace.save(RunRecord(site=SITE, dictionary="main", stages={"train": train, **done}))
    monkeypatch.setattr(search, "embedder", lambda name="": HashingEmbedder())
    yield workspace


class Words:
    """What an explainer gives."""

    description, category, confidence, abstained = "a thing", "object", 0.5, False
    author, prompt_version, inputs, cost = "namer", "1", "", {}

    def __init__(self, feature: int, label: str) -> None:
        self.feature, self.label = feature, label


def figures(i: int) -> FeatureFigures:
    """Density i / 100; odd ones fire on text."""
    modality = "text" if i % 2 else "image"
    return FeatureFigures(i, True, modality, i / 100, 0.0, 0.0, 1.0, 1, {})


def ask(space: Workspace, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """The verb's JSON."""
    assert main(["search", *words, "--json", "-w", str(space.root)]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_words_with_filters(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Nearest first; what a filter leaves out is not there."""
    found = ask(space, capsys, "flags")
    assert (found[0]["label"], found[0]["id"]) == ("flag", f"{SITE}/main/0")
    assert {f["label"] for f in ask(space, capsys, "flags", "--modality", "text")} == {
        "cat",
        "word",
    }
    assert {f["label"] for f in ask(space, capsys, "flags", "--density", "0.01")} == {"flag", "cat"}
    assert ask(space, capsys, "flags", "--layer", "7") == []
    assert len(ask(space, capsys, "flags", "--limit", "2")) == 2


def test_pictures_and_prompts(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the subject: what fires here, what fires on these and not on those, and both."""
    folder = space.root.parent
    Image.new("RGB", (40, 30), (200, 30, 30)).save(folder / "red.png")
    (folder / "a.txt").write_text("one two three\nred.png\n")
    (folder / "b.txt").write_text("four five\n")
    seen = ask(space, capsys, "--image", str(folder / "red.png"))
    assert seen
    assert all(f["like"] == 1 for f in seen)
    both = ["--like", str(folder / "a.txt"), "--unlike", str(folder / "b.txt")]
    found = ask(space, capsys, *both, "--limit", "3")
    like, unlike = (
        feature_search.prompts(folder / "a.txt"),
        feature_search.prompts(folder / "b.txt"),
    )
    same = feature_search.by_samples(space, like, unlike, limit=3)
    assert found == same
    assert [f["contrast"] for f in found] == sorted((f["contrast"] for f in found), reverse=True)
    worded = ask(space, capsys, "flag", "--image", str(folder / "red.png"))
    fired = {
        f["id"] for f in ask(space, capsys, "--image", str(folder / "red.png"), "--limit", "99")
    }
    assert {f["id"] for f in worded} <= fired
    assert all("similarity" in f for f in worded)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "Say what to look for"),
        (("--unlike", "a.txt"), "--like"),
        (("--like", "none.txt"), "cannot be read"),
        (("--image", "a.txt"), "is not a picture"),
        (("--like", "a.txt", "--layer", "7"), "No dictionary of layer 7"),
        (("flag", "--min-score", "0.5", "--modality", "smell"), "smell"),
    ],
)
def test_mistakes_are_sentences(
    space: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    why: str,
) -> None:
    """They say what is missing, before a model is loaded."""
    monkeypatch.chdir(space.root.parent)
    Path("a.txt").write_text("one\n")
    assert main(["search", *words, "-w", str(space.root)]) == 2
    assert why in capsys.readouterr().err
