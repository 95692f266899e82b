"""Routes that ask, over drawn data: what the page's code can count on, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

FEATURE = "resid_post.12/drawn/0"
TALK = {"messages": [{"role": "user", "text": "Which is bigger, 9.9 or 9.11?"}]}
WISH = {"features": [["resid_post.12/drawn", 1]], "how": "ablate"}


def events(client: TestClient, path: str, ask: dict[str, Any]) -> list[dict[str, Any]]:
    got = client.post(path, json=ask)
    assert got.status_code == 200, got.text
    return [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: ")]


def test_why_tells_reasons_then_concepts_then_their_effects(client: TestClient) -> None:
    told = events(client, "/api/why", {**TALK, "answer": [3], "clusters": True, "effects": 2})
    kinds = [e["kind"] for e in told]
    assert kinds == ["queued", "explained", "clustered", "effect", "effect", "finished"]
    groups = told[2]["clusters"]
    assert [g["number"] for g in groups] == list(range(len(groups)))
    ids = {f["id"] for g in groups for f in g["features"]}
    assert ids <= {r["id"] for r in told[1]["reasons"]}
    for one in told[3:5]:
        assert one["effect"] == pytest.approx(one["after"] - one["before"])


def test_why_without_concepts_is_as_it_was(client: TestClient) -> None:
    told = events(client, "/api/why", {**TALK, "answer": [3]})
    assert [e["kind"] for e in told] == ["queued", "explained", "finished"]


def test_steering_stands_beside_a_control(client: TestClient) -> None:
    told = events(client, "/api/steer", {**TALK, "interventions": [WISH]})
    assert [e["side"] for e in told if e["kind"] == "answered"] == ["before", "after", "control"]
    after, control = (e for e in told if e["kind"] == "compared")
    assert (after["side"], control["side"]) == ("after", "control")
    assert after["kl"] > control["kl"] and after["changed"] and not control["changed"]
    known = {**TALK, "interventions": [WISH], "answer": [1, 2], "control": False}
    sides = [e["side"] for e in events(client, "/api/steer", known) if e["kind"] == "answered"]
    assert sides == ["after"]


def test_a_prompt_is_read_back_token_by_token(client: TestClient) -> None:
    tokens = events(client, "/api/read", {**TALK, "answer": [5, 6]})[1]["tokens"]
    assert tokens[0]["logprob"] is None and tokens[-1]["id"] == 6
    assert all(t["logprob"] <= 0 for t in tokens[1:])


@pytest.mark.parametrize(
    ("path", "ask", "kind"),
    [
        ("/api/try", {"feature": FEATURE, "text": "a red circle"}, "tried"),
        ("/api/examples", {"wanted": [{"text": "a red circle"}]}, "alike"),
        ("/api/versus", {**TALK, "dictionaries": ["resid_post.12/drawn"] * 2}, "versus"),
        ("/api/register/measure", {"concept": "deception", "feature": FEATURE}, "tested"),
    ],
)
def test_one_event_answers(client: TestClient, path: str, ask: dict[str, Any], kind: str) -> None:
    assert [e["kind"] for e in events(client, path, ask)] == ["queued", kind, "finished"]


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/api/why", {**TALK, "mode": "magic"}),
        ("/api/why", {**TALK, "at": {"region": {"left": 5, "top": 0, "right": 1, "bottom": 9}}}),
        ("/api/why", {**TALK, "answer": [-1]}),
        ("/api/steer", TALK),
        ("/api/try", {"feature": FEATURE}),
        ("/api/examples", {"wanted": []}),
        ("/api/versus", {**TALK, "dictionaries": ["a/b"]}),
        ("/api/register/measure", {"concept": "deception", "feature": FEATURE, "strength": 99}),
    ],
)
def test_what_cannot_be_asked_is_said_in_words(
    client: TestClient, path: str, ask: dict[str, Any]
) -> None:
    got = client.post(path, json=ask)
    assert got.status_code == 422 and got.json()["error"]["type"] == "Invalid"


def test_a_concept_comes_with_what_to_do_with_it(client: TestClient) -> None:
    got = client.get("/api/concept", params={"q": "red circle", "k": 3}).json()
    near = [row["similarity"] for row in got["rows"]]
    assert len(near) == 3 and near == sorted(near, reverse=True)
    pairs = [[row["dictionary"], row["index"]] for row in got["rows"]]
    assert got["suppress"]["features"] == got["strengthen"]["features"] == pairs
    assert got["share"] == pytest.approx(3 / 240) and not got["note"]
    none = client.get("/api/concept", params={"q": "zzz", "k": 3}).json()
    assert none["rows"] == [] and none["note"] and none["suppress"] is None
