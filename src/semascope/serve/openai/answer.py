"""The answer in OpenAI's format: whole, or as chunks; what was sent is never taken back.

Knows events and requests; no model and no route.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from semascope.errors import ServeError
from semascope.serve.openai.errors import TOO_LONG, Refused
from semascope.serve.openai.request import GenerationRequest
from semascope.serve.queue.worker import Ticket
from semascope.serve.schema.answers import Answered, Started, Token
from semascope.serve.schema.events import Emit, Event, Failed, Queued

LOST = "\ufffd"
"""Stands for a part of a character."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a route writes an answer."""

    prefix: str
    """Of its id."""
    whole: str
    """``object`` of a whole answer."""
    chunk: str
    """``object`` of a piece of one."""
    put: Callable[[str, bool], dict[str, Any]]
    """(text, is a piece) to the field of a choice."""


def _chat(text: str, piece: bool) -> dict[str, Any]:
    if piece:
        return {"delta": {"content": text} if text else {}}
    return {"message": {"role": "assistant", "content": text, "refusal": None}}


CHAT = Shape("chatcmpl", "chat.completion", "chat.completion.chunk", _chat)
PLAIN = Shape("cmpl", "text_completion", "text_completion", lambda text, _: {"text": text})


def until(stops: list[str], emit: Emit) -> Emit:
    """An ``emit`` that also ends the answer when it contains one of ``stops``."""
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
    """The part of an unfinished answer that can no longer change.

    It ends before an incomplete character and before what may be the beginning of a stop.
    """
    text = cut(text, [*stops, LOST])
    open_ = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return text[: len(text) - max(open_, default=0)]


def aligned(tokens: Sequence[Token], text: str) -> list[tuple[Token, str]]:
    """Each token with its part of ``text``, in order: the parts join to the text.

    A token that the text cuts short comes with its beginning; tokens past the text are left out. A
    character that several tokens make together belongs to the last of them.
    """
    out: list[tuple[Token, str]] = []
    place, held = 0, []
    for token in tokens:
        if token.ends or place >= len(text):
            break
        start = _found(token.text, text, place) if LOST not in token.text else -1
        if start < 0:
            held.append(token)
            continue
        out += _together(held, text[place:start])
        held = []
        part = token.text if text.startswith(token.text, start) else text[start:]
        out.append((token, part))
        place = start + len(part)
    out += _together(held, text[place:])
    return out


def _found(part: str, text: str, place: int) -> int:
    """Where a token's text occurs from ``place`` on, cut short only at the end; −1 if nowhere."""
    start = text.find(part, place)
    if start >= 0:
        return start
    return place if part and part.startswith(text[place:]) else -1


def _together(held: Sequence[Token], text: str) -> list[tuple[Token, str]]:
    if not held:
        return []
    return [*((token, "") for token in held[:-1]), (held[-1], text)]


async def first_event(events: AsyncIterator[Event]) -> Event:
    """The first event of the answer. Raises what the model failed with."""
    async for event in events:
        if isinstance(event, Failed):
            raise failure(event)
        if not isinstance(event, Queued | Started):
            return event
    raise ServeError("The model gave no answer; ask again.")


def failure(event: Failed) -> Refused:
    """The model's failure, as an error of the request or of the server."""
    if event.type == "Internal":
        return Refused(event.message, status=500)
    return Refused(event.message, code=TOO_LONG if event.type == "TooLong" else "")


async def whole(
    events: AsyncIterator[Event], asked: GenerationRequest, about: dict[str, Any], shape: Shape
) -> dict[str, Any]:
    """The body of a whole answer."""
    tokens: list[Token] = []
    answer: Answered | None = None
    async for event in events:
        if isinstance(event, Token):
            tokens.append(event)
        elif isinstance(event, Answered):
            answer = event
        elif isinstance(event, Failed):
            raise failure(event)
    if answer is None:
        raise ServeError("The model gave no answer; ask again.")
    text = cut(answer.text, asked.stops)
    choice = {
        "index": 0,
        **shape.put(text, False),
        "finish_reason": _reason(answer),
        "logprobs": _logprobs(aligned(tokens, text)) if asked.wants_logprobs else None,
    }
    return {**about, "object": shape.whole, "choices": [choice],
            "usage": _usage(answer, len(tokens))}  # fmt: skip


