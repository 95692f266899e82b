"""Routes that run the model. Each joins the fair queue and streams its events as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from semascope.serve.looking import Data
from semascope.serve.questions import ChatAsk, CompareAsk, WhyAsk
from semascope.serve.worker import Job, ModelWorker, Ticket

router = APIRouter()
_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}


async def _lines(ticket: Ticket) -> AsyncIterator[str]:
    async for event in ticket.events():
        yield f"data: {event.model_dump_json()}\n\n"


def stream(ticket: Ticket) -> StreamingResponse:
    """The ticket's events as server-sent events."""
    return StreamingResponse(
        _lines(ticket), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


def join(request: Request, job: Job) -> Ticket:
    """Put a job into the line of whoever asks."""
    worker: ModelWorker = request.app.state.worker
    return worker.submit(request.state.client, job)


_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": _STREAM, "description": "Server-sent events: see the records of Event."}
}


@router.post("/api/compare", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED)
async def compare(request: Request, data: Data, ask: CompareAsk) -> StreamingResponse:
    """Answer a question twice, as the model is and with features changed, token by token."""
    return stream(join(request, lambda emit: data.compare(ask, emit)))


@router.post("/api/chat", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED)
async def chat(request: Request, data: Data, ask: ChatAsk) -> StreamingResponse:
    """Answer a conversation, token by token, with features changed or not."""
    return stream(join(request, lambda emit: data.chat(ask, emit)))


@router.post("/api/why", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED)
async def why(request: Request, data: Data, ask: WhyAsk) -> StreamingResponse:
    """Which features speak for and against a token of an answer."""
    return stream(join(request, lambda emit: data.why(ask, emit)))
