"""The second stage: evidence for every feature, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semascope.pipeline.context import Run
from semascope.pipeline.rows import Subset, evidence_rows
from semascope.pipeline.stage import Progress

CHECKPOINT = 256
"""Rows between two whole states: what a kill may lose."""


def gather_evidence(run: Run, progress: Progress) -> Mapping[str, Any]:
    """Gather, or go on; count what is alive."""
    from semascope.evidence import Options, gather

    options, train = run.options.gather, run.options.train
    progress(0, 1, "loading the subject and the dictionary")
    rows = evidence_rows(run.corpus, train.seed, options.samples)
    gather(
        run.subject,
        Subset(run.corpus, rows),
        [run.dictionary],
        run.workspace.evidence(),
        media=run.workspace.media,
        options=Options(
            top=options.top,
            batch_size=options.batch,
            max_tokens=train.max_tokens,
            seed=train.seed,
        ),
        progress=progress,
        every=CHECKPOINT,
    )
    alive = len(run.evidence.alive())
    width = run.evidence.width
    return {
        "samples": len(rows),
        "tokens": run.evidence.tokens(),
        "features_alive": alive,
        "dead_fraction": 1 - alive / width,
        "skipped": run.corpus.skipped.total,
    }
