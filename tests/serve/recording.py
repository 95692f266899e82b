"""Answers of every route over a tiny real run, recorded for the tests of the page.

``python -m tests.serve.recording`` writes them to ``web/src/lib/recorded``, one file a route. The
model has random weights and a made-up server explains its features: what counts is which names the
answers have, not what they say. ``test_recording`` fails where a route's names have changed.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.testclient import TestClient

from semascope.atlas.records import split_id
from semascope.config import ExplainOptions, GatherOptions, RunOptions, TrainOptions
from semascope.explain.llm.fake_server import FakeLMM
from semascope.pipeline import run as run_stages
from semascope.serve.app import make_app
from semascope.serve.explorer.lmm_names import BackgroundNaming, namer_at
from semascope.serve.explorer.workspace import WorkspaceExplorer
from semascope.serve.schema.questions import QUESTIONS
from semascope.workspace import Workspace

FOLDER = Path(__file__).parents[2] / "web" / "src" / "lib" / "recorded"
COMMAND = "python -m tests.serve.recording"
LABELS = ("red circle", "blue square", "green triangle", "red square", "a dog")
TOUR = "fries"
VOLATILE: Mapping[str, Any] = {
    "seconds": 0.5, "ahead": 0, "updated": 0.0, "created": "2026-01-01T00:00:00+00:00",
    "when": "2026-01-01T00:00:00+00:00", "workspace": "workspace/tiny",
}  # fmt: skip
"""Values that differ from run to run, by the name of their field."""
ALIKE = 3
"""Most items of a list that are recorded of each sort."""
SORTS = ("kind", "side", "line", "how", "role")
"""Fields that tell items of one list apart."""


def record(folder: Path) -> dict[str, Any]:
    """Every route's answer by the name of its file, over a run made in ``folder``."""

    def explained(request: Mapping[str, Any]) -> dict[str, Any]:
        asked = json.dumps(request["messages"], sort_keys=True)  # requests come in any order
        label = LABELS[zlib.crc32(asked.encode()) % len(LABELS)]
        return {
            "description": f"Pictures of {label}.", "label": label, "category": "object",
            "confidence": 0.9, "abstain": False, "coherence": 6,
        }  # fmt: skip

    with FakeLMM(answer=explained) as server:
        space = tiny_run(folder, server.base_url)
        naming = BackgroundNaming(namer_at(space, server.base_url, "fake"))
        explorer = WorkspaceExplorer(space, naming=naming)
        with TestClient(make_app(explorer)) as client:
            return settled(dict(answers(client)))


def tiny_run(folder: Path, base_url: str) -> Workspace:
    """All stages over a handful of scenes; the server at ``base_url`` explains the features."""
    space = Workspace(folder)
    options = RunOptions(
        train=TrainOptions(
            subject="tiny:llava", site="resid_post.1", corpus="scenes?n=40", tokens=600,
            widths=("32", "64"), k=4, rows=8, max_tokens=128,
        ),
        gather=GatherOptions(samples=60, top=6, batch=8),
        explain=ExplainOptions(explainers=("lmm",), base_url=base_url, model="fake"),
    )  # fmt: skip
    run_stages(space, options)
    return space


def answers(client: TestClient) -> Iterator[tuple[str, Any]]:
    """(name of the file, answer) of each route that the page may call, in a useful order."""
    info = _json(client, "GET", "/api/info")
    yield "info", info
    shown = _json(client, "GET", "/api/features?limit=2&explained=true")
    yield "features", shown
    feature = shown["rows"][0]["id"]
    yield from _looked_at(client, feature)
    yield from _kept(client, feature)
    yield "post-pictures", _json(client, "POST", "/api/pictures", files={"file": _picture()})
    yield from _asked(client, shown["rows"][0], info["models"][0]["dictionaries"])
    yield "register", _json(client, "GET", "/api/register")
    tour = _json(client, "GET", f"/api/tours/{TOUR}")
    yield "tours-name", tour
    yield "tour", list(_walked(client, len(tour["steps"])))


def _looked_at(client: TestClient, feature: str) -> Iterator[tuple[str, Any]]:
    dictionary = feature.rpartition("/")[0]
    yield "search", _json(client, "GET", "/api/search?q=red circle&limit=1")
    yield "concept", _json(client, "GET", "/api/concept?q=red circle&k=2")
    yield "map", _json(client, "GET", f"/api/map?dictionary={dictionary}")
    yield "tours", _json(client, "GET", "/api/tours")
    near = {"text": "a dog", "others": ["a cat", "rain"]}
    yield "post-near", _json(client, "POST", "/api/near", json=near)
    yield "features-feature_id", _json(client, "GET", f"/api/features/{feature}")
    yield "splitting-feature_id", _json(client, "GET", f"/api/splitting/{feature}")


