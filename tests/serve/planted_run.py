"""A whole small run, some features of which are told in words by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from semascope.atlas import HashingEmbedder, write_vectors
from semascope.config import ExplainOptions, GatherOptions, RunOptions, TrainOptions
from semascope.evidence.store.publish import publish
from semascope.pipeline import run as run_stages
from semascope.pipeline.run_context import Run
from semascope.workspace import Workspace

KEY = "resid_post.1/main"
LABELS = ("red circle", "blue square", "a dog")


def planted_run(folder: Path) -> Workspace:
    """Trained on a handful of scenes; three features are given words and figures by hand."""
    space = Workspace(folder)
    options = RunOptions(
        train=TrainOptions(
            subject="tiny:llava", site="resid_post.1", corpus="scenes?n=40", tokens=600,
            latents=32, k=4, rows=8, max_tokens=128,
        ),
        gather=GatherOptions(samples=24, top=6, batch=8),
        explain=ExplainOptions(explainers=("vocabulary",)),
    )  # fmt: skip
    run_stages(space, options, until="gather")
    run = Run(space, options)
    number = publish(run.evidence, run.atlas)
    alive = run.evidence.alive().tolist()[: len(LABELS)]
    words = [
        SimpleNamespace(
            feature=f, label=label, description=f"Shows {label}.", category="object",
            confidence=0.9, abstained=False, author="hand", prompt_version="1", inputs="", cost={},
        )
        for f, label in zip(alive, LABELS, strict=True)
    ]  # fmt: skip
    figures = [
        SimpleNamespace(
            feature=f, kind="iou", value=0.3 * (n + 1), baseline=0.1, low=0.0, high=float("nan"),
            evidence={"n": 4}, author="hand",
        )
        for n, f in enumerate(alive)
    ]  # fmt: skip
    run.atlas.write_explanations(number, words)
    run.atlas.write_scores(number, figures)
    write_vectors(run.atlas, number, space.vectors / KEY, HashingEmbedder())
    run.atlas.close()
    return space
