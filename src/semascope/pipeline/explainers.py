"""Explainers and scorers by the names that the options use.

A new one is one line in a table here; the stages know none of them in particular.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from semascope.config import RunOptions
from semascope.errors import ExplainError
from semascope.pipeline.context import Run

if TYPE_CHECKING:
    from semascope.explain.types import Explainer, Scorer

Made = TypeVar("Made")


def make(name: str, run: Run) -> Explainer:
    """The explainer by that name.

    Raises ExplainError that lists the names there are.
    """
    return _of(_EXPLAINERS, name, "explainer")(run)


def make_scorers(run: Run) -> list[Scorer]:
    """The scorers that the options name."""
    return [_of(_SCORERS, name, "scorer")(run) for name in run.options.score.scorers]


def check_names(options: RunOptions) -> None:
    """Raise ExplainError for an explainer or scorer that there is not, or that lacks its address:
    before the stages beneath are done, not after."""
    for name in options.explain.explainers:
        _of(_EXPLAINERS, name, "explainer")
    for name in options.score.scorers:
        _of(_SCORERS, name, "scorer")
    if "server" in options.explain.explainers and not (
        options.explain.url and options.explain.model
    ):
        raise ExplainError(
            "The explainer 'server' needs --url, the address of an OpenAI-compatible server such "
            "as http://localhost:8000/v1, and --model, the name of a model there."
        )


def _vocabulary(run: Run) -> Explainer:
    from semascope.explain.vocabulary import VocabularyNamer

    return VocabularyNamer(run.background)


def _subject(run: Run) -> Explainer:
    from semascope.explain.cascade import Cascade
    from semascope.explain.subject_namer import SubjectNamer

    return Cascade([_vocabulary(run), SubjectNamer(run.subject, run.media.open)])


def _server(run: Run) -> Explainer:
    from semascope.explain.cascade import Cascade
    from semascope.explain.client import LMM
    from semascope.explain.lmm_explainer import LMMExplainer

    options = run.options.explain
    lmm = LMM(
        base_url=options.url,
        model=options.model,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        concurrency=options.concurrency,
    )
    return Cascade([_vocabulary(run), LMMExplainer(lmm, run.media.open)])


def _iou(run: Run) -> Scorer:
    from semascope.explain.iou import IoUScorer

    return IoUScorer(seed=run.options.score.seed)


def _detection(run: Run) -> Scorer:
    from semascope.explain.detection import DetectionScorer

    return DetectionScorer(seed=run.options.score.seed)


_EXPLAINERS: dict[str, Callable[[Run], Explainer]] = {
    "vocabulary": _vocabulary,
    "subject": _subject,
    "server": _server,
}
_SCORERS: dict[str, Callable[[Run], Scorer]] = {"iou": _iou, "detection": _detection}


def _of(table: Mapping[str, Made], name: str, what: str) -> Made:
    if name not in table:
        raise ExplainError(f"There is no {what} {name!r}; there are: {', '.join(table)}.")
    return table[name]