def _kept(client: TestClient, feature: str) -> Iterator[tuple[str, Any]]:
    """Notes, lists, grades and conversations: each made, read and deleted."""
    note = {"feature": feature, "text": "Round things.", "author": "Ana"}
    yield "post-notes", _json(client, "POST", "/api/notes", json=note)
    notes = _json(client, "GET", f"/api/notes?feature={feature}")
    yield "notes", notes
    yield "put-lists-name", _json(client, "PUT", "/api/lists/round", json={"features": [feature]})
    yield "lists", _json(client, "GET", "/api/lists")
    yield "lists-name", _json(client, "GET", "/api/lists/round")
    task = _json(client, "GET", "/api/rating?rater=Ana")
    yield "rating", task
    grade = {"task": task["task"], "rater": "Ana", "grade": 2}
    yield "post-rating", _json(client, "POST", "/api/rating", json=grade)
    yield "rating-agreement", _json(client, "GET", "/api/rating/agreement")
    body = {"title": "A picture", "body": {"exchanges": []}}
    line = _json(client, "POST", "/api/sessions", json=body)
    yield "post-sessions", line
    yield "put-sessions-session", _json(client, "PUT", f"/api/sessions/{line['id']}", json=body)
    yield "sessions", _json(client, "GET", "/api/sessions")
    yield "sessions-session", _json(client, "GET", f"/api/sessions/{line['id']}")
    for made in (f"notes/{notes[0]['id']}", "lists/round", f"sessions/{line['id']}"):
        client.delete(f"/api/{made}").raise_for_status()


def _asked(
    client: TestClient, row: dict[str, Any], dictionaries: list[str]
) -> Iterator[tuple[str, Any]]:
    """Every question, its request made of the values that its fields take by their names."""
    first = row["id"]
    picture = row["exemplars"][0]["pictures"][0]["media"]
    given: dict[str, Any] = {
        "question": "What is it?",
        "picture": picture,
        "text": "A red circle.",
        "messages": [{"role": "user", "text": "What is it?", "pictures": [picture]}],
        "interventions": [
            {"features": [split_id(first)], "how": "clamp", "strength": 5.0, "unit": "max"}
        ],
        "max_new_tokens": 3,
        "top": 2,
        "feature": first,
        "limit": 3,
        "clusters": True,
        "similarity": 0.3,
        "smallest": 1,
        "effects": 2,
        "dictionaries": (dictionaries * 2)[:2],
        "wanted": [{"picture": picture}],
        "concept": "power",
    }
    for question in QUESTIONS:
        if question.name == "play_tour":  # walked step by step
            continue
        fields = {name: given[name] for name in question.body.model_fields if name in given}
        if question.name in ("chat", "why", "read", "versus"):
            fields.pop("interventions")
        yield slug("POST", question.path), _events(client, question.path, fields)
    gone = {"feature": f"{row['dictionary']}/99999", "text": "A dog."}
    yield "try-failed", _events(client, "/api/try", gone)
    active = {"messages": given["messages"], "mode": "activation", "limit": 3, "answer": [9]}
    yield "why-activation", _events(client, "/api/why", active)


def _walked(client: TestClient, steps: int) -> Iterator[list[dict[str, Any]]]:
    """The events of each step of a tour, asked with the state of the step before."""
    state = None
    for step in range(steps):
        events = _events(client, "/api/tour", {"name": TOUR, "step": step, "state": state})
        state = next((e for e in reversed(events) if e["kind"] == "tour_state"), None)
        yield events


def slug(method: str, path: str) -> str:
    """The name of the file of a route: questions and GET have no method in front."""
    asked = {question.path for question in QUESTIONS}
    bare = re.sub(r"[{}]|:path", "", path.removeprefix("/api/")).replace("/", "-")
    return bare if method == "GET" or path in asked else f"{method.lower()}-{bare}"


def _json(client: TestClient, method: str, path: str, **body: Any) -> Any:
    return client.request(method, path, **body).raise_for_status().json()


def _events(client: TestClient, path: str, ask: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(path, json=ask).raise_for_status()
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def _picture() -> tuple[str, bytes, str]:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), "teal").save(buffer, "PNG")
    return "a.png", buffer.getvalue(), "image/png"


def settled(value: Any) -> Any:
    """The answer with short figures and lists, and fixed values where each run has its own."""
    if isinstance(value, dict):
        return {
            name: VOLATILE[name] if name in VOLATILE else settled(one)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [settled(one) for one in shortened(value)]
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value):
        return "0" * 32
    return value


def shortened(items: list[Any]) -> list[Any]:
    """The first few records of each sort; steps of a tour and lists of figures are whole."""
    seen: Counter[tuple[Any, ...]] = Counter()
    some = []
    for item in items:
        if isinstance(item, dict) and "do" not in item:
            sort = tuple(item.get(name) for name in SORTS)
            seen[sort] += 1
            if seen[sort] > ALIKE:
                continue
        some.append(item)
    return some


def write(recorded: Mapping[str, Any], folder: Path) -> None:
    """Replace the recording; each event, and each row of a list, is one line."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for name, answer in recorded.items():
        if isinstance(answer, list):
            text = "[\n" + ",\n".join(map(_line, answer)) + "\n]\n"
        else:
            rows = (f"{json.dumps(key)}: {_line(value)}" for key, value in answer.items())
            text = "{\n" + ",\n".join(rows) + "\n}\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Record anew."""
    with tempfile.TemporaryDirectory() as folder:
        recorded = record(Path(folder) / "run")
    write(recorded, FOLDER)
    size = sum(file.stat().st_size for file in FOLDER.glob("*.json"))
    sys.stdout.write(f"{len(recorded)} answers, {size / 1000:.0f} kB, in {FOLDER}\n")


if __name__ == "__main__":
    main()
