"""Numbers that make no sense are refused at every flag of every verb and every field of a route."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from semascope.cli import main
from semascope.cli.verbs import ENTRIES
from semascope.client.monitor import ROUTES
from semascope.serve.openai.request import ChatRequest, TextRequest

NONSENSE = (float("nan"), float("inf"), float("-inf"), 1e30, -1e30)
"""None of these is a number that any flag or field takes."""
VALID_MINUS_ONE = {
    "ExplainOptions.ask", "Explain.ask", "Steer.positions", "Steer.strength", "Steer.doses",
    "Find.doses", "Study.strength", "EvaluateSteering.doses", "Search.min_score",
    "ListQuery.min_score", "WhyAsk.similarity", "VersusAsk.similarity", "MeasureAsk.strength",
    "Where.positions", "Region.left", "Region.top", "Region.right", "Region.bottom",
    "Intervention.strength", "Intervention.features", "ChatRequest.seed", "TextRequest.seed",
}  # fmt: skip
"""Documented: all features, the last token, against a direction, below chance; of an intervention,
negative features are refused by a sentence of its own."""


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from models_in(part)


def kinds_in(annotation: Any) -> set[type]:
    """Kinds of numbers that an annotation speaks of."""
    if annotation in (int, float):
        return {annotation}
    return set().union(*map(kinds_in, typing.get_args(annotation)), set())


def numeric(roots: list[type[BaseModel]]) -> dict[str, tuple[type[BaseModel], str]]:
    """Every numeric field of the models and of those within them, by Model.field."""
    found: dict[str, tuple[type[BaseModel], str]] = {}
    left, seen = list(roots), set()
    while left:
        model = left.pop()
        if model in seen:
            continue
        seen.add(model)
        for name, field in model.model_fields.items():
            left += models_in(field.annotation)
            if kinds_in(field.annotation):
                found[f"{model.__name__}.{name}"] = (model, name)
    return found


def verbs() -> list[type[BaseModel]]:
    out = []
    for entry in ENTRIES:
        module, _, name = entry.path.partition(":")
        out.append(getattr(importlib.import_module(f"semascope.cli.commands.{module}"), name))
    return out


def routes() -> list[type[BaseModel]]:
    sent = [route.sends for route in ROUTES.values() if route.sends is not None]
    return [*sent, ChatRequest, TextRequest]


FIELDS = numeric([*verbs(), *routes()])


def takes(model: type[BaseModel], name: str, value: Any) -> bool:
    """Whether a field takes a value, alone or as the one item of a tuple or list."""
    field = model.model_fields[name]
    kind: Any = (
        typing.Annotated[(field.annotation, *field.metadata)]
        if field.metadata
        else (field.annotation)
    )
    adapter = TypeAdapter(kind, config=None if _is_model(kind) else _config(model))
    for given in (value, [value], [("site/name", value)]):
        try:
            adapter.validate_python(given)
        except ValidationError:
            continue
        return True
    return False


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _config(model: type[BaseModel]) -> Any:
    return {"allow_inf_nan": model.model_config.get("allow_inf_nan", True)}


@pytest.mark.parametrize("place", sorted(FIELDS))
def test_a_number_that_makes_no_sense_is_refused(place: str) -> None:
    """NaN, infinity and 1e30 ran for a while, and ended in a traceback or in a wrong figure."""
    model, name = FIELDS[place]
    assert [value for value in NONSENSE if takes(model, name, value)] == []
    assert not takes(model, name, 10**40)
    if place not in VALID_MINUS_ONE:
        assert not takes(model, name, -1)


def test_exceptions_are_fields() -> None:
    """An exception for a field that is no more would hide the next one of its name."""
    known = {place.partition(".")[2] for place in FIELDS}
    assert {place.partition(".")[2] for place in VALID_MINUS_ONE} <= known


@pytest.mark.parametrize(
    "words",
    ["score --seed -1", "search x --limit 0", "find x --doses nan", "serve --port 99999",
     "steer x --temperature inf", "train --k 0", "gather --outlier nan", "rate --tasks -3",
     "evaluate dictionary --samples 0", "import x --width -1"],
)  # fmt: skip
def test_a_flag_is_refused_in_a_sentence(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At the command line: exit code 2, the flag's name, no traceback, and nothing begun."""
    assert main([*words.split(), "-w", "/nonexistent/x"]) == 2
    told = capsys.readouterr()
    flag = words.split()[-2].removeprefix("--")
    assert flag in told.err + told.out and "Traceback" not in told.err + told.out
