"""The benchmark of inventions: found, explained, mended by a searched set, beside controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from semascope.causal.search.cases import Case, halves, spread
from semascope.causal.search.find import find
from semascope.causal.search.goal import SearchOptions, SearchResult
from semascope.causal.search.ledger import Ledger
from semascope.causal.search.presence import presence_goal
from semascope.causal.search.trials import CachedRuns
from semascope.causal.steering.controls import as_controls
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.evaluate.attribution import Progress
from semascope.evaluate.hallucination import (
    Blame,
    Examination,
    blame,
    examine,
    mended,
    reconstruction_only,
)
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
    """Questions about what is there and what is not, and what a found set mends of the inventions.

    Half of the pictures, by their id, choose the features; figures are of the other half: of all
    its wrong answers, and of ``options.kept`` of its right ones. Other questions of these pictures
    (what is there, the flags on a map, the written word), twice as many, are protected: answers
    that were right must stay so.

    Args:
        steerable: with statistics.
        seed: of the scenes.
        samples: scenes to draw.
        options: how hard to look.
        split: of the scenes.
        cases: instead of scenes, cases of the user's own (POPE, HallusionBench).
        explained: how many wrong answers of the held-out half are explained.
        on_blame: told each explanation; what it returns is kept in the report as ``picture``.
        ledger: where parts stand that need not be measured anew.
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
    asked = partial(
        examine, steerable, max_new_tokens=options.tokens, ledger=ledger, progress=progress
    )
    before = asked(held, {}, plain=runs.plain_answers(held, options.tokens, progress))
    arms = {**controls, **_searched_arms(steerable, result, seed)}
    fewer = before.fewer(options.kept)
    after = asked(fewer, arms, plain=runs.plain_answers(fewer, options.tokens))
    return {
        "base": before.by_kind(),
        "arms": after.table(),
        "mended": {name: mended(after, name).as_json() for name in arms},
        "broken": after.broken_by(),
        "accuracy": after.accuracies(before),
        "wrong": _explained(steerable, after, explained, on_blame),
        "finding": result.as_json(),
        "samples": len({case.sample.id for case in cases}),
        "split": split,
        "seed": seed,
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
    """The first wrong answers, each with the features of image and text that are to blame."""
    pairs = zip(after.cases, after.base.answers, after.base.right, strict=True)
    wrong = ((case, text) for case, text, right in pairs if not right and case.wanted)
    rows = []
    for case, text in islice(wrong, count):
        found = blame(steerable, case, text)
        row = found.as_json()
        if on_blame is not None:
            row["picture"] = on_blame(found)
        rows.append(row)
    return rows
