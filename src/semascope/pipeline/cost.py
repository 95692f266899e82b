"""What explaining a workspace's features would cost, before anything is asked.

The pilot is a few alive features, spread evenly; which explainer, address and price are the
options'. Nothing is written, and no server is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semascope.pipeline import readings
from semascope.pipeline.explainers import PROMOTED, make, reading, vocabulary
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages.explain import FREE, READER, asked_few, count

if TYPE_CHECKING:
    from semascope.evidence.types import FeatureEvidence
    from semascope.explain.cost_plan import CostPlan, Rates
    from semascope.explain.types import Explainer

FREE_PILOT, ASKED_PILOT = PROMOTED, 16
"""Features that a plan looks at, for a namer that asks no model and for one that does. The first
reads promoted tokens in blocks: less than a block would be charged for a whole one. Of fewer than
sixteen none may have pictures, and a model that is asked about these would seem to cost nothing."""


def plans(run: Run, rates: Rates, pilot: int = 0) -> dict[str, list[CostPlan]]:
    """By explainer of the options: for what this run would ask, for all alive features, for
    131,072 and for 34 million, were each explained so.

    ``pilot`` overrules how many features are looked at; 0 leaves it to the explainer. Raises
    EvidenceError where nothing was gathered, ExplainError where no feature is alive.
    """
    from semascope.explain.cost_plan import WIDTHS, plan

    alive = run.evidence.alive().tolist()
    _warm(run, alive)
    found = {}
    for name in run.options.explain.explainers:
        wanted = pilot or (FREE_PILOT if name == FREE else ASKED_PILOT)
        step = 1 if name == FREE else max(1, len(alive) // wanted)
        records = [run.evidence.feature(i) for i in alive[::step][:wanted]]
        asked = count(run, name, alive) if asked_few(name) else len(alive)
        first = plan(asked, _explainer(run, name, records), records, rates)
        found[name] = [first, *(first.at(n, rates.servers) for n in (len(alive), *WIDTHS))]
    return found


def _explainer(run: Run, name: str, records: Sequence[FeatureEvidence]) -> Explainer:
    """By name; the reader reads these few features alone."""
    if name == READER:
        return reading(run, readings.pilot(run, records))
    return make(name, run)


def _warm(run: Run, alive: Sequence[int]) -> None:
    """Do once what is done once a run, so that the pilot's seconds are of features alone."""
    _ = run.unembedding
    vocabulary(run).explain([run.evidence.feature(i) for i in alive[:1]])


def as_json(found: Mapping[str, list[CostPlan]]) -> dict[str, Any]:
    """Plans as JSON values; an unknown time is null."""
    return {name: [_one(p) for p in some] for name, some in found.items()}


def _one(p: CostPlan) -> dict[str, Any]:
    return {
        "features": p.features,
        **{k: (v if v == v else None) for k, v in asdict(p.total).items()},
        "hours": p.hours if p.hours == p.hours else None,
        "measured": p.measured,
        "pilot": p.pilot,
        "shares": dict(p.shares),
    }
