"""The recorded answers have the names that the server's answers have today.

The page's own tests read the recording, and the made-up features of ``serve.testing`` are held to
it, so a field, a statistic or a kind of score that is renamed fails here and not on the page.
"""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serve.recording import COMMAND, FOLDER, answers, record, settled, slug

from semascope.monitor.tours import Step
from semascope.serve.app import make_app
from semascope.serve.schema.events import Event
from semascope.serve.schema.openapi import schema
from semascope.serve.schema.questions import QUESTIONS
from semascope.serve.testing import DrawnExplorer

WEB = FOLDER.parents[1]
pytestmark = pytest.mark.skipif(not WEB.is_dir(), reason="the page's sources are not here")
SILENT = {"delete-notes-note", "delete-lists-name", "delete-sessions-session", "-media-digest"}
"""Routes that answer with nothing or with a picture."""
ITEM = re.compile(r"\[\](\([^)]*\))?$")
"""Ends the place of an item of a list, of one sort or of any."""
Shape = dict[str, set[str]]


def shape(value: Any, at: str = "") -> Shape:
    """The types at every place of an answer: ``rows[].scores[](iou).value`` is a ``number``.

    Items of a list are told apart by their ``kind``, ``do`` or ``line``.
    """
    if isinstance(value, dict):
        sort = [str(value[name]) for name in ("kind", "do", "line") if name in value]
        here = f"{at}({' '.join(sort)})" if sort else at
        found: Shape = {here: {"record"}}
        for name, one in value.items():
            _join(found, shape(one, f"{here}.{name}"))
        return found
    if isinstance(value, list):
        found = {at: {"list"}}
        for one in value:
            _join(found, shape(one, f"{at}[]"))
        return found
    name = "number" if type(value) in (int, float) else type(value).__name__
    return {at: {name}}


def _join(known: Shape, other: Shape) -> None:
    for place, types in other.items():
        known.setdefault(place, set()).update(types)


def drift(old: Shape, new: Shape) -> list[str]:
    """Names that only one has, of records that both have, and values of other types.

    A list that is empty, or a value that is null, says nothing of what it may hold.
    """
    out = []
    for place in sorted(old.keys() | new.keys()):
        holder = place.rpartition(".")[0]
        if place not in old or place not in new:
            if not ITEM.search(place) and holder in old and holder in new:
                out.append(f"{'+' if place in new else '-'} {place}")
            continue
        known, today = old[place] - {"NoneType"}, new[place] - {"NoneType"}
        if known and today and known.isdisjoint(today):
            out.append(f"~ {place}: {known} was recorded, {today} is sent")
    return out


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """The recording, by the name of its files."""
    return {file.stem: json.loads(file.read_text("utf-8")) for file in FOLDER.glob("*.json")}


def test_a_renamed_field_and_another_type_are_drift() -> None:
    one = {"rows": [{"kind": "iou", "value": 1.0}], "none": None, "empty": []}
    same = {"rows": [{"kind": "iou", "value": 2}], "none": "words", "empty": [{"a": 1}]}
    assert drift(shape(one), shape(same)) == []
    renamed = {"rows": [{"kind": "iou", "score": "1"}], "none": None, "empty": []}
    assert drift(shape(one), shape(renamed)) == ["+ .rows[](iou).score", "- .rows[](iou).value"]
    typed = {"rows": [{"kind": "iou", "value": "1"}], "none": None, "empty": []}
    assert len(drift(shape(one), shape(typed))) == 1


def test_the_recording_is_what_the_server_answers(
    recorded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A tiny real run, trained, explained, scored and asked anew."""
    today = record(tmp_path_factory.mktemp("recording") / "run")
    found = [f"{name}{place}" for name in today for place in _drift(recorded, today, name)]
    found += [f"- {name}" for name in recorded.keys() - today.keys()]
    assert not found, f"the answers have changed; look, then record them anew: {COMMAND}"


def _drift(old: dict[str, Any], new: dict[str, Any], name: str) -> list[str]:
    if name not in old:
        return [": not recorded"]
    return [f": {line}" for line in drift(shape(old[name]), shape(new[name]))]


def test_every_route_is_recorded(recorded: dict[str, Any]) -> None:
    """A new route is no exception: the recorder asks every question of the table."""
    routes = {
        slug(method.upper(), path)
        for path, methods in schema()["paths"].items()
        for method in methods
        if not path.startswith("/v1/")  # of other programs
    }
    assert routes - SILENT == recorded.keys() - {"try-failed", "why-activation"}


def test_every_event_is_recorded(recorded: dict[str, Any]) -> None:
    """And none of a kind that the schema lacks."""
    known = {event.model_fields["kind"].default for event in typing.get_args(Event)}
    streams = [recorded[slug("POST", q.path)] for q in QUESTIONS if q.name != "play_tour"]
    streams += [recorded["try-failed"], *recorded["tour"]]  # a tour has one stream a step
    assert {event["kind"] for stream in streams for event in stream} == known


def test_made_up_features_have_the_names_of_real_ones(
    recorded: dict[str, Any], tmp_path: Path
) -> None:
    """The browser's tests run over these: statistics, figures and kinds of score included."""
    with TestClient(make_app(DrawnExplorer(tmp_path, namer="drawn-namer"))) as client:
        drawn = settled(dict(answers(client)))
    found = [
        f"{name} {line}"
        for name in drawn
        for line in drift(shape(recorded[name]), shape(drawn[name]))
        if line[0] != "-"  # a real run has more
    ]
    assert not found


def test_the_page_reads_statistics_that_are_there(recorded: dict[str, Any]) -> None:
    """``stats`` is open in the schema, so no type holds the page to its names."""
    page = (WEB / "pages" / "Feature.svelte").read_text("utf-8")
    read = set(re.findall(r'stats\["(\w+)"\]', page))
    assert read and read <= recorded["features-feature_id"]["stats"].keys()


def test_the_page_knows_the_steps_of_tours(recorded: dict[str, Any]) -> None:
    """The one type of the page that is written by hand, for the schema leaves steps open."""
    types = (WEB / "lib" / "types.ts").read_text("utf-8")
    written = types.partition("export interface TourStep {")[2].partition("\n}")[0]
    does = set(re.findall(r'"(\w+)"', written.partition(";")[0]))
    steps = typing.get_args(typing.get_args(Step)[0])
    assert does == {
        do for one in steps for do in typing.get_args(one.model_fields["do"].annotation)
    }
    known = set(re.findall(r"^  (\w+)\??:", written, re.MULTILINE))
    sent = {name for step in recorded["tours-name"]["steps"] for name in step}
    assert known - sent <= {"prefill", "system", "pictured", "mode", "token"} and "text" in known
