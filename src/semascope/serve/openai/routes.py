"""An OpenAI-compatible endpoint: ``/v1/chat/completions``, ``/v1/completions``, ``/v1/models``.

What the ``openai`` package sends is turned into the same question that the page asks, so the
same queue, limits and errors hold. Pictures come as ``data:`` addresses (nothing is fetched
from elsewhere) or as ``media:<hash>``; interventions come in ``extra_body``. Knows no model.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError

from semascope.errors import BadPicture, NotThere
from semascope.serve.explorer.protocol import Explorer
from semascope.serve.openai.answer import (
    CHAT,
    PLAIN,
    Shape,
    _chunks,
    cut,
    first_event,
    settled,
    until,
    whole,
)
from semascope.serve.openai.errors import NO_MODEL, TOO_LONG, Refused
from semascope.serve.openai.request import (
    ChatMessage,
    ChatRequest,
    GenerationRequest,
    Part,
    TextRequest,
)
from semascope.serve.queue.jobs import alone
from semascope.serve.routes.ask import join
from semascope.serve.routes.browse import Data
from semascope.serve.schema.requests import HERE, ChatAsk, Message

__all__ = [
    "ChatMessage",
    "ChatRequest",
    "Part",
    "_chunks",
    "_message",
    "cut",
    "router",
    "settled",
    "until",
]

router = APIRouter(prefix="/v1", tags=["openai"])
MOST_WAITING = 32
"""Requests of one client that may wait: libraries send many at once."""
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@router.get("/models")
def models(data: Data) -> dict[str, Any]:
    """The model that answers; empty where features were only imported."""
    return {"object": "list", "data": [_model(name) for name in _served(data)]}


@router.get("/models/{name:path}")
def model(data: Data, name: str) -> dict[str, Any]:
    """The model by that name."""
    _check_model(name, data)
    return _model(name)


@router.post("/chat/completions", response_model=None)
async def completions(request: Request, data: Data, asked: ChatRequest) -> Response:
    """Answer a conversation, as the ``openai`` package asks for it."""
    ask = await asyncio.to_thread(question, asked, data)
    return await _answered(request, data, asked, ask, CHAT)


@router.post("/completions", response_model=None)
async def continued(request: Request, data: Data, asked: TextRequest) -> Response:
    """Continue a text, without a chat template."""
    ask = await asyncio.to_thread(continuation, asked, data)
    return await _answered(request, data, asked, ask, PLAIN)


@router.api_route("/{rest:path}", methods=_METHODS, include_in_schema=False)
def unknown(request: Request, rest: str) -> None:
    """Refuse every other route of OpenAI's interface."""
    raise Refused(
        f"There is no {request.method} /v1/{rest} here; there are /v1/chat/completions, "
        "/v1/completions and /v1/models.",
        code="unknown_url",
        status=404,
    )


async def _answered(
    request: Request, data: Explorer, asked: GenerationRequest, ask: ChatAsk, shape: Shape
) -> Response:
    """The answer, whole or as a stream; it stops when the client disconnects."""
    heard = lambda emit: alone(data.ask(ask, until(asked.stops, emit)))  # noqa: E731
    ticket = join(request, heard, most=MOST_WAITING)
    about = {"id": f"{shape.prefix}-{uuid.uuid4().hex}", "created": int(time.time()),
             "model": asked.model or data.info().name}  # fmt: skip
    gone = asyncio.create_task(_disconnected(request))
    events = ticket.events()
    work = asyncio.create_task(
        first_event(events) if asked.stream else whole(events, asked, about, shape)
    )
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return Response(status_code=499)  # the client has gone
        answer = work.result()
    finally:
        if not work.done() or not asked.stream or work.exception() is not None:
            ticket.cancel()
            work.cancel()
        gone.cancel()
    if isinstance(answer, dict):
        return JSONResponse(answer)
    lines = _chunks(ticket, asked, about, shape, first=answer, events=events)
    return StreamingResponse(lines, media_type="text/event-stream")


