"""Conversations: kept whole, each browser's own, readable by link, there after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from semascope.errors import NotThere, TooMuch
from semascope.serve.session_store import MOST, SessionStore

BODY = {"title": "flags", "body": {"messages": [{"role": "user", "text": "Bolivia?"}]}}


def test_a_conversation_is_kept_changed_and_forgotten(client: TestClient) -> None:
    made = client.post("/api/sessions", json=BODY).json()
    got = client.get(f"/api/sessions/{made['id']}").json()
    assert got["body"] == BODY["body"] and got["own"]
    changed = client.put(f"/api/sessions/{made['id']}", json={**BODY, "title": "maps"}).json()
    assert changed["id"] == made["id"]
    assert "maps" in [s["title"] for s in client.get("/api/sessions").json()]
    assert client.delete(f"/api/sessions/{made['id']}").status_code == 204
    assert client.get(f"/api/sessions/{made['id']}").status_code == 404


def test_another_browser_can_read_by_link_but_changes_a_copy(client: TestClient) -> None:
    made = client.post("/api/sessions", json=BODY).json()
    other = {"cookie": "semascope_client=" + "b" * 32}
    path = f"/api/sessions/{made['id']}"
    assert client.get(path, headers=other).json()["own"] is False
    copy = client.put(path, json={**BODY, "title": "mine"}, headers=other).json()
    assert copy["id"] != made["id"]
    assert client.get(path).json()["title"] == "flags"
    assert client.delete(path, headers=other).status_code == 404
    listed = client.get("/api/sessions", headers=other).json()
    assert [s["title"] for s in listed] == ["mine"]


@pytest.mark.parametrize("name", ["x", "../../etc", "' OR 1=1 --", "0" * 32])
def test_no_name_finds_what_is_not_there(client: TestClient, name: str) -> None:
    assert client.get(f"/api/sessions/{name}").status_code in (404, 422)


def test_conversations_are_bounded() -> None:
    sessions = SessionStore(None)
    with pytest.raises(TooMuch):
        sessions.save("a", "", "x" * (2 * 2**20 + 1))
    for n in range(MOST + 5):
        sessions.save("a", str(n), "{}")
    assert len(sessions.of("a")) == MOST
    with pytest.raises(NotThere):
        sessions.read("nope")
    sessions.close()


def test_what_was_kept_survives_a_kill(tmp_path: Path) -> None:
    """kill -9 right after the answer to the save, no close, no flush."""
    file = tmp_path / "sessions.db"
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from semascope.serve.session_store import SessionStore\n"
        "s = SessionStore(Path(sys.argv[1])); print(s.save('a', 't', '{}'), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = SessionStore(file)
    assert again.read(done.stdout.strip()).title == "t"
    again.close()
