"""Search: the page, the command line and Python give the same features in the same order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.serve.planted_run import planted_run

from semascope.api.run import OpenRun
from semascope.cli import main
from semascope.serve import open_explorer
from semascope.serve.app import make_app
from semascope.workspace import StageRecord, Workspace


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = planted_run(tmp_path_factory.mktemp("run"))
    record = workspace.record()
    stages = {**record.stages, "index": StageRecord(done=True)}
    workspace.save(record.model_copy(update={"stages": stages}))
    return workspace


def by_command(
    space: Workspace, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> list[str]:
    assert main(["search", *words, "--json", "-w", str(space.root)]) == 0
    return [row["id"] for row in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize("query", ["square, blue", "an animal"])
def test_words_rank_alike_everywhere(
    space: Workspace, capsys: pytest.CaptureFixture[str], query: str
) -> None:
    python = [str(f.id) for f in OpenRun.of_workspace(space).features(query)]
    with TestClient(make_app(open_explorer(space.root))) as client:
        page = client.get("/api/search", params={"q": query, "limit": 10}).json()["rows"]
    assert len(python) == 3
    assert [row["id"] for row in page] == by_command(space, capsys, [query]) == python


@pytest.mark.parametrize("pictured", [False, True])
def test_examples_rank_alike_on_page_and_command_line(
    space: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path, pictured: bool
) -> None:
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
    (tmp_path / "like.txt").write_text("one two three\n")
    (tmp_path / "unlike.txt").write_text("four five\n")
    with TestClient(make_app(open_explorer(space.root))) as client:
        if pictured:
            files = {"file": (tmp_path / "red.png").read_bytes()}
            sent = client.post("/api/pictures", files=files).json()["media"]
            ask = {"wanted": [{"picture": sent}]}
            words = ["--image", str(tmp_path / "red.png")]
        else:
            ask = {"wanted": [{"text": "one two three"}], "unwanted": [{"text": "four five"}]}
            words = ["--like", str(tmp_path / "like.txt")]
            words += ["--unlike", str(tmp_path / "unlike.txt")]
        lines = client.post("/api/examples", json=ask).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    page = [one["row"]["id"] for e in events if e["kind"] == "alike" for one in e["rows"]]
    assert page
    assert page == by_command(space, capsys, [*words, "--limit", "20"])[: len(page)]
