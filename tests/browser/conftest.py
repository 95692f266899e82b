"""A real Chromium on a real server over drawn data."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from semascope.serve.app import STATIC, make_app
from semascope.serve.explorer.protocol import Explorer
from semascope.serve.socket import address, listen
from semascope.serve.testing import DrawnExplorer

CHROMIUM = os.environ.get("SEMASCOPE_CHROMIUM", "/usr/bin/chromium")
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def served(data: Explorer) -> Iterator[str]:
    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(make_app(data), log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield address(listener)
        server.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="module")
def serving() -> Callable[[Explorer], AbstractContextManager[str]]:
    """What serves the page over an Explorer, and gives its address."""
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built here: python hatch_build.py")
    return served


@pytest.fixture(scope="module")
def address_of_page(
    serving: Callable[[Explorer], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    data = DrawnExplorer(tmp_path_factory.mktemp("media"), width=400, namer="drawn-namer")
    with serving(data) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Gone with its module: its event loop, left running, would be in the way of asyncio.run."""
    if not shutil.which(CHROMIUM):
        pytest.skip(f"there is no Chromium at {CHROMIUM}; name one with SEMASCOPE_CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, address_of_page: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh page; the test fails if it logs an error or asks anything of another host."""
    width, height = getattr(request, "param", (1280, 860))
    context = browser.new_context(
        base_url=address_of_page, viewport={"width": width, "height": height}
    )
    context.set_default_timeout(60_000)
    found = context.new_page()
    complaints: list[str] = []
    found.on("pageerror", lambda error: complaints.append(str(error)))
    found.on(
        "console",
        lambda said: complaints.append(said.text) if said.type == "error" else None,
    )
    elsewhere: list[str] = []
    ours = (address_of_page, "data:", "blob:", "about:")
    found.on(
        "request",
        lambda asked: None if asked.url.startswith(ours) else elsewhere.append(asked.url),
    )
    yield found
    context.close()
    # The browser itself logs every answer of 4xx; those are told on the page.
    assert not [said for said in complaints if "Failed to load resource" not in said]
    assert not elsewhere


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where to keep pictures of the page; SEMASCOPE_SHOTS keeps them for a person to look at."""
    folder = Path(os.environ.get("SEMASCOPE_SHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
