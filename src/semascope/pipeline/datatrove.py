"""Explaining and scoring by many workers: stages that datatrove's executors run.

A stage is a callable ``(data, rank, world_size)`` that can be pickled. Worker r of w does every
w-th block of features, each into a file of its own that is there whole or not at all; a block
that stands is not done again, replies of servers are kept in one cache that all workers share,
and a worker that died is started again and goes on. An explainer that asks a model chooses its
features by the words before it, so each is a stage of its own, after the last has ended.

    begin(workspace, options)
    last = chain(workspace, options, tasks=64, workers=8, logs="logs",
                 executor=SlurmPipelineExecutor, time="10:00:00", partition="cpu")
    last.run()
    # then `semascope score`: it finds every block done, sums up and fills the atlas

datatrove is imported only where an executor is made; any caller may call a stage itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semascope.config import RunOptions, StageName, digest
from semascope.errors import ExplainError, WorkspaceError
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages import stage
from semascope.pipeline.stages.base import SilentReporter, Stage, StageProgress, run_stage
from semascope.pipeline.stages.explain import explain_share, folder
from semascope.pipeline.stages.parts import Parts
from semascope.workspace import Workspace

SHARDED: tuple[StageName, ...] = ("explain", "score")


class _BegunError(Exception):
    """Ends a stage right after it was begun: the workers do the rest."""


def begin(workspace: Workspace, options: RunOptions) -> None:
    """Do the stages beneath, clear what is stale, and sign the run with these options.

    Once, before the workers start: they look at files alone. Raises what a run raises.
    """
    from semascope import pipeline
    from semascope.pipeline.checks import check_names

    check_names(options)
    pipeline.run(workspace, options, until="gather")
    with workspace.lock():
        run = Run(workspace, options)
        key = workspace.record().stages["gather"].hash
        for name in SHARDED:
            key = _open(workspace, stage(name, run), key)


def _open(workspace: Workspace, made: Stage, beneath: str) -> str:
    """Begin a stage, and leave it to others to do; its hash."""

    def stop(progress: StageProgress) -> Mapping[str, Any]:
        raise _BegunError

    with suppress(_BegunError):
        run_stage(workspace, replace(made, work=stop), beneath, SilentReporter())
    return digest(made.name, dict(made.options), beneath)


@dataclass(frozen=True)
class ExplainShard:
    """One explainer over one worker's share of the features."""

    root: Path
    options: RunOptions
    explainer: str

    def __call__(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """A datatrove pipeline step that passes nothing on.

        Raises ExplainError where an explainer before it is not done.
        """
        run = _run(self.root, self.options, rank)
        order = self.options.explain.explainers
        for earlier in order[: order.index(self.explainer)]:
            _check_done(run, earlier)
        alive = [int(i) for i in run.evidence.alive()]
        for _ in explain_share(run, self.explainer, alive, rank, world_size):
            pass
        yield from ()


@dataclass(frozen=True)
class ScoreShard:
    """All scorers over one worker's share of the features."""

    root: Path
    options: RunOptions

    def __call__(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """A datatrove pipeline step that passes nothing on.

        Raises ExplainError where an explainer is not done.
        """
        from semascope.pipeline.stages.score import score_share

        run = _run(self.root, self.options, rank)
        for name in self.options.explain.explainers:
            _check_done(run, name)
        for _ in score_share(run, rank, world_size):
            pass
        yield from ()


def steps(workspace: Workspace, options: RunOptions) -> list[Callable[..., Iterator[Any]]]:
    """The stages in order: every explainer, then the scorers."""
    root = workspace.root.resolve()
    made: list[Callable[..., Iterator[Any]]] = [
        ExplainShard(root, options, name) for name in options.explain.explainers
    ]
    return [*made, ScoreShard(root, options)]


def chain(
    workspace: Workspace,
    options: RunOptions,
    *,
    tasks: int,
    logs: Path | str,
    executor: Any = None,
    **more: Any,
) -> Any:
    """datatrove executors, each waiting for the one before; ``run()`` the one that is returned.

    ``executor``: LocalPipelineExecutor where none is given, or SlurmPipelineExecutor,
    RayPipelineExecutor with what they want in ``more``. Raises WorkspaceError where datatrove is
    not installed.
    """
    executor = executor or _local()
    last = None
    for step in steps(workspace, options):
        name = getattr(step, "explainer", "score")
        last = executor(
            pipeline=[step], tasks=tasks, logging_dir=str(Path(logs) / name), depends=last, **more
        )
    return last


def _local() -> Any:
    try:
        from datatrove.executor import LocalPipelineExecutor
    except ImportError as error:
        raise WorkspaceError(
            "Many workers need datatrove: pip install datatrove. One worker needs nothing: "
            "semascope explain, semascope score."
        ) from error
    return LocalPipelineExecutor


def _run(root: Path, options: RunOptions, rank: int) -> Run:
    run = Run(Workspace(root), options)
    run.rank = rank
    return run


def _check_done(run: Run, name: str) -> None:
    """Every block of an explainer stands: what comes after it chooses by its words."""
    from semascope.pipeline.stages import explain

    features = explain.count(run, name, run.evidence.alive().tolist())
    parts = Parts(folder(run) / name)
    missing = [n for n in range(-(-features // explain.block_size(name))) if n not in parts]
    if missing:
        raise ExplainError(
            f"The explainer {name!r} has {len(missing)} blocks left to do: run its stage to the "
            "end first, with all its workers."
        )
