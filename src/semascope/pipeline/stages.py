"""The five stages by name: what decides each, where its output lies, what makes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from semascope.config import StageName
from semascope.pipeline.context import Run
from semascope.pipeline.stage import Stage


def stage(name: StageName, run: Run) -> Stage:
    """The stage ``name`` of a run."""
    return _MAKERS[name](run)


def _train(run: Run) -> Stage:
    from semascope.pipeline.training import train_dictionary

    options = run.options.train
    return Stage(
        name="train",
        work=partial(train_dictionary, run),
        options=options.binding(),
        check=run.check,
        outputs=(run.workspace.dictionary(options.site, options.name),),
    )


_MAKERS: dict[StageName, Callable[[Run], Stage]] = {"train": _train}