async def _disconnected(request: Request) -> None:
    """Return when the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


# -- OpenAI's requests as questions of QUESTIONS -----------------------------------------------


def question(asked: ChatRequest, data: Explorer) -> ChatAsk:
    """A conversation. Raises Refused where it is invalid or asks for something unsupported."""
    asked.check()
    _check_model(asked.model, data)
    messages = [_message(message, data, place) for place, message in enumerate(asked.messages)]
    top = asked.top_logprobs or 0
    return _ask(asked, asked.limit, messages, prefill=asked.prefill or "",
                top=top if asked.logprobs else 0)  # fmt: skip


def continuation(asked: TextRequest, data: Explorer) -> ChatAsk:
    """A text to be continued. Raises Refused as ``question`` does."""
    asked.check()
    _check_model(asked.model, data)
    message = {"role": "user", "text": asked.text.replace(HERE, "\ufffd")}
    return _ask(asked, asked.limit, [message], plain=True, top=0)


def _ask(asked: GenerationRequest, limit: int, messages: list[Any], **more: Any) -> ChatAsk:
    seed = abs(asked.seed) % 2**31 if asked.seed is not None else uuid.uuid4().int % 2**31
    try:
        return ChatAsk(
            messages=messages,
            interventions=asked.interventions or [],
            max_new_tokens=limit,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=seed,
            **more,
        )
    except ValidationError as error:
        raise _invalid(error, "messages") from error


def _invalid(error: ValidationError, param: str) -> Refused:
    first = error.errors()[0]
    long = first["type"] == "string_too_long" or "60,000" in first["msg"]
    return Refused(f"{param}: {first['msg']}.", param, TOO_LONG if long else "")


def _served(data: Explorer) -> list[str]:
    info = data.info()
    return [info.name] if info.can_generate else []


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "semascope"}


def _check_model(name: str | None, data: Explorer) -> None:
    served = _served(data)
    if not served:
        raise Refused(data.info().why_not, "model", NO_MODEL, status=404)
    if name and name not in served:
        raise Refused(
            f"The model {name[:200]!r} is not served here; {served[0]!r} is.",
            "model", NO_MODEL, status=404,
        )  # fmt: skip


def _message(message: ChatMessage, data: Explorer, place: int = 0) -> Message:
    """A message with its pictures, in the order of its parts.

    Pictures that come before all text are only listed; U+FFFC marks the place of the others.
    """
    role = "system" if message.role == "developer" else message.role
    parts = message.content
    if parts is None or isinstance(parts, str):
        parts = [Part(type="text", text=parts or "")]
    text, pictures, before = "", [], ""
    for number, part in enumerate(parts):
        if part.type == "text":
            text += ("\n" if before == "text" else "") + part.text.replace(HERE, "\ufffd")
        else:
            param = f"messages[{place}].content[{number}].image_url"
            pictures.append(_picture(part, data, param))
            text += HERE
        before = part.type
    if text.startswith(HERE * len(pictures)):
        text = text[len(pictures) :]
    try:
        return Message(role=role, text=text, pictures=pictures)
    except ValidationError as error:
        raise _invalid(error, f"messages[{place}].content") from error


def _picture(part: Part, data: Explorer, param: str) -> str:
    """A picture's hash from a data address or from ``media:<hash>``."""
    given = part.image_url
    detail = given.get("detail") if isinstance(given, dict) else None
    if detail not in (None, "auto", "low", "high"):
        raise Refused("detail is one of auto, low, high.", param)
    address = (given.get("url") if isinstance(given, dict) else given) or ""
    if not isinstance(address, str) or not address:
        raise Refused("An image_url needs a url.", param)
    try:
        return _stored(address, data)
    except (BadPicture, NotThere) as error:
        raise Refused(str(error), param, "invalid_image_url") from error


def _stored(address: str, data: Explorer) -> str:
    if address.startswith("media:"):
        return data.media(address.removeprefix("media:")).stem
    head, _, body = address.partition(",")
    kind, *options = head.lower().split(";")
    if not kind.startswith("data:image/") or "base64" not in [o.strip() for o in options]:
        raise BadPicture("Send pictures as data:image/…;base64 addresses: nothing is fetched.")
    try:
        raw = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadPicture("The picture's base64 is damaged: send it again.") from error
    return data.store(raw).media