async def _chunks(
    ticket: Ticket,
    asked: GenerationRequest,
    about: dict[str, Any],
    shape: Shape = CHAT,
    *,
    first: Event | None = None,
    events: AsyncIterator[Event] | None = None,
) -> AsyncIterator[str]:
    """The answer as it grows, one chunk per line; ``first`` was taken from ``events`` already."""
    writer = _Writer(asked, about, shape)
    if shape is CHAT:
        yield writer.line({"delta": {"role": "assistant", "content": ""}})
    for line in writer.hear(first) if first is not None else ():
        yield line
    async for event in events or ticket.events():
        for line in writer.hear(event):
            yield line
        if isinstance(event, Failed):
            return
    yield "data: [DONE]\n\n"


class _Writer:
    """Turns events into chunks; remembers what was sent."""

    def __init__(self, asked: GenerationRequest, about: dict[str, Any], shape: Shape) -> None:
        self.asked, self.about, self.shape = asked, about, shape
        self.text = ""
        self.sent = 0
        self.count = 0
        self.tokens: list[Token] = []
        """Tokens whose text was not sent yet."""

    def hear(self, event: Event) -> list[str]:
        """The text to send now."""
        if isinstance(event, Token):
            return self._token(event)
        if isinstance(event, Answered):
            return self._end(event)
        if isinstance(event, Failed):
            error = failure(event)
            body = {"message": str(error), "type": "server_error", "param": None,
                     "code": error.code or None}  # fmt: skip
            return [_data({"error": body})]
        return []

    def _token(self, token: Token) -> list[str]:
        self.count += 1
        self.tokens.append(token)
        self.text += "" if token.ends else token.text
        shown = settled(self.text, self.asked.stops)[self.sent :]
        return [self._piece(shown, self._covered(shown))] if shown else []

    def _covered(self, shown: str) -> list[tuple[Token, str]]:
        """Tokens that lie within the text sent now; the others wait."""
        self.sent += len(shown)
        done, length = 0, len(self.text) - sum(len(t.text) for t in self.tokens if not t.ends)
        for token in self.tokens:
            length += len(token.text)
            if token.ends or length > self.sent:
                break
            done += 1
        sent, self.tokens = self.tokens[:done], self.tokens[done:]
        return [(token, token.text) for token in sent]

    def _end(self, answer: Answered) -> list[str]:
        rest = cut(answer.text, self.asked.stops)[self.sent :]
        lines = [self._piece(rest, aligned(self.tokens, self._held() + rest), _reason(answer))]
        if self.asked.counts:
            last = {**self.about, "object": self.shape.chunk, "choices": []}
            lines.append(_data({**last, "usage": _usage(answer, self.count)}))
        return lines

    def _held(self) -> str:
        """Text already sent of tokens that still wait."""
        waiting = sum(len(t.text) for t in self.tokens if not t.ends)
        return self.text[len(self.text) - waiting : self.sent] if waiting else ""

    def _piece(self, text: str, tokens: list[tuple[Token, str]], reason: str = "") -> str:
        logprobs = _logprobs(tokens) if self.asked.wants_logprobs and tokens else None
        return self.line(self.shape.put(text, True), logprobs, reason)

    def line(
        self, put: dict[str, Any], logprobs: dict[str, Any] | None = None, reason: str = ""
    ) -> str:
        """One chunk."""
        choice = {"index": 0, **put, "finish_reason": reason or None, "logprobs": logprobs}
        body = {**self.about, "object": self.shape.chunk, "choices": [choice]}
        return _data({**body, "usage": None} if self.asked.counts else body)


def _data(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _reason(answer: Answered) -> str:
    return "length" if answer.stopped == "length" else "stop"


def _usage(answer: Answered, made: int) -> dict[str, int]:
    return {"prompt_tokens": answer.prompt_tokens, "completion_tokens": made,
            "total_tokens": answer.prompt_tokens + made}  # fmt: skip


def _logprobs(tokens: Sequence[tuple[Token, str]]) -> dict[str, Any]:
    return {"content": [_logprob(token, text) for token, text in tokens], "refusal": None}


def _logprob(token: Token, text: str) -> dict[str, Any]:
    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": max(logprob, -9999.0),
                "bytes": list(text.encode("utf-8", "replace"))}  # fmt: skip

    alternatives = [one(a.text, a.logprob) for a in token.top]
    return one(text, token.logprob) | {"top_logprobs": alternatives}
