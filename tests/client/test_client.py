"""The typed client: one method a route, nothing more and nothing less than /openapi.json says."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from semascope.causal.steering.interventions import Intervention
from semascope.client import ROUTES, Answer, Client, over_http
from semascope.errors import NotThere, ServeError
from semascope.serve.app import make_app
from semascope.serve.routes.sessions import SessionBody
from semascope.serve.schema.answers import Answered, Compared
from semascope.serve.schema.explanations import Clustered, EffectRecord
from semascope.serve.schema.requests import (
    ChatAsk,
    ListAsk,
    ListQuery,
    Message,
    NoteAsk,
    SteerAsk,
    TryAsk,
    WhyAsk,
)
from semascope.serve.testing import DrawnExplorer

TALK = (Message(role="user", text="What is there?"),)
FEATURE = "resid_post.12/drawn/0"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("drawn")
    with TestClient(make_app(DrawnExplorer(folder), static=folder / "none")) as client:
        yield client


@pytest.fixture(scope="module")
def monitor(served: TestClient) -> Client:
    def send(method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        got = served.request(method, path, content=body, headers=dict(headers))
        return Answer(got.status_code, iter([got.content]))

    return Client(transport=send)


def name_of(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rsplit("/", 1)[-1].removesuffix("-Input")


def test_every_route_has_its_method_and_no_more(served: TestClient) -> None:
    paths = served.get("/openapi.json").json()["paths"]
    there = {(m, p) for p, methods in paths.items() for m in methods if not p.startswith("/v1")}
    assert there == {(route.method, route.path) for route in ROUTES.values()}
    for name in ROUTES:
        assert inspect.isfunction(getattr(Client, name)) and getattr(Client, name).__doc__


@pytest.mark.parametrize("name", ROUTES)
def test_records_are_those_of_the_schema(served: TestClient, name: str) -> None:
    route = ROUTES[name]
    told = served.get("/openapi.json").json()["paths"][route.path][route.method]
    answer = next(
        told["responses"][code] for code in ("200", "201", "204") if code in told["responses"]
    )
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    item = schema.get("items", {}) if route.many else schema
    assert name_of(item) == (route.gives.__name__ if route.gives else "")
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    if route.method == "get":
        asked = {p["name"] for p in told.get("parameters", ()) if p["in"] == "query"}
        if route.sends is not None:
            assert asked == set(route.sends.model_fields)
    else:
        assert name_of(body.get("schema", {})) == (route.sends.__name__ if route.sends else "")
    given = set(inspect.signature(getattr(Client, name)).parameters) - {"self"}
    assert given or not (route.sends or "{" in route.path)


def test_looking(monitor: Client) -> None:
    assert monitor.info().name == "drawn-subject"
    rows = monitor.features(ListQuery(alive=True, limit=3)).rows
    assert len(rows) == 3 and all(row.alive for row in rows)
    assert monitor.feature(rows[0].id).feature.id == rows[0].id
    split = monitor.splitting(rows[0].id, threshold=0.4)
    assert (split.feature, split.threshold, split.widths) == (rows[0].id, 0.4, [])
    assert monitor.search("red circle").rows[0].label == "red circle"
    assert monitor.concept("red circle", k=2).suppress
    assert monitor.map().count == 192
    near = monitor.near("red circle", ["red circle", "a long day in the office"])
    assert near.cosines[0] == pytest.approx(1) and near.near > near.cosines[1]
    assert len(monitor.tours()) == 6 and monitor.tour("nine").steps
    assert monitor.register().concepts


def test_asking_and_steering(monitor: Client) -> None:
    (answer,) = [e for e in monitor.chat(ChatAsk(messages=TALK)) if isinstance(e, Answered)]
    assert "What is there?" in answer.text
    told = list(monitor.why(WhyAsk(messages=TALK, clusters=True, effects=3)))
    assert [type(e) for e in told if isinstance(e, Clustered | EffectRecord)] == [
        Clustered, EffectRecord, EffectRecord, EffectRecord,
    ]  # fmt: skip
    wish = Intervention(features=(("resid_post.12/drawn", 1),))
    steered = list(monitor.steer(SteerAsk(messages=TALK, interventions=[wish])))
    assert [e.side for e in steered if isinstance(e, Compared)] == ["after", "control"]


def test_pictures_travel_as_bytes(monitor: Client, tmp_path: Path) -> None:
    digest = monitor.feature(FEATURE).top[0].pictures[0].media
    data = monitor.media(digest)
    assert data.startswith(b"\x89PNG") and monitor.upload(data).width == 128


def test_keeping(monitor: Client) -> None:
    note = monitor.add_note(NoteAsk(feature=FEATURE, text="warm", author="Ana"))
    assert note in monitor.notes(FEATURE)
    monitor.remove_note(note.id)
    assert note not in monitor.notes(FEATURE)
    monitor.save_list("warm ones", ListAsk(features=[FEATURE]))
    assert [row.id for row in monitor.listed("warm ones").rows] == [FEATURE]
    line = monitor.add_session(SessionBody(title="t", body={"messages": []}))
    assert line in monitor.sessions() and monitor.session(line.id).own
    monitor.remove_session(line.id)


def test_errors_come_back_as_what_they_are(monitor: Client) -> None:
    with pytest.raises(NotThere, match="No feature"):
        monitor.feature("resid_post.12/drawn/99999")
    with pytest.raises(NotThere, match="no feature"):
        list(monitor.try_feature(TryAsk(feature="no/such/1", text="x")))
    with pytest.raises(ServeError, match="no address"):
        over_http("localhost")
    with pytest.raises(ServeError, match="semascope serve"):
        Client("http://127.0.0.1:9").info()


def test_kinds_of_a_later_server_are_passed_over() -> None:
    lines = [b'data: {"kind": "hol', b'ogram"}\n\ndata: {"kind": "finished"}\n', b"\n"]
    monitor = Client(transport=lambda *_: Answer(200, iter(lines)))
    assert [e.kind for e in monitor.chat(ChatAsk(messages=TALK))] == ["finished"]
