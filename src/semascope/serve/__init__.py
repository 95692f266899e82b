"""The page and its HTTP interface over one workspace.

``make_app`` builds the application over any ``Explorer``; ``open_explorer`` is the one over a
workspace; ``run`` serves it until Ctrl-C. Touches no tensor, and imports nothing until asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from semascope.serve.explorer.protocol import Explorer
    from semascope.serve.explorer.workspace import WorkspaceExplorer

__all__ = ["make_app", "open_explorer", "run"]


def make_app(data: Explorer, *, token: str | None = None) -> FastAPI:
    """The page and its HTTP interface over any Explorer; see ``serve.app.make_app``."""
    from semascope.serve import app

    return app.make_app(data, token=token)


def open_explorer(workspace_path: str | Path) -> WorkspaceExplorer:
    """The Explorer over a workspace. Raises WorkspaceError where there is none."""
    from semascope.errors import WorkspaceError
    from semascope.serve.explorer.workspace import WorkspaceExplorer
    from semascope.workspace import Workspace

    workspace = Workspace(workspace_path)
    if not workspace.exists() and not workspace.atlas.is_file():
        raise WorkspaceError(
            f"There is no run in {workspace.root}. "
            f"Run: semascope demo --no-serve --workspace {workspace.root}"
        )
    return WorkspaceExplorer(workspace)


def run(
    workspace_path: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    open_browser: bool = False,
) -> None:
    """Serve the page until Ctrl-C; ``port`` 0 takes a free one.

    Raises:
        ServeError: ``host`` is not loopback and there is no ``token``, or the address is taken.
    """
    from semascope.errors import ServeError
    from semascope.serve.guard import is_loopback
    from semascope.serve.socket import listen, serve

    if not is_loopback(host) and not token:
        raise ServeError(f"Serving at {host} would show the run to everyone there: give a --token.")
    with listen(host, port) as listener:
        serve(make_app(open_explorer(workspace_path), token=token), listener, open_browser)
