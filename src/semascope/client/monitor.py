"""``Client``: one method per route, typed by the server's own records.

``ROUTES`` gives each method's route and records; a test compares it with ``/openapi.json``, so that
neither side can change alone. Streams are iterators of events; closing one early cancels the work.
An error answer is raised as the exception that the server had.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import quote, urlencode

from pydantic import BaseModel, Field, TypeAdapter

import semascope.errors as errors
from semascope.client.transport import Answer, Transport, over_http
from semascope.errors import SemascopeError, ServeError
from semascope.serve.explorer.splitting import SplittingRecord
from semascope.serve.routes.sessions import SessionBody, SessionLine, SessionRecord
from semascope.serve.schema import events
from semascope.serve.schema import requests as ask
from semascope.serve.schema import responses as seen
from semascope.serve.schema.notebook import AgreementRecord, ListRecord, RatingReveal, RatingTask
from semascope.serve.schema.questions import BY_BODY, QUESTIONS
from semascope.serve.schema.register import RegisterRecord
from semascope.serve.schema.tours import NearRecord, TourLine, TourRecord

Model = TypeVar("Model", bound=BaseModel)
Body = TypeVar("Body", bound=ask.RequestBody)
_EVENT: TypeAdapter[events.Event] = TypeAdapter(
    Annotated[events.Event, Field(discriminator="kind")]
)
_KINDS = {kind.model_fields["kind"].default for kind in get_args(events.Event)}


@dataclass(frozen=True, slots=True)
class Route:
    """The route of one method."""

    method: Literal["get", "post", "put", "delete"]
    path: str
    sends: type[BaseModel] | None = None
    """Body of the request, or its query where the method is get."""
    gives: type[BaseModel] | None = None
    """None for a stream, for bytes and for an empty answer."""
    many: bool = False
    """Whether the answer is a list of ``gives``."""


ROUTES: dict[str, Route] = {
    **{q.name: Route("post", q.path, q.body) for q in QUESTIONS},
    "info": Route("get", "/api/info", None, seen.SubjectInfo),
    "features": Route("get", "/api/features", ask.ListQuery, seen.FeatureList),
    "search": Route("get", "/api/search", ask.SearchQuery, seen.FeatureList),
    "concept": Route("get", "/api/concept", ask.ConceptQuery, seen.ConceptRecord),
    "near": Route("post", "/api/near", ask.NearAsk, NearRecord),
    "map": Route("get", "/api/map", None, seen.MapRecord),
    "feature": Route("get", "/api/features/{feature_id}", None, seen.FeaturePage),
    "splitting": Route("get", "/api/splitting/{feature_id}", ask.SplittingQuery, SplittingRecord),
    "media": Route("get", "/media/{digest}"),
    "upload": Route("post", "/api/pictures", None, seen.Upload),
    "register": Route("get", "/api/register", None, RegisterRecord),
    "tours": Route("get", "/api/tours", None, TourLine, many=True),
    "tour": Route("get", "/api/tours/{name}", None, TourRecord),
    "notes": Route("get", "/api/notes", None, seen.NoteRecord, many=True),
    "add_note": Route("post", "/api/notes", ask.NoteAsk, seen.NoteRecord),
    "remove_note": Route("delete", "/api/notes/{note}"),
    "lists": Route("get", "/api/lists", None, ListRecord, many=True),
    "listed": Route("get", "/api/lists/{name}", None, seen.FeatureList),
    "save_list": Route("put", "/api/lists/{name}", ask.ListAsk, ListRecord),
    "remove_list": Route("delete", "/api/lists/{name}"),
    "next_rating": Route("get", "/api/rating", None, RatingTask),
    "rate": Route("post", "/api/rating", ask.RateAsk, RatingReveal),
    "agreement": Route("get", "/api/rating/agreement", None, AgreementRecord),
    "sessions": Route("get", "/api/sessions", None, SessionLine, many=True),
    "session": Route("get", "/api/sessions/{session}", None, SessionRecord),
    "add_session": Route("post", "/api/sessions", SessionBody, SessionLine),
    "save_session": Route("put", "/api/sessions/{session}", SessionBody, SessionLine),
    "remove_session": Route("delete", "/api/sessions/{session}"),
}


def _streams(body: type[Body]) -> Callable[[Client, Body], Iterator[events.Event]]:
    """The client's method that asks a question of ``QUESTIONS`` and gives its events."""
    row = BY_BODY[body]

    def method(self: Client, question: Body) -> Iterator[events.Event]:
        return self.stream(row.name, question)

    method.__name__, method.__doc__ = row.name, row.about
    return method


