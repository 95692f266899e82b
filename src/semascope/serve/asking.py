"""Routes that run the model. Each joins the fair queue and streams its events as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from semascope.serve.looking import Data
from semascope.serve.questions import CompareAsk
from semascope.serve.worker import ModelWorker, Ticket

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


@router.post(
    "/api/compare",
    tags=["ask"],
    response_class=StreamingResponse,
    responses={200: {"content": _STREAM, "description": "Events: see the Event records."}},
)
async def compare(request: Request, data: Data, ask: CompareAsk) -> StreamingResponse:
    """Answer a question twice, as the model is and with features changed, token by token."""
    worker: ModelWorker = request.app.state.worker
    client: str = request.state.client
    return stream(worker.submit(client, lambda emit: data.compare(ask, emit)))
