"""The Explorer over a real workspace: a tiny random model, trained, gathered and told in words."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from semascope.atlas import HashingEmbedder, write_vectors
from semascope.config import ExplainOptions, GatherOptions, RunOptions, TrainOptions
from semascope.errors import NotThere, WorkspaceError
from semascope.evidence.publish import publish
from semascope.pipeline import run as run_stages
from semascope.pipeline.context import Run
from semascope.serve import open_explorer
from semascope.serve.app import make_app
from semascope.serve.questions import ListQuery, SearchQuery
from semascope.serve.workspace import WorkspaceExplorer, split_id
from semascope.workspace import Workspace

KEY = "resid_post.1/main"
LABELS = ("red circle", "blue square", "a dog")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Trained on a handful of scenes; three features are given words and figures by hand."""
    space = Workspace(tmp_path_factory.mktemp("run"))
    options = RunOptions(
        train=TrainOptions(
            subject="tiny:llava", site="resid_post.1", corpus="scenes?n=40", tokens=600,
            latents=32, k=4, rows=8, max_tokens=128,
        ),
        gather=GatherOptions(samples=24, top=6, batch=8),
        explain=ExplainOptions(explainers=("vocabulary",)),
    )  # fmt: skip
    run_stages(space, options, until="gather")
    run = Run(space, options)
    number = publish(run.evidence, run.atlas)
    alive = run.evidence.alive().tolist()[: len(LABELS)]
    words = [
        SimpleNamespace(
            feature=f, label=label, description=f"Shows {label}.", category="object",
            confidence=0.9, abstained=False, author="hand", prompt_version="1", inputs="", cost={},
        )
        for f, label in zip(alive, LABELS, strict=True)
    ]  # fmt: skip
    figures = [
        SimpleNamespace(
            feature=f, kind="iou", value=0.3 * (n + 1), baseline=0.1, low=0.0, high=float("nan"),
            evidence={"n": 4}, author="hand",
        )
        for n, f in enumerate(alive)
    ]  # fmt: skip
    run.atlas.write_explanations(number, words)
    run.atlas.write_scores(number, figures)
    write_vectors(run.atlas, number, space.vectors / KEY, HashingEmbedder())
    run.atlas.close()
    return space


@pytest.fixture(scope="module")
def explorer(workspace: Workspace) -> WorkspaceExplorer:
    return open_explorer(workspace.root)


def first(explorer: WorkspaceExplorer) -> Any:
    return explorer.features(ListQuery(sort="score", limit=5)).rows[0]


def test_the_list_joins_words_figures_and_exemplars(explorer: WorkspaceExplorer) -> None:
    found = explorer.features(ListQuery(sort="score", order="desc", explained=True))
    assert [row.label for row in found.rows] == list(reversed(LABELS))
    row = found.rows[0]
    assert row.scores[0].kind == "iou" and row.scores[0].high is None  # NaN is no JSON
    exemplar = row.exemplars[0]
    strongest = [v for p in exemplar.pictures for v in p.values]
    strongest += [t.value for t in exemplar.tokens]
    assert max(strongest) == pytest.approx(exemplar.peak, rel=1e-3)
    assert exemplar.peak == pytest.approx(row.maximum, rel=1e-3)
    json.loads(found.model_dump_json())


def test_the_feature_page_has_all_that_was_gathered(explorer: WorkspaceExplorer) -> None:
    page = explorer.feature(first(explorer).id)
    assert page.top and page.histogram and page.explanations[0].author == "hand"
    assert sum(b.count for b in page.histogram) == page.stats["fired"]
    for exemplar in page.top:
        for picture in exemplar.pictures:
            assert explorer.media(picture.media).is_file()
            assert len(picture.rects) == len(picture.values) > 0
            assert all(r[2] <= picture.width and r[3] <= picture.height for r in picture.rects)


def test_search_finds_words(explorer: WorkspaceExplorer) -> None:
    rows = explorer.search(SearchQuery(q="square, blue")).rows
    assert rows[0].label == "blue square" and (rows[0].similarity or 0) > 0.3


@pytest.mark.parametrize("name", ["", "x", "a/b/c", f"{KEY}/-1", f"{KEY}/9999", f"{KEY}/²", "no/1"])
def test_no_such_feature(explorer: WorkspaceExplorer, name: str) -> None:
    with pytest.raises(NotThere):
        explorer.feature(name)


def test_the_model_answers_steers_and_gives_reasons(explorer: WorkspaceExplorer) -> None:
    """Over HTTP, through the queue: the same path that the page takes."""
    row = first(explorer)
    picture = row.exemplars[0].pictures[0].media
    wish = {"features": [split_id(row.id)], "how": "clamp", "strength": 0.0}
    with TestClient(make_app(explorer)) as client:
        ask = {"question": "What?", "picture": picture, "max_new_tokens": 3}
        told = events(client, "/api/compare", {**ask, "interventions": [wish]})
        answers = [e["text"] for e in told if e["kind"] == "answered"]
        assert told[-1]["kind"] == "finished" and answers[0] == answers[1]
        messages = [{"role": "user", "text": "What?", "pictures": [picture]}]
        talk = {"messages": messages, "max_new_tokens": 3}
        ids = [e["id"] for e in events(client, "/api/chat", talk) if e["kind"] == "token"]
        reasons = events(client, "/api/why", {**talk, "answer": ids})[-2]
        assert reasons["kind"] == "explained" and reasons["reasons"]
        sizes = [abs(r["attribution"]) for r in reasons["reasons"]]
        assert sizes == sorted(sizes, reverse=True)
        unknown = {**wish, "features": [["no/such", 1]], "strength": 2.0}
        failed = events(client, "/api/compare", {**ask, "interventions": [unknown]})[-1]
        assert failed["kind"] == "failed" and "no dictionary" in failed["message"]


def test_no_run_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="semascope demo"):
        open_explorer(tmp_path / "nothing")


def events(client: TestClient, path: str, ask: dict[str, Any]) -> list[dict[str, Any]]:
    lines = client.post(path, json=ask).text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
