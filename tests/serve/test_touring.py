"""Guided tours, headless: their mechanics, over drawn data; every figure in them is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from semascope.causal.attribution.metrics import first_telling
from semascope.causal.steering.interventions import Where
from semascope.errors import NotThere, ServeError
from semascope.monitor.tours import Expect, Tour, tour, tours
from semascope.serve.schema.events import Token
from semascope.serve.schema.requests import ChatAsk, Message
from semascope.serve.schema.responses import PictureRecord
from semascope.serve.testing import DrawnExplorer
from semascope.serve.tour.files import heat, write
from semascope.serve.tour.player import TourEvent, TourPlayer


@pytest.mark.parametrize("name", [one.name for one in tours()])
def test_each_tour_plays_to_its_end(drawn: DrawnExplorer, name: str, tmp_path: Path) -> None:
    found, lines = drawn.guides.tour(name), []
    TourPlayer(drawn, lines.append).play(found)
    expected = sum(isinstance(step, Expect) for step in tour(name).steps)
    done = [line for line in lines if line.kind == "expect"]
    failed = [line for line in lines if line.text.startswith("This step could not")]
    assert not failed and len(done) == expected
    kinds = {line.kind for line in lines}
    assert {"ask", "answer"} <= kinds and kinds & {"change", "note"}
    file = write(tmp_path / name, found, lines, drawn.media)
    assert found.title in file.read_text("utf-8")
    told = json.loads((file.parent / "tour.json").read_text("utf-8"))
    assert len(told["lines"]) == len(lines)
    for image in (line for line in lines if line.picture):
        assert list(file.parent.glob("*.png")), image.text


def test_what_was_measured_is_what_is_told(drawn: DrawnExplorer) -> None:
    """A change that was made, and one that was not, answer the same question otherwise."""
    lines: list[TourEvent] = []
    steps = [
        {"do": "ask", "text": "What?", "picture": None, "prefill": "", "tokens": 20, "note": ""},
        {"do": "expect", "question": "Changed?", "measure": "changed", "text": ""},
        {"do": "strengthen", "words": "red circle", "k": 1, "strength": 4.0, "text": ""},
        {"do": "expect", "question": "Changed?", "measure": "changed", "text": ""},
        {"do": "expect", "question": "Far?", "measure": "kl", "text": ""},
        {"do": "undo", "text": ""},
        {"do": "expect", "question": "Changed?", "measure": "changed", "text": ""},
    ]  # fmt: skip
    plain = drawn.guides.tour("bridge")
    TourPlayer(drawn, lines.append).play(plain.model_copy(update={"steps": steps}))
    figures = [line.figures for line in lines if line.kind == "expect"]
    assert [f["changed"] for f in figures if "changed" in f] == [False, True, False]
    far = next(f for f in figures if "kl" in f)
    assert far["kl"] > far["control"] > 0


def test_the_concept_nearest_to_the_words_is_switched_off(drawn: DrawnExplorer) -> None:
    """What is taken out is what the last look found, not what a search finds; and once only."""
    looks = {"do": "why", "token": "", "mode": "attribution", "pictured": False, "text": ""}
    asks = {"do": "ask", "text": "What?", "picture": None, "prefill": "", "tokens": 20, "note": ""}
    plain = drawn.guides.tour("bridge")

    def played(*steps: dict[str, object]) -> tuple[list[TourEvent], TourPlayer]:
        lines: list[TourEvent] = []
        player = TourPlayer(drawn, lines.append)
        player.play(plain.model_copy(update={"steps": list(steps)}))
        return lines, player

    _, player = played(asks, looks)
    assert player.talk is not None
    group = player.talk.clusters[1]
    off = {"do": "switch_off", "words": group.label, "text": ""}
    lines, player = played(asks, looks, off, off)
    assert player.talk is not None
    (wish,) = player.talk.wishes
    assert wish.how == "ablate" and [list(f) for f in wish.features] == group.suppress["features"]
    (change,) = [line for line in lines if line.kind == "change"]
    assert change.figures["features"] == len(group.features) and change.figures["cosine"] > 0.5
    assert any("held already" in line.text for line in lines)
    lines, _ = played(asks, off)
    assert "no concepts here" in lines[-1].text


@pytest.mark.parametrize(
    ("at", "where"),
    [
        ("all", Where()),
        ("image", Where(kinds=("image", "tile"))),
        ("user", Where(roles=("user",), kinds=("text",))),
    ],
)
def test_a_change_is_made_at_the_tokens_that_the_step_names(
    drawn: DrawnExplorer, at: str, where: Where
) -> None:
    asks = {"do": "ask", "text": "What?", "picture": None, "prefill": "", "tokens": 20, "note": ""}
    more = {"do": "strengthen", "words": "red circle", "k": 1, "strength": 1.0, "at": at}
    player = TourPlayer(drawn, lambda line: None)
    player.play(drawn.guides.tour("bridge").model_copy(update={"steps": [asks, more]}))
    assert player.talk is not None and [wish.where for wish in player.talk.wishes] == [where]


def test_the_token_asked_about_holds_one_of_the_words(drawn: DrawnExplorer) -> None:
    """And is the answer's first that says something, where none does."""
    asks = {"do": "ask", "text": "What?", "picture": None, "prefill": "", "tokens": 20, "note": ""}

    def looked(token: str) -> int:
        why = {"do": "why", "token": token, "mode": "attribution", "pictured": False, "text": ""}
        player = TourPlayer(drawn, lambda line: None)
        player.play(drawn.guides.tour("bridge").model_copy(update={"steps": [asks, why]}))
        assert player.talk is not None
        return player.talk.looked

    words = drawn_words(drawn)
    last = max(n for n, word in enumerate(words) if word.strip().isalpha())
    once = next(n for n, word in enumerate(words) if words[last].strip() in word)
    assert looked(f"xylophone {words[last].strip().upper()}") == once > 0
    assert looked("xylophone") == looked("") == first_telling(words)


def drawn_words(drawn: DrawnExplorer) -> list[str]:
    told = []
    ask = ChatAsk(messages=[Message(role="user", text="What?")], max_new_tokens=20)
    drawn.ask(ask, lambda event: bool(told.append(event)))
    return [event.text for event in told if isinstance(event, Token)]


def test_a_step_that_fails_is_told_and_the_tour_goes_on(
    drawn: DrawnExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ServeError("The model is away.")

    monkeypatch.setattr(drawn, "steer", refuse)
    lines: list[TourEvent] = []
    TourPlayer(drawn, lines.append).play(drawn.guides.tour("bridge"))
    away = next(n for n, line in enumerate(lines) if "The model is away" in line.text)
    assert any(line.kind == "expect" for line in lines[away:])


def test_a_tour_holds_no_result() -> None:
    with pytest.raises(ValidationError):
        Tour.model_validate(
            {"name": "x", "title": "", "about": "",
             "steps": [{"do": "say"}, {"do": "expect", "question": "?", "measure": "kl",
                                       "answer": "0.5"}]}
        )  # fmt: skip
    with pytest.raises(NotThere, match="bridge"):
        tour("nowhere")


def test_heat_lies_on_its_own_cells() -> None:
    record = PictureRecord(
        media="0" * 16, width=4, height=4, rects=[(0, 0, 2, 2), (2, 2, 4, 4)], values=[1.0, 3.0]
    )
    canvas = heat(record, (8, 8))
    assert canvas[:4, :4].min() == canvas[:4, :4].max() == 1.0
    assert canvas[4:, 4:].min() == 3.0 and np.count_nonzero(canvas) == 32
