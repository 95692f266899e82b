"""An OpenAI-compatible endpoint: ``/v1/chat/completions`` and ``/v1/models``.

What the ``openai`` package sends is turned into the same question that the page asks, so the
same queue, limits and errors hold. Pictures come as ``data:`` addresses (nothing is fetched
from elsewhere) or as ``media:<hash>``; interventions come in ``extra_body``. Knows no model.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semascope.causal.interventions import Intervention
from semascope.errors import BadPicture, ServeError
from semascope.serve.asking import join
from semascope.serve.data import Explorer
from semascope.serve.events import Answered, Emit, Failed, Token
from semascope.serve.jobs import alone
from semascope.serve.looking import Data
from semascope.serve.questions import ChatAsk, Message
from semascope.serve.worker import Ticket

router = APIRouter(prefix="/v1", tags=["openai"])


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "image_url"]
    text: str = ""
    image_url: dict[str, Any] | None = None


class Said(BaseModel):
    """A message as the ``openai`` package writes it."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None


class Completion(BaseModel):
    """The request; fields that change nothing here are ignored."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    model: str = ""
    messages: list[Said] = Field(min_length=1, max_length=100)
    max_tokens: int | None = Field(None, ge=1, le=1_024)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_024)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    """0 takes the likeliest token; 1 where it is left out, as elsewhere."""
    seed: int | None = None
    n: int = Field(1, ge=1, le=1)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    interventions: list[Intervention] = Field(default_factory=list, max_length=64)
    """Features to change while it answers (``extra_body={"interventions": [...]}``)."""
    prefill: str = Field("", max_length=4_000)
    """Words that the answer begins with (``extra_body={"prefill": "..."}``)."""

    @property
    def stops(self) -> list[str]:
        """Strings that end the answer."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [text for text in given if text][:8]


@router.get("/models")
def models(data: Data) -> dict[str, Any]:
    """The one model that answers."""
    name = data.info().name
    model = {"id": name, "object": "model", "created": 0, "owned_by": "semascope"}
    return {"object": "list", "data": [model]}


@router.post("/chat/completions", response_model=None)
async def completions(
    request: Request, data: Data, asked: Completion
) -> JSONResponse | StreamingResponse:
    """Answer a conversation, as the ``openai`` package asks for it."""
    ask = question(asked, data)
    stops = asked.stops
    ticket = join(request, lambda emit: alone(data.chat(ask, until(stops, emit))))
    about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()),
             "model": asked.model or data.info().name}  # fmt: skip
    if asked.stream:
        return StreamingResponse(_chunks(ticket, asked, about), media_type="text/event-stream")
    return await _whole(ticket, asked, about)


