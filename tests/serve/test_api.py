"""The HTTP interface over drawn data: what the page and other programs stand on."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

FEATURE = "resid_post.12/drawn/0"
STEERED = ["resid_post.12/drawn", 1]


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def steer(**changes: Any) -> dict[str, Any]:
    return {"question": "What is there?", "interventions": [{"features": [STEERED], **changes}]}


def test_list_is_sorted_filtered_and_cut(client: TestClient) -> None:
    got = client.get("/api/features", params={"sort": "score", "score": "iou", "limit": 10}).json()
    values = [next(s["value"] for s in r["scores"] if s["kind"] == "iou") for r in got["rows"]]
    assert len(values) == 10 and values == sorted(values, reverse=True)
    text = client.get("/api/features", params={"modality": "text", "alive": True}).json()
    assert 0 < text["total"] < got["total"]
    assert {r["modality"] for r in text["rows"]} == {"text"}


def test_windows_of_the_list_join_without_gap_or_overlap(client: TestClient) -> None:
    whole = client.get("/api/features", params={"limit": 60, "sort": "index"}).json()["rows"]
    parts = [
        row
        for offset in (0, 20, 40)
        for row in client.get(
            "/api/features", params={"limit": 20, "offset": offset, "sort": "index"}
        ).json()["rows"]
    ]
    assert [r["id"] for r in parts] == [r["id"] for r in whole]


def test_search_answers_by_likeness(client: TestClient) -> None:
    rows = client.get("/api/search", params={"q": "red circle"}).json()["rows"]
    near = [r["similarity"] for r in rows]
    assert rows[0]["label"] == "red circle" and near == sorted(near, reverse=True)


def test_feature_page_and_its_pictures(client: TestClient) -> None:
    page = client.get(f"/api/features/{FEATURE}").json()
    assert page["feature"]["id"] == FEATURE and page["top"] and page["histogram"]
    picture = page["top"][0]["pictures"][0]
    assert len(picture["rects"]) == len(picture["values"]) == 64
    got = client.get(f"/media/{picture['media']}")
    assert got.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(got.content)).size == (picture["width"], picture["height"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/features/resid_post.12/drawn/999999", 404),
        ("/api/features/nonsense", 404),
        ("/api/splitting/resid_post.12/drawn/999999", 404),
        ("/api/splitting/resid_post.12/drawn/0?threshold=2", 422),
        ("/media/" + "0" * 64, 404),
        ("/media/..%2F..%2Fetc%2Fpasswd", 404),
        ("/api/features?limit=100000", 422),
        ("/api/features?sort=drop+table", 422),
        ("/api/features?min_score=nan", 422),
        ("/api/search?q=", 422),
        ("/api/nothing", 404),
    ],
)
def test_a_wrong_request_is_answered_in_words(client: TestClient, path: str, status: int) -> None:
    got = client.get(path)
    assert got.status_code == status
    assert set(got.json()["error"]) == {"message", "type"} and got.json()["error"]["message"]


def test_a_body_that_is_no_json_is_told_where(client: TestClient) -> None:
    sent = client.post("/api/chat", content="{bad", headers={"content-type": "application/json"})
    assert sent.status_code == 422
    assert "Its body is not JSON" in sent.json()["error"]["message"]


def test_compare_streams_both_answers(client: TestClient) -> None:
    got = events(client.post("/api/compare", json=steer(strength=5)).text)
    kinds = [e["kind"] for e in got]
    assert kinds[0] == "queued" and kinds[-1] == "finished"
    answers = {e["side"]: e["text"] for e in got if e["kind"] == "answered"}
    assert answers["before"] != answers["after"]
    for side, text in answers.items():
        tokens = [e for e in got if e["kind"] == "token" and e["side"] == side]
        assert "".join(t["text"] for t in tokens) == text
        assert all(t["logprob"] <= 0 and len(t["top"]) == 5 for t in tokens)


def test_strength_zero_changes_nothing(client: TestClient) -> None:
    got = events(client.post("/api/compare", json=steer(strength=0)).text)
    answers = [e["text"] for e in got if e["kind"] == "answered"]
    assert answers[0] == answers[1]


def test_an_error_of_the_model_is_told_in_the_stream(client: TestClient) -> None:
    ask = steer(features=[["resid_post.12/drawn", 999_999]])
    last = events(client.post("/api/compare", json=ask).text)[-1]
    assert last["kind"] == "failed" and "no feature" in last["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"question": ""},
        {"question": "x" * 5_000},
        {"interventions": []},
        {"interventions": [{"features": [["a/b", i] for i in range(3_000)]}]},
        {"max_new_tokens": 100_000},
        {"temperature": -1},
        {"picture": "../../etc/passwd"},
        {"unknown": 1},
    ],
)
def test_limits_of_a_question(client: TestClient, change: dict[str, Any]) -> None:
    got = client.post("/api/compare", json={**steer(), **change})
    assert got.status_code == 422 and got.json()["error"]["type"] == "Invalid"


def test_the_schema_names_every_route(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert {"/api/features", "/api/compare", "/media/{digest}"} <= set(schema["paths"])
    row = schema["components"]["schemas"]["FeatureRow"]["properties"]
    assert row["density"]["description"].startswith("Share of all tokens")


def test_an_unbuilt_page_says_how_to_build_it(client: TestClient) -> None:
    got = client.get("/")
    assert got.status_code == 503 and "hatch_build.py" in got.text
