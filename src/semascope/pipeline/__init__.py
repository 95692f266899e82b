"""A run: train, gather, explain, score, index; each stage stands on the one before it.

``run`` does what is left undone. A stage whose output stands returns at once; one that was
stopped goes on; one whose options changed is done anew, and so are those above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from semascope.config import STAGES, RunOptions, StageName
from semascope.errors import SemascopeError
from semascope.pipeline.run_context import Run, recorded
from semascope.pipeline.stages.base import Reporter, SilentReporter, ignore, run_stage
from semascope.workspace import RunRecord, Workspace

__all__ = ["recorded", "run", "search"]


def run(
    workspace: Workspace,
    options: RunOptions,
    *,
    until: StageName = "index",
    reporter: Reporter | None = None,
) -> RunRecord:
    """Do the stages up to ``until``; return ``run.json`` as it then stands.

    Under ``torchrun`` the processes train together, and the first does everything else.

    Raises a ``SemascopeError`` for what the user can mend; what was done before is kept.
    """
    from semascope.pipeline.checks import check_names
    from semascope.pipeline.stages import stage
    from semascope.pipeline.torchrun import TorchrunGroup

    check_names(options)
    reporter = reporter or SilentReporter()
    state = Run(workspace, options)
    with TorchrunGroup(options.train.device) as together:
        if not together.first:
            together.help(partial(_train_beside, state))
            return workspace.record()
        with workspace.lock(), _nothing_half_made(workspace):
            state.settle()
            key = state.beneath()
            for name in STAGES[: STAGES.index(until) + 1]:
                key = run_stage(workspace, stage(name, state), key, reporter)
                if name == "train":
                    together.dismiss()
            return workspace.record()


def _train_beside(state: Run, options: RunOptions) -> None:
    """Train in a process that is not the first, with the options that the first sends."""
    from semascope.pipeline.stages.train import train_dictionary

    state.options = options
    train_dictionary(state, ignore)


@contextmanager
def _nothing_half_made(workspace: Workspace) -> Iterator[None]:
    """A run that fails before it has made anything leaves no workspace that looks like a run."""
    new = not workspace.exists()
    try:
        yield
    except SemascopeError:
        if new:
            workspace.abandon()
        raise


def search(
    workspace: Workspace, query: str, limit: int = 10, where: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Features by meaning, nearest first: id, similarity, label, description, figures.

    ``searching`` has the other ways: by a picture, and by what fires here and not there.
    """
    from semascope.pipeline.feature_search import by_words

    return by_words(workspace, query, limit, where)
