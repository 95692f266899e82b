"""The hallucination benchmark: wrong answers counted, explained, and fixed by a searched set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from semascope.causal.search.cases import Case, Progress, halves, spread
from semascope.causal.search.find import find
from semascope.causal.search.goal import SearchOptions, SearchResult
from semascope.causal.search.ledger import Ledger
from semascope.causal.search.presence import presence_goal
from semascope.causal.search.trials import CachedRuns
from semascope.causal.steering.controls import as_controls
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.evaluate.hallucination import (
    Blame,
    Examination,
    blame,
    examine,
    share_fixed,
)
from semascope.evaluate.reconstruction import reconstruction_only
from semascope.subject.types import Edits


def evaluate_hallucination(
    steerable: SteerableModel,
    *,
    seed: int = 0,
    samples: int = 200,
    options: SearchOptions | None = None,
    split: str = "heldout",
    cases: Sequence[Case] | None = None,
    explained: int = 3,
    on_blame: Callable[[Blame], Any] | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask what is present and what is not, and measure how many hallucinations a set fixes.

    Half of the pictures, by id, choose the features. Figures are of the other half: all of its
    wrong answers and ``options.kept`` of its right ones. Twice as many other questions about these
    pictures (objects, flags on a map, the written word) are protected: right answers must stay.

    Args:
        steerable: with statistics.
        seed: random seed of the scenes.
        samples: scenes to draw.
        options: limits of the search.
        split: split of the scenes.
        cases: the user's own cases (POPE, HallusionBench) instead of scenes.
        explained: number of held-out wrong answers to explain.
        on_blame: called with each explanation; the report keeps what it returns as ``picture``.
        ledger: finished parts, to resume from.
        progress: called with (done, total, note).
    """
    options = options or SearchOptions(tokens=4, seed=seed)
    goal = presence_goal(samples, seed=seed, split=split, cases=cases)
    goal = replace(goal, protect=spread(goal.protect, 2 * options.kept))
    cases = [*goal.cases, *goal.protect]
    _, held = halves(cases)  # by picture, as ``find`` splits
    controls: dict[str, Edits] = {
        "no-op": {},
        "reconstruction": reconstruction_only(steerable.dictionaries.values()),
    }
    runs = CachedRuns(steerable, ledger or Ledger())
    result = find(steerable, goal, options, runs=runs, progress=progress)
    examined = partial(
        examine, steerable, max_new_tokens=options.tokens, ledger=ledger, progress=progress
    )
    before = examined(held, {}, plain=runs.plain_answers(held, options.tokens, progress))
    arms = {**controls, **_searched_arms(steerable, result, seed)}
    fewer = before.fewer(options.kept)
    after = examined(fewer, arms, plain=runs.plain_answers(fewer, options.tokens))
    return {
        **_arm_figures(before, after),
        "wrong": _explained(steerable, after, explained, on_blame),
        "finding": result.as_json(),
        "samples": len({case.sample.id for case in cases}),
        "split": split,
        "seed": seed,
    }


def _arm_figures(before: Examination, after: Examination) -> dict[str, Any]:
    """The unsteered model's accuracy, and what each arm fixes and breaks."""
    return {
        "base": before.by_kind(),
        "arms": after.table(),
        "mended": {arm.name: share_fixed(after, arm.name).as_json() for arm in after.arms},
        "broken": after.broken_by(),
        "accuracy": after.accuracies(before),
    }


def _searched_arms(steerable: SteerableModel, result: SearchResult, seed: int) -> dict[str, Edits]:
    """Edits of the set that was found, and of random features in its place.

    If no set is good enough, the best that was tried, as ``best tried``.
    """
    interventions = result.interventions or result.best
    if not interventions:
        return {}
    return {
        "found" if result.found else "best tried": steerable.edits(interventions),
        "random": steerable.edits(as_controls(steerable, interventions, seed)),
    }


def _explained(
    steerable: SteerableModel,
    after: Examination,
    count: int,
    on_blame: Callable[[Blame], Any] | None,
) -> list[dict[str, Any]]:
    """The first wrong answers, each with the features of image and text that promoted it."""
    pairs = zip(after.cases, after.base.answers, after.base.right, strict=True)
    wrong = ((case, text) for case, text, right in pairs if not right and case.wanted)
    rows = []
    for case, text in islice(wrong, count):
        explanation = blame(steerable, case, text)
        row = explanation.as_json()
        if on_blame is not None:
            row["picture"] = on_blame(explanation)
        rows.append(row)
    return rows
