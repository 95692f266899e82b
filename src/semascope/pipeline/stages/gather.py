"""The second stage: evidence for every feature of every dictionary of the run, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semascope.pipeline import readings
from semascope.pipeline.accounts.samples import CountedCorpus, CountingSubject
from semascope.pipeline.activation_cache import CachedSubject
from semascope.pipeline.run_context import Run, recorded
from semascope.pipeline.stages.base import StageProgress

if TYPE_CHECKING:
    from semascope.evidence import EvidenceOptions, Gatherer
    from semascope.evidence.gathering.datatrove import DatatroveStep
    from semascope.evidence.store.logit_lens_store import LogitLensStore

CHECKPOINT = 256
"""Rows between two whole states: what a kill may lose."""


def gather_evidence(run: Run, progress: StageProgress) -> Mapping[str, Any]:
    """Gather, or go on; count what is alive in the dictionary that the later stages read."""
    progress(0, 1, "loading the subject and the dictionaries")
    work = gatherer(run, progress)
    if not work.done():  # by several machines, perhaps: see ``step``
        work.run()
        work.merge()
    account = run.account("gather")
    read = account.total(run.opened)
    skipped = sum(read.get("skipped", {}).values())
    read_out(run, progress)
    if "reader" in run.options.explain.explainers:
        progress(0, 1, "activations at the peaks of exemplars")
        readings.keep_vectors(run)
    run.memory.forget()
    account.forget()
    alive = len(run.evidence.alive())
    width = run.evidence.width
    return {
        "samples": len(run.evidence_corpus()),
        "tokens": run.evidence.tokens(),
        "features_alive": alive,
        "dead_fraction": 1 - alive / width,
        "skipped": skipped,
        "read": read,
    }


def read_out(run: Run, progress: StageProgress) -> LogitLensStore:
    """Output tokens and neurons of every feature; the model is loaded only where they are not
    there yet, as in a run that was gathered before they were looked for."""
    from semascope.evidence.store import logit_lens_store

    found = logit_lens_store.read(run.evidence)
    if found is not None:
        return found
    return logit_lens_store.write(
        run.evidence,
        run.reader,
        run.dictionary,
        run.evidence_corpus(),
        options=_options(run),
        progress=progress,
    )


def gatherer(run: Run, progress: StageProgress | None = None) -> Gatherer:
    """All that a shard of the run's evidence needs; loads the subject and the dictionaries."""
    from semascope.evidence import Gatherer

    subject = CachedSubject(run.reader, run.memory) if len(run.memory) else run.reader
    account = run.account("gather")
    return Gatherer(
        CountingSubject(subject, account),
        CountedCorpus(run.evidence_corpus(), account),
        _members(run),
        run.workspace.evidence(),
        media=run.workspace.media,
        options=_options(run),
        progress=progress,
        every=CHECKPOINT,
        store_all=run.options.gather.store_all,
    )


def step(workspace: Path | str) -> DatatroveStep:
    """A trained workspace's gathering as a step of a datatrove pipeline: see ``executors``.

    When every rank is done, ``step(workspace).merge(world_size)``; then ``semascope gather``
    finds the evidence there.
    """
    from semascope.evidence.gathering.datatrove import DatatroveStep

    return DatatroveStep(partial(_gatherer_of, Path(workspace)))


def _gatherer_of(folder: Path) -> Gatherer:
    from semascope.workspace import Workspace

    workspace = Workspace(folder)
    workspace.require("train")
    return gatherer(Run(workspace, recorded(workspace)))


def _options(run: Run) -> EvidenceOptions:
    from semascope.evidence import EvidenceOptions

    gather, train = run.options.gather, run.options.train
    return EvidenceOptions(
        top=gather.top,
        batch_size=gather.batch,
        max_tokens=train.max_tokens,
        outlier=gather.outlier,
        seed=train.seed,
    )


def _members(run: Run) -> list[Any]:
    """Every dictionary that the run trained, the one that later stages read first."""
    from semascope.dictionary import load

    chosen = run.options.chosen()
    others = [
        load(run.workspace.dictionary(site, name))
        for site, name, _ in run.options.train.dictionaries()
        if (site, name) != chosen
    ]
    return [run.dictionary, *others]
