"""Features of every dictionary of a run can be changed and tried, not only those of the first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from semascope.config import GatherOptions, RunOptions, TrainOptions
from semascope.evidence import Evidence
from semascope.evidence.store.publish import publish
from semascope.pipeline import run as run_stages
from semascope.serve.app import make_app
from semascope.serve.explorer.workspace import WorkspaceExplorer
from semascope.workspace import Workspace

FIRST, SECOND = "resid_post.1/main-32", "resid_post.1/main-64"
TALK: dict[str, Any] = {"messages": [{"role": "user", "text": "What?"}], "max_new_tokens": 3}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A run with two dictionaries at one site, gathered and not explained."""
    space = Workspace(tmp_path_factory.mktemp("run"))
    options = RunOptions(
        train=TrainOptions(
            subject="tiny:llava", site="resid_post.1", corpus="scenes?n=40", tokens=600,
            widths=("32", "64"), k=4, rows=8, max_tokens=128,
        ),
        gather=GatherOptions(samples=24, top=6, batch=8),
    )  # fmt: skip
    run_stages(space, options, until="gather")
    explorer = WorkspaceExplorer(space)
    for key in (FIRST, SECOND):
        publish(Evidence.open(space.evidence(), key), explorer.atlas)
    with TestClient(make_app(explorer)) as client:
        yield client


def events(client: TestClient, path: str, ask: dict[str, Any]) -> list[dict[str, Any]]:
    lines = client.post(path, json=ask).text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def of(stream: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in stream if event["kind"] == kind]


def strongest(client: TestClient, dictionary: str) -> str:
    """The feature of a dictionary that fires most on a text, as a share of its maximum."""
    peaks = {}
    for index in range(32):
        ask = {"feature": f"{dictionary}/{index}", "text": "a red circle"}
        (tried,) = of(events(client, "/api/try", ask), "tried")
        peaks[ask["feature"]] = tried["share"] or 0.0  # null where it never fired in the corpus
    assert max(peaks.values()) > 0
    return max(peaks, key=lambda feature: peaks[feature])


def test_a_feature_of_the_second_dictionary_is_tried_changed_and_measured(
    client: TestClient,
) -> None:
    feature = strongest(client, SECOND)
    wish = {"features": [[SECOND, int(feature.rpartition("/")[2])]], "how": "clamp", "strength": 6}
    steered = events(client, "/api/steer", {**TALK, "interventions": [wish]})
    assert steered[-1]["kind"] == "finished", steered[-1]
    after, control = of(steered, "compared")
    assert after["kl"] > 0 and after["share"] == control["share"] == 1 / 64
    ids = [event["id"] for event in of(steered, "token") if event["side"] == "after"]
    chat = events(client, "/api/chat", {**TALK, "interventions": [wish]})
    assert [event["id"] for event in of(chat, "token")] == ids
    ask = {"concept": "power", "feature": feature, "strength": 2.0}
    (tested,) = of(events(client, "/api/register/measure", ask), "tested")
    assert tested["feature"] == feature and tested["tested"]["probes"] == 4


def test_the_first_dictionary_explains_an_answer_under_a_change_of_the_second(
    client: TestClient,
) -> None:
    """Reasons stay those of one dictionary: two at a site would count everything twice."""
    wish = {"features": [[SECOND, 1]], "how": "add", "strength": 3, "unit": "max"}
    plain, changed = (
        events(client, "/api/why", {**TALK, "answer": [9], "interventions": more})
        for more in ([], [wish])
    )
    (one,), (other,) = of(plain, "explained"), of(changed, "explained")
    assert one["value"] != other["value"]
    assert {r["id"].rpartition("/")[0] for r in one["reasons"] + other["reasons"]} == {FIRST}


def test_both_dictionaries_are_changed_at_once(client: TestClient) -> None:
    both = [
        {"features": [[key, 1]], "how": "add", "strength": 4, "unit": "max", "name": key}
        for key in (FIRST, SECOND)
    ]
    kl = []
    for changes in ([both[0]], [both[1]], both):
        ask = {**TALK, "interventions": changes, "control": False, "answer": [9, 11]}
        (compared,) = of(events(client, "/api/steer", ask), "compared")
        kl.append(compared["kl"])
    assert len(set(kl)) == 3 and compared["share"] == 2 / 96


@pytest.mark.parametrize(
    ("feature", "words"),
    [("resid_post.1/other/1", SECOND), (f"{SECOND}/64", "No feature 64 in")],
)
def test_a_feature_of_no_dictionary_of_the_run_is_refused(
    client: TestClient, feature: str, words: str
) -> None:
    failed = events(client, "/api/try", {"feature": feature, "text": "x"})[-1]
    assert (failed["kind"], failed["type"]) == ("failed", "NotThere") and words in failed["message"]
