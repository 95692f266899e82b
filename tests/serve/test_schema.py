"""The schema that the page's types are made of: a record that it lacks has no type on the page."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import pytest

from semascope.serve.schema.events import Event
from semascope.serve.schema.openapi import schema

WEB = Path(__file__).parents[2] / "web"


@pytest.fixture(scope="module")
def records() -> dict[str, Any]:
    """All of them, by name."""
    return dict(schema()["components"]["schemas"])


def test_every_event_is_in_the_schema_with_its_kind(records: dict[str, Any]) -> None:
    """OpenAPI has no streams: without this the page's events would be written by hand."""
    for event in typing.get_args(Event):
        found = records[event.__name__]
        assert found["properties"]["kind"]["const"] == event.model_fields["kind"].default
        assert set(found["properties"]) == set(event.model_fields)


def test_what_the_server_sends_is_never_optional_and_what_it_takes_may_be(
    records: dict[str, Any],
) -> None:
    """A field with a default is sent all the same: the page need not ask whether it is."""
    for name in ("ScoreRecord", "FeaturePage", "SubjectInfo", "Compared", "VersusSide"):
        assert set(records[name]["required"]) == set(records[name]["properties"]), name
    assert records["ChatAsk"]["required"] == ["messages"]


@pytest.mark.skipif(not WEB.is_dir(), reason="the page's sources are not here")
def test_no_record_is_written_down_twice(records: dict[str, Any]) -> None:
    """A type of the page that repeats fields of a record drifts from it."""
    types = (WEB / "src" / "lib" / "types.ts").read_text()
    named = set(re.findall(r'Records\["(\w+)"\]', types))
    assert named <= set(records)
    written = re.findall(r"^export interface (\w+)", types, re.MULTILINE)
    assert written == ["TourStep"], "take it from schema.d.ts"


@pytest.mark.skipif(not WEB.is_dir(), reason="the page's sources are not here")
def test_no_line_of_the_page_is_over_120_characters() -> None:
    """A longer one is not read."""
    found = [
        f"{path.relative_to(WEB)}:{number}"
        for ending in ("ts", "svelte", "css")
        for path in sorted((WEB / "src").rglob(f"*.{ending}"))
        if path.name != "schema.d.ts"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 120
    ]
    assert not found
