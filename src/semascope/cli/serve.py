"""The verb serve: the page over a workspace, on this machine unless told otherwise."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser
from typing import Annotated

import tyro

from semascope.cli.base import InWorkspace
from semascope.errors import WorkspaceError


class Serve(InWorkspace):
    """Open the page: features by score, exemplars with heat maps, search, steering."""

    port: int = 8000
    """Of the page; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen at; others than this machine need --token."""
    token: Annotated[str, tyro.conf.arg(metavar="SECRET")] = ""
    """Asked of every request; without it, only this machine is answered."""
    browser: bool = True
    """Open it in a browser, where there is a screen."""

    def run(self) -> int:
        """Serve until Ctrl-C."""
        self.space.require("index")
        if self.host not in ("127.0.0.1", "localhost", "::1") and not self.token:
            raise WorkspaceError(
                f"Serving at {self.host} would show the run to everyone there: give --token."
            )
        import uvicorn

        from semascope.serve.app import make_app
        from semascope.serve.workspace import WorkspaceExplorer

        with self._listen() as listener:
            port = listener.getsockname()[1]
            app = make_app(WorkspaceExplorer(self.space), token=self.token or None)
            address = f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{port}/"
            print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
            if self.browser and has_screen():
                webbrowser.open(address)  # it waits: the port listens already
            config = uvicorn.Config(app, log_level="warning", access_log=False)
            uvicorn.Server(config).run(sockets=[listener])
        print("The page is closed; the workspace is as it was.", file=sys.stderr)
        return 0

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except (OSError, OverflowError) as error:
            listener.close()
            raise WorkspaceError(
                f"Nothing can listen at {self.host}:{self.port} ({error}). "
                "Name another --port; 0 takes a free one."
            ) from error
        listener.listen(64)
        return listener


def has_screen() -> bool:
    """Whether a browser could be shown: a person at a terminal, and a display."""
    display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return sys.stdout.isatty() and (display or sys.platform in ("darwin", "win32"))
