"""Routes that run the model. Each joins the fair queue and streams its events as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from semascope.serve.queue.jobs import Job, Rank
from semascope.serve.queue.worker import ModelWorker, Ticket
from semascope.serve.routes.browse import Data
from semascope.serve.schema.requests import (
    ChatAsk,
    CompareAsk,
    ExamplesAsk,
    MeasureAsk,
    ReadAsk,
    SteerAsk,
    TryAsk,
    VersusAsk,
    WhyAsk,
)

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


def join(request: Request, job: Job, rank: Rank = Rank.ANSWER, *, most: int = 0) -> Ticket:
    """Put a job into the line of whoever asks; TooMuch where ``most`` wait, or as many as usual."""
    worker: ModelWorker = request.app.state.worker
    return worker.submit(request.state.client, job, rank, most=most)


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
    """Which features, and which concepts, stand behind a token or in a region."""
    return stream(join(request, lambda emit: data.why(ask, emit), Rank.CLICK))


@router.post("/api/read", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED)
async def read(request: Request, data: Data, ask: ReadAsk) -> StreamingResponse:
    """The prompt as the model reads it, with every token's own probability."""
    return stream(join(request, lambda emit: data.read(ask, emit), Rank.CLICK))


@router.post("/api/steer", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED)
async def steer(request: Request, data: Data, ask: SteerAsk) -> StreamingResponse:
    """The answer beside the steered answer, and both beside a random control."""
    return stream(join(request, lambda emit: data.steer(ask, emit)))


@router.post("/api/try", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED)
async def attempt(request: Request, data: Data, ask: TryAsk) -> StreamingResponse:
    """One feature on a text or a picture of one's own."""
    return stream(join(request, lambda emit: data.attempt(ask, emit), Rank.CLICK))


@router.post("/api/examples", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED)
async def examples(request: Request, data: Data, ask: ExamplesAsk) -> StreamingResponse:
    """Features that some examples have and others have not; search by picture."""
    return stream(join(request, lambda emit: data.examples(ask, emit)))


@router.post("/api/versus", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED)
async def versus(request: Request, data: Data, ask: VersusAsk) -> StreamingResponse:
    """Two dictionaries on one prompt."""
    return stream(join(request, lambda emit: data.versus(ask, emit)))


@router.post(
    "/api/register/measure", tags=["ask"], response_class=StreamingResponse, responses=_STREAMED
)
async def measure(request: Request, data: Data, ask: MeasureAsk) -> StreamingResponse:
    """Measure what a feature does to a concept of the register, and keep the figure."""
    return stream(join(request, lambda emit: data.measure(ask, emit)))
