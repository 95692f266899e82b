"""Routes that run the model, one for each row of ``QUESTIONS``.

Each question joins the fair queue and streams its events as they come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from semascope.serve.queue.jobs import Job, Rank
from semascope.serve.queue.worker import ModelWorker, Ticket
from semascope.serve.routes.browse import Data
from semascope.serve.schema.questions import QUESTIONS, Question
from semascope.serve.schema.requests import RequestBody

router = APIRouter()
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "Server-sent events: see the records of Event.",
    }
}


async def _lines(ticket: Ticket) -> AsyncIterator[str]:
    async for event in ticket.events():
        yield f"data: {event.model_dump_json()}\n\n"


def stream(ticket: Ticket) -> StreamingResponse:
    """The ticket's events as server-sent events."""
    return StreamingResponse(
        _lines(ticket), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


def join(request: Request, job: Job, rank: Rank = Rank.ANSWER, *, most: int = 0) -> Ticket:
    """Put a job into its client's queue.

    Raises:
        TooMuch: ``most`` of the client's jobs wait already (0: the queue's usual limit).
    """
    worker: ModelWorker = request.app.state.worker
    return worker.submit(request.state.client, job, rank, most=most)


def _endpoint(question: Question) -> Callable[..., Coroutine[None, None, StreamingResponse]]:
    """The function that answers one question's route, as FastAPI reads it."""
    rank = Rank.CLICK if question.click else Rank.ANSWER

    async def endpoint(request: Request, data: Data, ask: RequestBody) -> StreamingResponse:
        return stream(join(request, lambda emit: data.ask(ask, emit), rank))

    endpoint.__name__ = question.name
    endpoint.__doc__ = question.about
    endpoint.__annotations__["ask"] = question.body
    return endpoint


for _question in QUESTIONS:
    router.post(
        _question.path, tags=["ask"], response_class=StreamingResponse, responses=_STREAMED
    )(_endpoint(_question))
