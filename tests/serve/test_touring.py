"""Guided tours, headless: their mechanics, over drawn data; every figure in them is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from semascope.errors import NotThere, ServeError
from semascope.monitor.tours import Expect, Tour, tour, tours
from semascope.serve.records import PictureRecord
from semascope.serve.testing import DrawnExplorer
from semascope.serve.touring import Line, Player
from semascope.serve.written import heat, write


@pytest.mark.parametrize("name", [one.name for one in tours()])
def test_each_tour_plays_to_its_end(drawn: DrawnExplorer, name: str, tmp_path: Path) -> None:
    found, lines = drawn.guides.tour(name), []
    Player(drawn, lines.append).play(found)
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
    lines: list[Line] = []
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
    Player(drawn, lines.append).play(plain.model_copy(update={"steps": steps}))
    figures = [line.figures for line in lines if line.kind == "expect"]
    assert [f["changed"] for f in figures if "changed" in f] == [False, True, False]
    far = next(f for f in figures if "kl" in f)
    assert far["kl"] > far["control"] > 0


def test_a_step_that_fails_is_told_and_the_tour_goes_on(
    drawn: DrawnExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ServeError("The model is away.")

    monkeypatch.setattr(drawn, "steer", refuse)
    lines: list[Line] = []
    Player(drawn, lines.append).play(drawn.guides.tour("bridge"))
    assert any("The model is away" in line.text for line in lines)
    assert lines[-1].kind == "expect"


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
