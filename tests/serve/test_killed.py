"""A real server, eight people at once, and kill -9 in the middle: nothing crossed, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semascope.client import Client
from semascope.errors import ServeError
from semascope.serve.routes.sessions import SessionBody
from semascope.serve.schema.answers import Answered, Token
from semascope.serve.schema.requests import ChatAsk, Message

CODE = """
import sys, uvicorn
from pathlib import Path
from semascope.serve.app import make_app
from semascope.serve.socket import address, listen
from semascope.serve.testing import DrawnExplorer
folder = Path(sys.argv[1])
app = make_app(DrawnExplorer(folder, width=10, pause=0.002), static=folder / "none")
with listen("127.0.0.1", 0) as listener:
    print(address(listener), flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
"""


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    server = subprocess.Popen(
        [sys.executable, "-c", CODE, str(folder)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def stopped(server: subprocess.Popen[str]) -> int:
    """Kill -9; its exit code."""
    server.kill()
    assert server.stdout is not None
    server.stdout.close()
    return server.wait(20)


def talk(address: str, name: str) -> tuple[Client, str, str]:
    """Three questions of one person, each kept; returns the last answer and its session."""
    monitor, text = Client(address), ""
    for n in range(3):
        ask = ChatAsk(messages=[Message(role="user", text=f"{name} asks {n}")])
        (answer,) = [e for e in monitor.chat(ask) if isinstance(e, Answered)]
        assert f"{name} asks {n}" in answer.text
        text = answer.text
    line = monitor.add_session(SessionBody(title=name, body={"answer": text}))
    return monitor, text, line.id


@pytest.mark.slow
def test_no_answer_crosses_and_no_conversation_is_lost(tmp_path: Path) -> None:
    server, address = start(tmp_path)
    try:
        names = [f"person{n}" for n in range(8)]
        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda name: talk(address, name), names))
        asked = done[0][0].chat(ChatAsk(messages=[Message(role="user", text="word " * 400)]))
        with pytest.raises(ServeError):
            for event in asked:
                if isinstance(event, Token):
                    server.kill()
    finally:
        assert stopped(server) == -signal.SIGKILL
    again, address = start(tmp_path)
    try:
        for name, (_, text, session) in zip(names, done, strict=True):
            kept = Client(address).session(session)
            assert (kept.title, kept.body) == (name, {"answer": text})
    finally:
        stopped(again)