class Client:
    """A semascope server as a Python object.

    Args:
        address: ``http://host:port``.
        token: the token of ``semascope serve --token``, if it has one.
        transport: sends requests; by default over HTTP to ``address``.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        token: str = "",
        transport: Transport | None = None,
    ) -> None:
        self._send = transport or over_http(address)
        self._headers = {"accept": "application/json, text/event-stream"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        # Identifies this client in the queue and as the owner of its conversations.
        self._headers["cookie"] = f"semascope_client={secrets.token_hex(16)}"

    # -- looking ---------------------------------------------------------------------------

    def info(self) -> seen.SubjectInfo:
        """The model, its dictionaries, and what can be done with them."""
        return self._one("info", seen.SubjectInfo)

    def features(self, query: ask.ListQuery | None = None) -> seen.FeatureList:
        """One window of the sorted, filtered list."""
        return self._one("features", seen.FeatureList, query=query)

    def search(self, q: str, limit: int = 40, dictionary: str = "") -> seen.FeatureList:
        """Features by meaning, nearest first."""
        query = ask.SearchQuery(q=q, limit=limit, dictionary=dictionary)
        return self._one("search", seen.FeatureList, query=query)

    def concept(self, q: str, k: int = 50, dictionary: str = "") -> seen.ConceptRecord:
        """The k features nearest in meaning, with interventions on them."""
        query = ask.ConceptQuery(q=q, k=k, dictionary=dictionary)
        return self._one("concept", seen.ConceptRecord, query=query)

    def near(self, text: str, others: Sequence[str]) -> NearRecord:
        """How near texts are to another in meaning."""
        return self._one("near", NearRecord, body=ask.NearAsk(text=text, others=list(others)))

    def map(self, dictionary: str = "") -> seen.MapRecord:
        """Every feature as a point."""
        return self._one("map", seen.MapRecord, query={"dictionary": dictionary})

    def feature(self, feature: str) -> seen.FeaturePage:
        """All about ``site/dictionary/index``."""
        return self._one("feature", seen.FeaturePage, feature_id=feature)

    def splitting(self, feature: str, threshold: float = 0.6, children: int = 6) -> SplittingRecord:
        """A feature's parents and children, where its site has several widths."""
        query = ask.SplittingQuery(threshold=threshold, children=children)
        return self._one("splitting", SplittingRecord, query=query, feature_id=feature)

    def media(self, digest: str) -> bytes:
        """The bytes of a picture."""
        return self._bytes("media", digest=digest)

    def upload(self, picture: bytes | Path) -> seen.Upload:
        """Upload a picture to ask about."""
        data = picture.read_bytes() if isinstance(picture, Path) else picture
        edge = secrets.token_hex(16)
        head = (
            f'--{edge}\r\ncontent-disposition: form-data; name="file"; filename="picture"\r\n\r\n'
        )
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        kind = f"multipart/form-data; boundary={edge}"
        return seen.Upload.model_validate_json(self._bytes("upload", body=body, kind=kind))

    def register(self) -> RegisterRecord:
        """Safety-relevant features, found by search."""
        return self._one("register", RegisterRecord)

    def tours(self) -> list[TourLine]:
        """The guided tours."""
        return self._many("tours", TourLine)

    def tour(self, name: str) -> TourRecord:
        """One tour."""
        return self._one("tour", TourRecord, name=name)

    # -- asking: one method for each row of QUESTIONS -----------------------------------------

    chat = _streams(ask.ChatAsk)
    compare = _streams(ask.CompareAsk)
    read = _streams(ask.ReadAsk)
    why = _streams(ask.WhyAsk)
    steer = _streams(ask.SteerAsk)
    try_feature = _streams(ask.TryAsk)
    examples = _streams(ask.ExamplesAsk)
    versus = _streams(ask.VersusAsk)
    measure = _streams(ask.MeasureAsk)
    play_tour = _streams(ask.TourAsk)

    # -- keeping ---------------------------------------------------------------------------

    def notes(self, feature: str = "") -> list[seen.NoteRecord]:
        """Notes on a feature, or on all, including features that are gone."""
        query = {"feature": feature} if feature else {}
        return self._many("notes", seen.NoteRecord, query=query)

    def add_note(self, note: ask.NoteAsk) -> seen.NoteRecord:
        """Add a note."""
        return self._one("add_note", seen.NoteRecord, body=note)

    def remove_note(self, note: int) -> None:
        """Delete a note."""
        self._bytes("remove_note", note=str(note))

    def lists(self) -> list[ListRecord]:
        """Named lists."""
        return self._many("lists", ListRecord)

    def listed(self, name: str) -> seen.FeatureList:
        """The features of a list."""
        return self._one("listed", seen.FeatureList, name=name)

    def save_list(self, name: str, features: ask.ListAsk) -> ListRecord:
        """Make a list, or replace it."""
        return self._one("save_list", ListRecord, body=features, name=name)

    def remove_list(self, name: str) -> None:
        """Delete a list."""
        self._bytes("remove_list", name=name)

    def next_rating(self, rater: str) -> RatingTask:
        """The next explanation to grade, blind."""
        return self._one("next_rating", RatingTask, query={"rater": rater})

    def rate(self, grade: ask.RateAsk) -> RatingReveal:
        """Keep a grade and learn whose explanation it was."""
        return self._one("rate", RatingReveal, body=grade)

    def agreement(self) -> AgreementRecord:
        """How far raters agree."""
        return self._one("agreement", AgreementRecord)

    def sessions(self) -> list[SessionLine]:
        """This client's conversations."""
        return self._many("sessions", SessionLine)

    def session(self, session: str) -> SessionRecord:
        """One conversation, by its id."""
        return self._one("session", SessionRecord, session=session)

    def add_session(self, body: SessionBody) -> SessionLine:
        """Store a new conversation."""
        return self._one("add_session", SessionLine, body=body)

    def save_session(self, session: str, body: SessionBody) -> SessionLine:
        """Change a conversation of this client."""
        return self._one("save_session", SessionLine, body=body, session=session)

    def remove_session(self, session: str) -> None:
        """Delete a conversation of this client."""
        self._bytes("remove_session", session=session)

    # -- requests ------------------------------------------------------------------------

    def _one(self, route: str, gives: type[Model], /, **more: Any) -> Model:
        return gives.model_validate_json(self._bytes(route, **more))

    def _many(self, route: str, gives: type[Model], /, **more: Any) -> list[Model]:
        return [gives.model_validate(one) for one in json.loads(self._bytes(route, **more))]

    def stream(self, name: str, body: BaseModel) -> Iterator[events.Event]:
        """Post a request to the route ``name`` of ``ROUTES`` and give its events."""
        answer = self._ask(name, body=body)
        rest = b""
        for piece in answer.pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if not line.startswith(b"data: "):
                    continue
                record = json.loads(line[6:])
                if record.get("kind") not in _KINDS:
                    continue  # an event of a later server
                event = _EVENT.validate_python(record)
                if isinstance(event, events.Failed):
                    raise _error(event.type, event.message)
                yield event

    def _bytes(self, route: str, /, **more: Any) -> bytes:
        return self._ask(route, **more).read()

    def _ask(
        self,
        called: str,
        /,
        *,
        query: BaseModel | dict[str, str] | None = None,
        body: BaseModel | bytes | None = None,
        kind: str = "application/json",
        **parts: str,
    ) -> Answer:
        route = ROUTES[called]
        slashes = "/" if called in ("feature", "splitting") else ""
        path = route.path.format(**{k: quote(v, safe=slashes) for k, v in parts.items()})
        given = query.model_dump(mode="json", exclude_unset=True) if isinstance(
            query, BaseModel
        ) else query or {}  # fmt: skip
        if given:
            path += "?" + urlencode({k: _plain(v) for k, v in given.items() if v is not None})
        sent = body.model_dump_json().encode() if isinstance(body, BaseModel) else body
        headers = {**self._headers, "content-type": kind} if sent is not None else self._headers
        answer = self._send(route.method.upper(), path, sent, headers)
        if answer.status >= 400:
            raise _refusal(answer.status, answer.read())
        return answer


for _question in QUESTIONS:  # a question without a line of its own above is asked all the same
    if not hasattr(Client, _question.name):
        setattr(Client, _question.name, _streams(_question.body))


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(status: int, body: bytes) -> SemascopeError:
    """The exception of an error answer."""
    try:
        error = json.loads(body)["error"]
        return _error(str(error["type"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return ServeError(f"The server answered with status {status} and no message.")


def _error(kind: str, message: str) -> SemascopeError:
    """An exception by its name in ``semascope.errors``; ServeError for any other name."""
    exception = getattr(errors, kind, None)
    if isinstance(exception, type) and issubclass(exception, SemascopeError):
        return exception(message)
    return ServeError(message)