def question(asked: Completion, data: Explorer) -> ChatAsk:
    """The same in our words; ServeError or BadPicture where it cannot be."""
    limit = asked.max_completion_tokens or asked.max_tokens or 128
    seed = abs(asked.seed) % 2**31 if asked.seed is not None else uuid.uuid4().int % 2**31
    try:
        return ChatAsk(
            messages=[_message(said, data) for said in asked.messages],
            prefill=asked.prefill,
            interventions=asked.interventions,
            max_new_tokens=limit,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            seed=seed,
            top=asked.top_logprobs if asked.logprobs else 0,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ServeError(f"The request is not valid: {first['msg']}.") from error


def _message(said: Said, data: Explorer) -> Message:
    role = "system" if said.role == "developer" else said.role
    if said.content is None or isinstance(said.content, str):
        return Message(role=role, text=said.content or "")
    words = [part.text for part in said.content if part.type == "text"]
    pictures = [_picture(part, data) for part in said.content if part.type == "image_url"]
    return Message(role=role, text="\n".join(words), pictures=pictures)


def _picture(part: Part, data: Explorer) -> str:
    """A picture's hash from a data address or from ``media:<hash>``."""
    address = str((part.image_url or {}).get("url", ""))
    if address.startswith("media:"):
        return data.media(address.removeprefix("media:")).stem
    head, _, body = address.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise BadPicture("Send pictures as data:image/…;base64 addresses: nothing is fetched.")
    try:
        return data.store(base64.b64decode(body, validate=True)).media
    except binascii.Error as error:
        raise BadPicture("The picture's base64 is damaged: send it again.") from error


def until(stops: list[str], emit: Emit) -> Emit:
    """An ``emit`` that also ends the answer when one of ``stops`` stands in it."""
    if not stops:
        return emit
    so_far = ""

    def hear(event: Any) -> bool:
        nonlocal so_far
        if isinstance(event, Token):
            so_far += event.text
        return emit(event) or any(stop in so_far for stop in stops)

    return hear


def cut(text: str, stops: list[str]) -> str:
    """The text before the first of ``stops``."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def settled(text: str, stops: list[str]) -> str:
    """What of an unfinished answer is sure to stay: not a character of which a part is still to
    come, nor what may be the beginning of one of ``stops``."""
    text = cut(text, [*stops, "\ufffd"])
    open_ = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return text[: len(text) - max(open_, default=0)]


async def _whole(ticket: Ticket, asked: Completion, about: dict[str, Any]) -> JSONResponse:
    tokens: list[Token] = []
    answer: Answered | None = None
    async for event in ticket.events():
        if isinstance(event, Token):
            tokens.append(event)
        elif isinstance(event, Answered):
            answer = event
        elif isinstance(event, Failed):
            raise ServeError(event.message)
    if answer is None:
        raise ServeError("The model gave no answer; ask again.")
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": cut(answer.text, asked.stops)},
        "finish_reason": _reason(answer),
        "logprobs": {"content": [_logprob(t) for t in tokens]} if asked.logprobs else None,
    }
    body = {**about, "object": "chat.completion", "choices": [choice],
            "usage": _usage(answer, len(tokens))}  # fmt: skip
    return JSONResponse(body)


async def _chunks(ticket: Ticket, asked: Completion, about: dict[str, Any]) -> AsyncIterator[str]:
    """The answer as it grows, in the shape of ``chat.completion.chunk``."""
    yield _chunk(about, {"role": "assistant", "content": ""})
    sent, text, count = 0, "", 0
    async for event in ticket.events():
        if isinstance(event, Token):
            text, count = text + ("" if event.ends else event.text), count + 1
            shown = settled(text, asked.stops)[sent:]
            sent += len(shown)
            yield _chunk(about, {"content": shown}, event if asked.logprobs else None)
        elif isinstance(event, Answered):
            rest = cut(event.text, asked.stops)[sent:]
            yield _chunk(about, {"content": rest} if rest else {}, reason=_reason(event))
            if (asked.stream_options or {}).get("include_usage"):
                last = {**about, "object": "chat.completion.chunk", "choices": []}
                yield _line({**last, "usage": _usage(event, count)})
        elif isinstance(event, Failed):
            yield _line({"error": {"message": event.message, "type": event.type}})
            return
    yield "data: [DONE]\n\n"


def _chunk(
    about: dict[str, Any], delta: dict[str, str], token: Token | None = None, reason: str = ""
) -> str:
    logprobs = None if token is None else {"content": [_logprob(token)]}
    choice = {"index": 0, "delta": delta, "finish_reason": reason or None, "logprobs": logprobs}
    return _line({**about, "object": "chat.completion.chunk", "choices": [choice]})


def _line(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _reason(answer: Answered) -> str:
    return "length" if answer.stopped == "length" else "stop"


def _usage(answer: Answered, made: int) -> dict[str, int]:
    return {"prompt_tokens": answer.prompt_tokens, "completion_tokens": made,
            "total_tokens": answer.prompt_tokens + made}  # fmt: skip


def _logprob(token: Token) -> dict[str, Any]:
    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    alternatives = [one(a.text, a.logprob) for a in token.top]
    return one(token.text, token.logprob) | {"top_logprobs": alternatives}
