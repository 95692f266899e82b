"""Guided tours, headless: their mechanics, over drawn data; every figure in them is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from semascope.causal.attribution.metrics import first_telling
from semascope.causal.steering.interventions import Where
from semascope.errors import NotThere, ServeError
from semascope.monitor.tours import Expect, Tour, tour, tours
from semascope.serve.schema.answers import Token
from semascope.serve.schema.events import Emit, Event
from semascope.serve.schema.requests import ChatAsk, Message
from semascope.serve.schema.responses import PictureRecord
from semascope.serve.schema.tours import TourEvent
from semascope.serve.testing import DrawnExplorer
from semascope.serve.tour.files import heat, write
from semascope.serve.tour.player import TourPlayer


def keep(lines: list[TourEvent]) -> Emit:
    """A listener that keeps a tour's lines."""

    def hear(event: Event) -> bool:
        if isinstance(event, TourEvent):
            lines.append(event)
        return False

    return hear


@pytest.mark.parametrize("name", [one.name for one in tours()])
def test_each_tour_plays_to_its_end(drawn: DrawnExplorer, name: str, tmp_path: Path) -> None:
    found, lines = drawn.guides.tour(name), []
    TourPlayer(drawn, keep(lines)).play(found)
    expected = sum(isinstance(step, Expect) for step in tour(name).steps)
    done = [line for line in lines if line.line == "expect"]
    failed = [line for line in lines if line.text.startswith("This step could not")]
    assert not failed and len(done) == expected
    kinds = {line.line for line in lines}
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
    TourPlayer(drawn, keep(lines)).play(plain.model_copy(update={"steps": steps}))
    figures = [line.figures for line in lines if line.line == "expect"]
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
        player = TourPlayer(drawn, keep(lines))
        player.play(plain.model_copy(update={"steps": list(steps)}))
        return lines, player

    _, player = played(asks, looks)
    assert player.state is not None
    group = player.state.clusters[1]
    off = {"do": "switch_off", "words": group.label, "text": ""}
    lines, player = played(asks, looks, off, off)
    assert player.state is not None
    (wish,) = player.state.interventions
    assert wish.how == "ablate" and [list(f) for f in wish.features] == group.suppress["features"]
    (change,) = [line for line in lines if line.line == "change"]
    assert change.figures["features"] == len(group.features) and change.figures["cosine"] > 0.5
    assert any("under an intervention already" in line.text for line in lines)
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
    player = TourPlayer(drawn, lambda event: False)
    player.play(drawn.guides.tour("bridge").model_copy(update={"steps": [asks, more]}))
    assert player.state is not None and [wish.where for wish in player.state.interventions] == [
        where
    ]


def test_the_token_asked_about_holds_one_of_the_words(drawn: DrawnExplorer) -> None:
    """And is the answer's first that says something, where none does."""
    asks = {"do": "ask", "text": "What?", "picture": None, "prefill": "", "tokens": 20, "note": ""}

    def looked(token: str) -> int:
        why = {"do": "why", "token": token, "mode": "attribution", "pictured": False, "text": ""}
        player = TourPlayer(drawn, lambda event: False)
        player.play(drawn.guides.tour("bridge").model_copy(update={"steps": [asks, why]}))
        assert player.state is not None
        return player.state.explained

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

    monkeypatch.setattr(drawn.answers, "steer", refuse)
    lines: list[TourEvent] = []
    TourPlayer(drawn, keep(lines)).play(drawn.guides.tour("bridge"))
    away = next(n for n, line in enumerate(lines) if "The model is away" in line.text)
    assert any(line.line == "expect" for line in lines[away:])


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


@pytest.mark.parametrize("name", ["bridge", "nine"])
def test_the_page_gets_the_figures_of_the_command_line(
    drawn: DrawnExplorer, client: TestClient, name: str
) -> None:
    """The page plays a step at a time with the state of the step before: one player for both."""
    whole: list[TourEvent] = []
    tour = drawn.guides.tour(name)
    TourPlayer(drawn, keep(whole)).play(tour)
    state, lines = None, []
    for step in range(len(tour.steps)):
        reply = client.post("/api/tour", json={"name": name, "step": step, "state": state})
        events = [json.loads(x[6:]) for x in reply.text.splitlines() if x.startswith("data: ")]
        assert events[-1]["kind"] == "finished", events[-1]
        lines += [e for e in events if e["kind"] == "tour"]
        state = next((e for e in reversed(events) if e["kind"] == "tour_state"), state)
    measured = [(e["text"], e["figures"]) for e in lines if e["line"] == "expect"]
    assert measured == [(e.text, e.figures) for e in whole if e.line == "expect"]
    asked = {"name": name, "step": 0, "state": {"of": "another version"}}
    assert "begin the tour again" in client.post("/api/tour", json=asked).text
    assert "steps" in client.post("/api/tour", json={"name": name, "step": 99}).text
