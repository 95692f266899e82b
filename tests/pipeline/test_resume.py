"""A run that is killed at any stage ends with the numbers of one that is not.

The kills are real (SIGKILL, no handler runs), each in a process of its own that is forked from a
server which has only imported, so that a dozen of them take seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semascope.config import (
    STAGES,
    ExplainOptions,
    GatherOptions,
    RunOptions,
    TrainOptions,
)
from semascope.pipeline import run
from semascope.pipeline.stages.base import SilentReporter, StageProgress
from semascope.workspace import RunRecord, Workspace

WORDS = [
    "cat",
    "dog",
    "sun",
    "moon",
    "tree",
    "river",
    "stone",
    "bird",
    "fish",
    "cloud",
    "bread",
    "lamp",
    "door",
    "glass",
]
KILLS = {"train": 30, "gather": 2, "explain": 5, "score": 1, "index": 4}
"""At which report of each stage the process dies."""
PRELOADED = [
    "semascope.atlas",
    "semascope.corpus.scenes",
    "semascope.evidence.store.publish",
    "semascope.explain.explainers.cascade",
    "semascope.explain.scorers.iou",
    "semascope.explain.explainers.self_naming",
    "semascope.explain.explainers.vocabulary",
    "semascope.pipeline.stages.index",
    "semascope.pipeline.stages.train",
    "semascope.subject.testing",
]


class Killer(SilentReporter):
    """Kills the process at the n-th report of one stage."""

    def __init__(self, stage: str, reports: int) -> None:
        self.stage, self.left = stage, reports

    def begin(self, stage: str, note: str) -> StageProgress:
        def told(done: int, total: int, note: str = "") -> None:
            if stage == self.stage:
                self.left -= 1
                if self.left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        return told


def options(corpus: str) -> RunOptions:
    """A run of seconds."""
    return RunOptions(
        train=TrainOptions(
            subject="tiny:llava",
            site="resid_post.0",
            corpus=corpus,
            tokens=4800,
            latents=64,
            k=4,
            rows=16,
            lr=0.01,
        ),
        gather=GatherOptions(samples=96, batch=8),
        explain=ExplainOptions(explainers=("vocabulary", "subject"), ask=2),
    )


def attempt(folder: str, corpus: str, stage: str, reports: int) -> None:
    """One process: run until done, or until the kill."""
    import torch

    from semascope.atlas import HashingEmbedder, search
    from semascope.pipeline.stages import explain, train

    torch.set_num_threads(1)
    train.BATCH, train.BLOCK, train.CHECKPOINT = 96, 480, 8  # 50 steps, in small blocks
    explain.FREE_BLOCK = 16
    search.embedder = HashingEmbedder  # type: ignore[assignment]  # quick to load
    run(Workspace(folder), options(corpus), reporter=Killer(stage, reports))


def in_process(*args: Any) -> int:
    """Exit code of one attempt; −9 when it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=attempt, args=args)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Scenes, and texts of a few words."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "words.jsonl"
    texts = [" ".join(draw.choices(WORDS, k=4)) for _ in range(240)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return f"scenes?n=60+{path}"


def figures(record: RunRecord) -> dict[str, Any]:
    """All that was measured, but for what an explanation took in seconds."""
    found = {name: dict(stage.figures) for name, stage in record.stages.items()}
    for stage in found.values():
        if "cost" in stage:
            stage["cost"] = {k: v for k, v in stage["cost"].items() if k != "seconds"}
    return found


def words(folder: Path) -> list[dict[str, Any]]:
    """What was said of every feature, by whom, how surely, and what was refined of it."""
    lines = [
        json.loads(line)
        for path in sorted((folder / "explanations").rglob("part-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return [{k: v for k, v in line.items() if k != "cost"} for line in lines]


def compare(whole: Path, killed: Path, path_of: Callable[[Path], Path]) -> None:
    """One file, the same to the bit."""
    assert path_of(whole).read_bytes() == path_of(killed).read_bytes()


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_with_the_same_numbers(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost steps, doubled samples or another order would show in the weights or the figures."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert in_process(str(whole), corpus, "", 0) == 0
    for stage in STAGES:
        assert in_process(str(killed), corpus, stage, KILLS[stage]) == -signal.SIGKILL, stage
        record = Workspace(killed).record().stages[stage]
        assert not record.done
        assert record.seconds >= 0
    assert in_process(str(killed), corpus, "", 0) == 0
    first, second = Workspace(whole).record(), Workspace(killed).record()
    assert figures(first) == figures(second)
    assert second.stages["explain"].figures["features_explained"] > 0
    assert all(stage.done and stage.starts == 2 for stage in second.stages.values())
    compare(whole, killed, lambda w: w / "dictionaries/resid_post.0/main/sae.safetensors")
    compare(whole, killed, lambda w: w / "evidence/resid_post.0/main/stats.safetensors")
    assert words(whole) == words(killed)
    assert not list(killed.rglob("*.tmp"))
    before = Workspace(killed).run_file.read_bytes()

    def nothing(*_: object, **__: object) -> None:
        raise AssertionError("a run that stands must open in seconds: no model is loaded for it")

    monkeypatch.setattr("semascope.pipeline.run_context.load_subject", nothing)
    run(Workspace(killed), options(corpus))
    assert Workspace(killed).run_file.read_bytes() == before
