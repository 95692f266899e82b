"""What each feature does: attribution, steering, and the features that change an answer.

Stands on subject, corpus, dictionary and evidence; knows no page and no command line. Whoever
needs more than these names takes it from the module that has it: ``metrics``, ``measure``,
``patching``, ``graph``, ``hallucination``, ``files``, ``bars``, ``studies``, ``views``.
"""

from semascope.causal.attribution.ablation import Ablations, ablate_exactly
from semascope.causal.attribution.active_features import Active, active_features
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.metrics import metric_from
from semascope.causal.attribution.result import Attribution, FeatureShare
from semascope.causal.search.cases import Case
from semascope.causal.search.find import find
from semascope.causal.search.goal import Finding, Options, Wish
from semascope.causal.steering.compare import Comparison, Shift, compare
from semascope.causal.steering.edits import edits_for
from semascope.causal.steering.interventions import (
    Intervention,
    Region,
    Where,
    dump,
    load,
    parse,
    save,
)
from semascope.causal.steering.lever import Lever

__all__ = [
    "Ablations",
    "Active",
    "Attribution",
    "Case",
    "Comparison",
    "FeatureShare",
    "Finding",
    "Intervention",
    "Lever",
    "Options",
    "Region",
    "Shift",
    "Where",
    "Wish",
    "ablate_exactly",
    "active_features",
    "attribute",
    "compare",
    "dump",
    "edits_for",
    "find",
    "load",
    "metric_from",
    "parse",
    "save",
]
