"""The benchmark of behaviours: whether features are found for each, and their side effects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from semascope.causal.search.behaviours import (
    BEHAVIOURS,
    QUIET_PROMPTS,
    NamedObject,
    Search,
    factual_questions,
    goal_for,
    own_answers,
)
from semascope.causal.search.cases import Progress
from semascope.causal.search.find import find
from semascope.causal.search.goal import SearchOptions
from semascope.causal.search.ledger import Ledger
from semascope.causal.steering.measure import side_effects
from semascope.causal.steering.steerable_model import SteerableModel


def evaluate_behaviours(
    steerable: SteerableModel,
    search: Search,
    *,
    names: Iterable[str] = BEHAVIOURS,
    thing: NamedObject | None = None,
    seed: int = 0,
    options: SearchOptions | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search for each behaviour, and count the sets that work on held-out prompts.

    An object should be named unprompted. The side effects of its set on plain questions about
    other pictures are reported as ``on_other_pictures``; they are not limited.

    Args:
        steerable: with statistics.
        search: features for words, best first.
        names: which behaviours.
        thing: the object to name.
        seed: random seed of the scenes.
        options: limits of the search.
        ledger: finished parts, to resume from.
        progress: called with (done, total, note).
    """
    results: dict[str, Any] = {}
    for name in names:
        if name == "word" and not steerable.subject.has_vision:
            continue
        goal = goal_for(steerable, name, search, thing=thing, seed=seed)
        result = find(
            steerable, goal, options or SearchOptions(seed=seed), ledger=ledger, progress=progress
        )
        results[name] = {"wish": goal.text, **result.as_json()}
        if name == "object" and steerable.subject.has_vision and result.best:
            facts = own_answers(steerable, factual_questions(QUIET_PROMPTS // 2))
            effects = side_effects(steerable, result.best, facts)
            results[name]["on_other_pictures"] = effects.as_json()
    return {"behaviours": results, "found": sum(row["found"] for row in results.values())}
