"""Rating sheets: what is on them, what the page escapes, and what is read back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from planted import NAMES, World

from semascope.api.rating_sheet import SheetItem, sheet_page
from semascope.errors import ExplainError
from semascope.explain.human.blind_rating import BlindRatings
from semascope.explain.human.rating_sheet import (
    drawn,
    exemplars_of,
    keep_ratings,
    read_ratings,
    tasks_of,
)
from semascope.explain.types import Explanation


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=120)


def grey(_: str) -> Image.Image:
    return Image.new("RGB", (128, 128), "grey")


def words(labels: tuple[str, ...] = NAMES) -> dict[int, Explanation]:
    made = {i: Explanation(i, f"Pictures of {n}.", n, author="a") for i, n in enumerate(labels)}
    return made | {99: Explanation(99, "No words.", abstained=True)}


def sent(explanations: dict[int, Explanation], seed: int = 1, **changed: Any) -> dict[str, Any]:
    tasks = tasks_of(drawn(explanations, 4, seed), seed)
    ratings = [{"task": t, "grade": g} for t, g in zip(tasks, ("right", "silly"), strict=False)]
    whole = {"kind": "semascope ratings", "dictionary": "d", "seed": seed, "size": 4}
    return {**whole, "rater": "Ana", "ratings": ratings, **changed}


def test_a_sheet_is_drawn_by_its_seed_from_the_explained() -> None:
    first, again, other = (drawn(words(), 6, seed) for seed in (1, 1, 2))
    assert first == again and first != other
    assert len({e.feature for e in first}) == 6
    assert len(drawn(words(), 500, 1)) == len(NAMES), "an abstention is no explanation"
    with pytest.raises(ExplainError, match="semascope explain"):
        drawn({}, 6, 1)


def test_a_sheet_shows_held_out_exemplars_weak_ones_too(world: World) -> None:
    """Rated on what its author saw, an explanation would be graded on its homework."""
    record = world.sees(0, "mango")
    shown = exemplars_of(record, 6)
    assert len(shown) == 6 and all(e.shown.split == "score" for e in shown)
    peaks = [e.peak for e in shown]
    held_out = sorted((e.peak for e in record.split("score").top), reverse=True)
    assert peaks[:4] == held_out[:4]
    assert peaks == sorted(peaks, reverse=True) and peaks[-1] < held_out[5]
    assert len(exemplars_of(record, 500)) == len(held_out)


def test_the_page_escapes_what_comes_from_data(world: World) -> None:
    """A label is written by a model and a token by anyone: neither may become markup."""
    evil = '"><script>alert(1)</script>%SCRIPT%%ITEMS%'
    record = world.reads(0, " harbour")
    for exemplar in record.top[:1]:
        assert exemplar.peak > 0
    item = SheetItem("0f" * 8, evil, evil + "!", exemplars_of(record))
    page = sheet_page([item], grey, dictionary=evil, seed=1)
    assert page.count("<script>") == 1
    assert "%SCRIPT%%ITEMS%" in page, "names of places in the page are left alone"
    about = re.search(r'data-about="([^"]*)"', page)
    assert about is not None and "&quot;size&quot;: 1" in about[1]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and "default-src 'none'" in policy[1] and "sha256-" in policy[1]
    assert "unsafe-inline'; script-src 'sha256" in policy[1], "no script but the page's own"


def test_pictures_travel_inside_with_their_heat(world: World) -> None:
    item = SheetItem("0f" * 8, "mango", "Pictures of mango.", exemplars_of(world.sees(0, "mango")))
    page = sheet_page([item], grey, dictionary="d", seed=1)
    assert page.count("data:image/webp;base64,") == page.count("data:image/png;base64,") == 6
    empty = SheetItem("0f" * 8, "mango", "mango", [])
    assert "No held-out sample" in sheet_page([empty], grey, dictionary="d", seed=1)


def test_ratings_come_back_once_whoever_made_the_page(tmp_path: Path) -> None:
    """A sheet may be made from a copy of the workspace that could not be written."""
    store, own, file = BlindRatings(tmp_path / "r.db"), words(), tmp_path / "ratings.json"
    file.write_text(json.dumps(sent(own)))
    for _ in range(2):
        assert keep_ratings(store, read_ratings(file), own) == 2
    assert sorted(store.grades("Ana").values()) == [0, 3]
    found = store.agreement()
    assert (found.shares["right"].value, found.shares["silly"].n) == (0.5, 2)
    store.close()


def test_ratings_of_other_explanations_are_refused_whole(tmp_path: Path) -> None:
    """A feature that was explained anew since has no rating: the old one is of other words."""
    store, file = BlindRatings(tmp_path / "r.db"), tmp_path / "ratings.json"
    file.write_text(json.dumps(sent(words())))
    with pytest.raises(ExplainError, match="2 of 2 ratings are of explanations"):
        keep_ratings(store, read_ratings(file), words(tuple(f"{n} again" for n in NAMES)))
    assert store.grades("Ana") == {}
    store.close()


@pytest.mark.parametrize(
    "changed",
    [{"kind": "x"}, {"rater": ""}, {"size": 0}, {"ratings": [{"task": "a", "grade": "great"}]}],
)
def test_what_is_no_sheet_is_a_sentence(changed: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "ratings.json"
    file.write_text(json.dumps(sent(words(), **changed)))
    with pytest.raises(ExplainError, match=r"Give the file that the page downloads"):
        read_ratings(file)
    file.write_bytes(b"\xff\xfe no JSON")
    with pytest.raises(ExplainError, match="does not hold the ratings"):
        read_ratings(file)
    with pytest.raises(ExplainError, match="cannot be read"):
        read_ratings(tmp_path / "none.json")
