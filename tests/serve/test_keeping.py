"""What people keep, over drawn data: notes, lists, blind ratings, the register, tours, the map."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from semascope.serve.explorer.feature_map import across, in_order, level, sizes

FEATURE = "resid_post.12/drawn/0"


def test_a_note_is_kept_shown_and_taken_away(client: TestClient) -> None:
    ask = {"feature": FEATURE, "text": "<b>warm</b> colours?", "author": "Ana"}
    made = client.post("/api/notes", json=ask)
    assert made.status_code == 201 and made.json()["text"] == ask["text"]
    page = client.get(f"/api/features/{FEATURE}").json()
    assert made.json() in page["notes"]
    path = f"/api/notes/{made.json()['id']}"
    assert client.delete(path).status_code == 204
    assert made.json() not in client.get("/api/notes", params={"feature": FEATURE}).json()
    assert client.delete(path).status_code == 404
    nobody = {"feature": "resid_post.12/drawn/99999", "text": "x"}
    assert client.post("/api/notes", json=nobody).status_code == 404


def test_a_list_keeps_its_order(client: TestClient) -> None:
    ids = [f"resid_post.12/drawn/{n}" for n in (7, 2, 11)]
    assert client.put("/api/lists/two words", json={"features": ids}).json()["size"] == 3
    got = client.get("/api/lists/two words").json()
    assert [row["id"] for row in got["rows"]] == ids
    assert {"name": "two words", "size": 3} in client.get("/api/lists").json()
    assert client.delete("/api/lists/two words").status_code == 204
    assert client.get("/api/lists/two words").status_code == 404
    assert client.put("/api/lists/x", json={"features": ["no/such/1"]}).status_code == 404


def test_a_rater_is_told_nothing_before_the_grade(client: TestClient) -> None:
    task = client.get("/api/rating", params={"rater": "Ana"}).json()
    assert task["task"] and task["description"] and task["exemplars"] and len(task["grades"]) == 4
    assert not {"feature", "label", "author", "swapped"} & set(task)
    told = client.post("/api/rating", json={"task": task["task"], "rater": "Ana", "grade": 2})
    assert told.json()["done"] == task["done"] + 1
    assert told.json()["author"] == "drawn-explainer"
    again = client.get("/api/rating", params={"rater": "Ana"}).json()
    assert again["task"] != task["task"] and again["total"] == task["total"]
    agreement = client.get("/api/rating/agreement").json()
    assert agreement["ratings"] >= 1
    assert [one["name"] for one in agreement["shares"]] == ["right", "vague", "wrong", "silly"]
    bad = {"task": "nothing", "rater": "Ana", "grade": 2}
    assert client.post("/api/rating", json=bad).status_code == 404


def test_swapped_words_are_told_to_be_another_features(client: TestClient) -> None:
    """Were the swap not kept from the words' own feature, both would read alike."""
    swapped = 0
    for _ in range(20):
        task = client.get("/api/rating", params={"rater": "Bo"}).json()
        ask = {"task": task["task"], "rater": "Bo", "grade": 0}
        told = client.post("/api/rating", json=ask).json()
        if told["swapped"]:
            swapped += 1
            assert told["description"] != task["description"]
        else:
            assert told["description"] == task["description"]
    assert 0 < swapped < 20
    judges = client.get("/api/rating/agreement").json()["judges"]
    assert "Detection AUROC" in {one["name"] for one in judges}
    assert all(one["features"] <= 21 for one in judges)


def test_the_map_is_whole_and_small(client: TestClient) -> None:
    got = client.get("/api/map").json()
    index = unpacked(got["index"], "<i4")
    x, y = unpacked(got["x"], "<u2"), unpacked(got["y"], "<u2")
    assert got["count"] == len(index) == len(x) == len(y) == 192  # a fifth of 240 are dead
    assert len(unpacked(got["category"], "u1")) == len(unpacked(got["size"], "u1")) == 192
    spoke = index % 8 * (np.pi / 4)
    right = (x.astype(float) / 65_535 * 2 - 1) * np.cos(spoke)
    up = (y.astype(float) / 65_535 * 2 - 1) * np.sin(spoke)
    assert (right + up > 0.19).all()  # every point lies out on its own spoke
    assert {label["level"] for label in got["labels"]} == {0}
    assert client.get("/api/map", params={"dictionary": "no/such"}).status_code == 422


def unpacked(text: str, kind: str) -> Any:
    return np.frombuffer(base64.b64decode(text), kind)


def test_ends_of_the_scales() -> None:
    assert across(np.array([-1.0, 0.0, 1.0, 7.0])).tolist() == [0, 32768, 65535, 65535]
    assert sizes(np.array([0.0, 1e-6, 1e-3, 1.0])).tolist() == [0, 0, 128, 255]
    assert [level(n) for n in (0, 7, 8, 31, 32)] == [0, 0, 1, 1, 2]


def test_the_register_finds_measures_and_warns(client: TestClient) -> None:
    got = client.get("/api/register").json()
    assert "not a verdict" in got["caution"]
    names = [concept["name"] for concept in got["concepts"]]
    assert names == ["deception", "bias", "flattery", "dangerous-knowledge", "power",
                     "self-representation"]  # fmt: skip
    for concept in got["concepts"]:
        assert concept["features"] or concept["note"]
    found = next((c, f) for c in got["concepts"] for f in c["features"])
    feature = found[1]["row"]["id"]
    client.post("/api/register/measure", json={"concept": found[0]["name"], "feature": feature})
    again = client.get("/api/register").json()
    concept = next(c for c in again["concepts"] if c["name"] == found[0]["name"])
    tested = next(f["tested"] for f in concept["features"] if f["row"]["id"] == feature)
    assert tested["low"] <= tested["effect"] <= tested["high"]


def test_tours_are_whole_and_find_their_pictures(client: TestClient) -> None:
    lines = client.get("/api/tours").json()
    assert len(lines) == 6
    for line in lines:
        tour = client.get(f"/api/tours/{line['name']}").json()
        assert len(tour["steps"]) == line["steps"]
        for step in tour["steps"]:
            if step["do"] == "ask" and step["shows"]:
                assert step["note"]
                assert step["picture"] is None or client.get(f"/media/{step['picture']}").is_success
    assert client.get("/api/tours/nowhere").status_code == 404


@pytest.mark.parametrize("path", ["/api/notes?feature=x", "/api/notes?feature=a/b/1"])
def test_no_such_feature(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 422)


def test_a_legend_ends_with_what_has_no_kind() -> None:
    told = in_order({"", "other", "text", "colour"})
    assert told == ["colour", "text", "other", ""]
