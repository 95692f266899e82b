"""The server's socket, bound before it starts, so that its port and any failure are known."""

from __future__ import annotations

import logging
import socket
import threading
import webbrowser

import uvicorn
from fastapi import FastAPI

from semascope.errors import ServeError

log = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ServeError where the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ServeError(
            f"Cannot listen at {host}:{port} ({error}). Use another --port; 0 takes a free one."
        ) from error
    listener.listen(128)
    return listener


def address(listener: socket.socket) -> str:
    """The URL of the page."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(app: FastAPI, listener: socket.socket, open_browser: bool = False) -> None:
    """Serve until interrupted."""
    where = address(listener)
    log.info("The page is at %s", where)
    if open_browser:
        threading.Timer(0.5, webbrowser.open, (where,)).start()
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
