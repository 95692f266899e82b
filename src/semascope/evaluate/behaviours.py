"""The benchmark of behaviours: is a set of features found for each, and what does it cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from semascope.causal.search.behaviours import (
    _QUIET,
    BEHAVIOURS,
    NamedObject,
    Progress,
    Search,
    _facts,
    goal_for,
    own_answers,
)
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
    """A finding for each behaviour, and how many were found that work on held-out prompts.

    An object is to be named where nothing asks for it; what its set costs (``on_other_pictures``)
    where plain questions are asked about pictures of other things is told beside, and is no limit.
    """
    told: dict[str, Any] = {}
    for name in names:
        if name == "word" and not steerable.subject.has_vision:
            continue
        goal = goal_for(steerable, name, search, thing=thing, seed=seed)
        found = find(
            steerable, goal, options or SearchOptions(seed=seed), ledger=ledger, progress=progress
        )
        told[name] = {"wish": goal.text, **found.as_json()}
        if name == "object" and steerable.subject.has_vision and found.best:
            facts = own_answers(steerable, _facts(_QUIET // 2))
            told[name]["on_other_pictures"] = side_effects(steerable, found.best, facts).as_json()
    return {"behaviours": told, "found": sum(row["found"] for row in told.values())}
