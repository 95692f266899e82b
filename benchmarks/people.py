"""Eight people at one served run for five minutes, and kill -9 of the server in the middle.

    python -m benchmarks.people --workspace workspace/demo --json

Everybody asks the model about pictures of their own, at temperature 0, and keeps the conversation
after every answer. Before that, each question was asked by one person alone: an answer that is not
that one has *crossed*. Half-way the server is killed and started again; people ask again what got
no answer. At the end a conversation is *lost* where it does not hold all that the server had said
was kept. Waiting is from question to answer, the time that the server was away included.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semascope.client import Client
from semascope.corpus.scenes import SceneCorpus
from semascope.errors import SemascopeError
from semascope.serve.routes.sessions import SessionBody
from semascope.serve.schema.answers import Answered
from semascope.serve.schema.requests import ChatAsk, Message
from semascope.serve.socket import listen

QUESTIONS = ("What is in the picture?", "How many things are there?", "Describe the picture.")
PATIENCE = 180.0
"""Seconds for the server to be there."""


class Server:
    """``semascope serve`` as a process of its own, on one port."""

    def __init__(self, workspace: Path) -> None:
        with listen("127.0.0.1", 0) as free:
            self.port = int(free.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self.command = [
            sys.executable, "-m", "semascope", "serve", "--workspace", str(workspace),
            "--port", str(self.port), "--no-browser",
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Seconds until it answers."""
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while time.perf_counter() - begun < PATIENCE:
            with suppress(SemascopeError):
                Client(self.address).info()
                return time.perf_counter() - begun
            time.sleep(0.2)
        raise SystemExit(f"{' '.join(self.command)} did not answer in {PATIENCE:.0f} s.")

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Person:
    """Someone with pictures of their own, and what they were told."""

    number: int
    monitor: Client
    asks: list[ChatAsk] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    """What each question was answered when nobody else was there."""
    session: str = ""
    kept: list[str] = field(default_factory=list)
    """What the server said it has kept."""
    waits: list[float] = field(default_factory=list)
    crossed: int = 0
    asked_again: int = 0

    def prepare(self) -> None:
        """Upload pictures, ask everything once, begin a conversation."""
        corpus = SceneCorpus(2**30, seed=90_000 + self.number, split="heldout")
        for n, question in enumerate(QUESTIONS):
            buffer = io.BytesIO()
            corpus.scene(n)[0].image.save(buffer, "PNG")
            picture = self.monitor.upload(buffer.getvalue()).media
            message = Message(role="user", text=question, pictures=[picture])
            self.asks.append(ChatAsk(messages=[message], max_new_tokens=24))
        self.alone = [self.ask(ask) for ask in self.asks]
        self.session = self.monitor.add_session(self.body()).id

    def ask(self, question: ChatAsk) -> str:
        """The whole answer."""
        (answer,) = [e for e in self.monitor.chat(question) if isinstance(e, Answered)]
        return answer.text

    def body(self, *more: str) -> SessionBody:
        """The conversation as the page would keep it."""
        return SessionBody(title=f"person {self.number}", body={"said": [*self.kept, *more]})

    def talk(self, until: float) -> None:
        """Ask and keep until the time is over; begin again where the server went away."""
        turn = 0
        while time.perf_counter() < until:
            at = turn % len(self.asks)
            begun = time.perf_counter()
            text = self._answered(at, until + PATIENCE)
            self.waits.append(time.perf_counter() - begun)
            self.crossed += int(text != self.alone[at])
            with suppress(SemascopeError):  # what was not said to be kept may be lost
                self.monitor.save_session(self.session, self.body(text))
                self.kept.append(text)
            turn += 1

    def _answered(self, at: int, until: float) -> str:
        while True:
            try:
                return self.ask(self.asks[at])
            except (SemascopeError, ValueError):
                if time.perf_counter() > until:
                    raise
                self.asked_again += 1
                time.sleep(0.5)

    def lost(self) -> bool:
        """Whether something that was kept is not there any more."""
        there = self.monitor.session(self.session).body["said"]
        return list(there)[: len(self.kept)] != self.kept


def main(
    workspace: str = "workspace/demo", people: int = 8, minutes: float = 5.0
) -> dict[str, Any]:
    """Measure; the record of ``make bench``."""
    if not (Path(workspace) / "run.json").is_file():
        return {"skipped": f"there is no run in {workspace}: make demo SERVE=0 makes one"}
    server = Server(Path(workspace))
    try:
        first = server.start()
        crowd = [Person(n, Client(server.address)) for n in range(people)]
        for person in crowd:
            person.prepare()
        again: list[float] = []

        def killed() -> None:
            server.kill()
            again.append(server.start())

        until = time.perf_counter() + 60 * minutes
        timer = threading.Timer(30 * minutes, killed)
        timer.start()
        with ThreadPoolExecutor(people) as pool:
            list(pool.map(lambda person: person.talk(until), crowd))
        timer.join()
        return {
            **told(crowd),
            "seconds_to_start": first,
            "seconds_to_start_again": again[0],
            "minutes": minutes,
        }
    finally:
        server.kill()


def told(crowd: Sequence[Person]) -> dict[str, Any]:
    """What became of everybody."""
    waits = np.concatenate([person.waits for person in crowd])
    return {
        "people": len(crowd),
        "answers": len(waits),
        "answers_crossed": sum(person.crossed for person in crowd),
        "conversations_lost": sum(person.lost() for person in crowd),
        "answers_kept": sum(len(person.kept) for person in crowd),
        "asked_again": sum(person.asked_again for person in crowd),
        "seconds_waited_p50": float(np.quantile(waits, 0.5)),
        "seconds_waited_p95": float(np.quantile(waits, 0.95)),
        "fewest_answers_of_one": min(len(person.waits) for person in crowd),
        "most_answers_of_one": max(len(person.waits) for person in crowd),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", default="workspace/demo", help="a run that was gathered")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    figures = main(options.workspace, options.people, options.minutes)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(f"{name:26}{value}" for name, value in figures.items()))
