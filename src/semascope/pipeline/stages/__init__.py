"""The five stages by name: what decides each, where its output lies, what makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from semascope.config import StageName
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages.base import Stage, StageProgress


def stage(name: StageName, run: Run) -> Stage:
    """The stage ``name`` of a run."""
    return _MAKERS[name](run)


def _train(run: Run) -> Stage:
    from semascope.pipeline.checks import check_and_sign

    def work(progress: StageProgress) -> Mapping[str, Any]:
        from semascope.pipeline.stages.train import train_dictionary  # imports torch

        return train_dictionary(run, progress)

    options = run.options.train
    return Stage(
        name="train",
        work=work,
        options=options.binding(),
        check=partial(check_and_sign, run),
        outputs=tuple(run.workspace.dictionary(site, name) for site, name, _ in options.trained()),
        needs=tuple(
            run.workspace.dictionary(wires.site, name) for wires, name in options.brought()
        ),
    )


def _gather(run: Run) -> Stage:
    from semascope.pipeline.stages.gather import gather_evidence

    return Stage(
        name="gather",
        work=partial(gather_evidence, run),
        options=run.options.gather.binding(),
        check=run.choose,
        outputs=(run.workspace.evidence(),),
    )


def _explain(run: Run) -> Stage:
    from semascope.pipeline.stages.explain import explain_features, folder

    return Stage(
        name="explain",
        work=partial(explain_features, run),
        options=run.options.explain.binding(),
        outputs=(folder(run),),
    )


def _score(run: Run) -> Stage:
    from semascope.pipeline.stages.score import folder, score_words

    return Stage(
        name="score",
        work=partial(score_words, run),
        options=run.options.score.binding(),
        outputs=(folder(run),),
    )


def _index(run: Run) -> Stage:
    from semascope.pipeline.stages.index import folder, forget, index_run

    return Stage(
        name="index",
        work=partial(index_run, run),
        options={},
        clear=partial(forget, run),
        outputs=(folder(run),),
        needs=(run.workspace.atlas,),
    )


_MAKERS: dict[StageName, Callable[[Run], Stage]] = {
    "train": _train,
    "gather": _gather,
    "explain": _explain,
    "score": _score,
    "index": _index,
}
