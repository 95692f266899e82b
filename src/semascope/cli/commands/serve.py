"""The verb serve: the page over a workspace, on this machine unless told otherwise."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from semascope.cli.base import InWorkspace
from semascope.errors import ExplainError, ServerUnreachable, WorkspaceError
from semascope.numbers import CountOrNone, Port
from semascope.workspace import Workspace

if TYPE_CHECKING:
    from semascope.serve.explorer.lmm_names import BackgroundNaming


class Serve(InWorkspace):
    """Open the page: features by score, exemplars with heat maps, search, steering.

    Concepts behind a token are named by the words that their features share. With --base-url and
    --model an LMM names them instead, in the background: any OpenAI-compatible server (vLLM,
    SGLang, a hosted API; its key, where it wants one, in OPENAI_API_KEY). It is sent descriptions
    of features, never what is asked of the model.
    """

    port: Port = 8000
    """Of the page; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen at; others than this machine need --token."""
    token: Annotated[str, tyro.conf.arg(metavar="SECRET")] = ""
    """Asked of every request; without it, only this machine is answered."""
    browser: bool = True
    """Open it in a browser, where there is a screen."""
    base_url: str = ""
    """Address of an OpenAI-compatible LMM server that names concepts."""
    model: str = ""
    """Which of that server's models."""
    beside: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="WORKSPACE")] = ()
    """Other workspaces, whose models can be compared with this one on one prompt."""
    most_names: CountOrNone = 0
    """Questions to that server while this one runs, what its cache knows not counted; 0 sets no
    bound."""

    def run(self) -> int:
        """Serve until Ctrl-C."""
        from semascope.pipeline.feature_search import require_features

        require_features(self.space)
        beside = [Workspace(path) for path in self.beside]
        for other in beside:
            other.require("index")
        if self.host not in ("127.0.0.1", "localhost", "::1") and not self.token:
            raise WorkspaceError(
                f"Serving at {self.host} would show the run to everyone there: give --token."
            )
        naming = self._naming()
        import uvicorn

        from semascope.serve.app import make_app
        from semascope.serve.explorer.workspace import WorkspaceExplorer

        with self._listen() as listener:
            port = listener.getsockname()[1]
            explorer = WorkspaceExplorer(self.space, naming, beside)
            for line in filter(None, (explorer.info().read_only, explorer.info().why_not)):
                print(f"semascope: {line}", file=sys.stderr)
            app = make_app(explorer, token=self.token or None)
            address = f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{port}/"
            print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
            if self.browser and has_screen():
                webbrowser.open(address)  # it waits: the port listens already
            config = uvicorn.Config(app, log_level="warning", access_log=False)
            uvicorn.Server(config).run(sockets=[listener])
        print("The page is closed; the workspace is as it was.", file=sys.stderr)
        return 0

    def _naming(self) -> BackgroundNaming | None:
        """Who names concepts; None where no server is meant. One that is away may come later."""
        if not self.base_url and not self.model:
            return None
        if not (self.base_url and self.model):
            raise ExplainError(
                "Concepts are named by --base-url, the address of an OpenAI-compatible server such "
                "as http://localhost:8000/v1, and --model, the name of a model there: give both."
            )
        from semascope.serve.explorer.lmm_names import BackgroundNaming, namer_at

        namer = namer_at(self.space, self.base_url, self.model, self.most_names)
        try:
            namer.lmm.check()
        except ServerUnreachable as error:
            print(f"{error}\nUntil then concepts keep the words they share.", file=sys.stderr)
        return BackgroundNaming(namer)

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
