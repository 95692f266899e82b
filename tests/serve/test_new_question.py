"""The worked example of docs/architecture.md: a new question of the page costs five edits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import semascope

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "architecture.md"
PLACES = {
    "serve/schema/requests.py": "class ReadAsk(",
    "serve/schema/events.py": "class Finished(",
    "serve/schema/questions.py": ')  # fmt: skip\n"""Every question',
    "serve/explorer/workspace.py": "            case ChatAsk():",
}
"""Where each edit goes: before these words."""
SCRIPT = """
import json, sys
from pathlib import Path
from starlette.testclient import TestClient
from tests.serve.planted_run import planted_run
from semascope.client import Answer, Client
from semascope.serve import open_explorer
from semascope.serve.app import make_app
from semascope.serve.schema.openapi import schema
from semascope.serve.schema.requests import CountAsk, Message

space = planted_run(Path(sys.argv[1]))
with TestClient(make_app(open_explorer(space.root))) as http:
    def send(method, path, body, headers):
        answer = http.request(method, path, content=body, headers=headers)
        return Answer(answer.status_code, iter([answer.content]))
    ask = CountAsk(messages=[Message(role="user", text="What?")], answer=[9, 11])
    counted = [event.model_dump() for event in Client(transport=send).count(ask)]
document = schema()
print(json.dumps({
    "events": counted, "route": document["paths"]["/api/count"]["post"]["description"],
    "schema": sorted(document["components"]["schemas"]["Counted"]["required"]),
}))
"""


def edits() -> dict[str, str]:
    """The server's edits by file, as the documentation has them."""
    part = DOC.read_text("utf-8").partition("A new question of the page costs five edits")[2]
    blocks = re.findall(r"```python\n# (\S+\.py)[^\n]*\n(.*?)```", part, re.DOTALL)
    return {path: text for path, text in blocks if path in PLACES}


@pytest.mark.skipif(not DOC.is_file(), reason="the documentation is not here")
def test_the_four_edits_of_the_server_make_a_question(tmp_path: Path) -> None:
    """On a copy of the package: route, schema and client's method come from the table."""
    copied = tmp_path / "src" / "semascope"
    shutil.copytree(
        Path(semascope.__file__).parent, copied,
        ignore=shutil.ignore_patterns("__pycache__", "static"),
    )  # fmt: skip
    assert edits().keys() == PLACES.keys()
    for path, text in edits().items():
        _insert(copied / path, PLACES[path], text)
    union = copied / "serve/schema/events.py"
    union.write_text(
        union.read_text("utf-8").replace("    | Finished\n", "    | Counted\n    | Finished\n")
    )
    _insert(copied / "serve/schema/questions.py", "    ExamplesAsk,\n    M", "    CountAsk,\n")
    for file, name in (("requests", "CountAsk"), ("events", "Counted")):
        line = f"from semascope.serve.schema.{file} import {name}\n"
        _insert(copied / "serve/explorer/workspace.py", "from semascope.serve.schema.resp", line)
    where = os.pathsep.join([str(copied.parent), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "run")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": where},
    )  # fmt: skip
    assert not done.returncode, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [event["kind"] for event in answer["events"]] == ["queued", "counted", "finished"]
    assert answer["events"][1]["tokens"] > 2
    assert answer["route"] == "How many tokens a conversation has."
    assert answer["schema"] == ["kind", "tokens"]


def _insert(file: Path, before: str, text: str) -> None:
    whole = file.read_text("utf-8")
    assert whole.count(before) == 1, (file, before)
    file.write_text(whole.replace(before, text + before), "utf-8")
