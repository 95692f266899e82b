"""What each feature does: attribution, steering, and the features that change an answer.

Stands on subject, corpus, dictionary and evidence; knows no page and no command line. Whoever
needs more than these names takes it from the module that has it: ``metrics``, ``measure``,
``patching``, ``graph``, ``hallucination``, ``files``, ``bars``, ``studies``, ``views``.
"""

from semascope.causal.ablation import Ablations, ablate_exactly
from semascope.causal.activation import Active, active_features
from semascope.causal.attribution import attribute
from semascope.causal.cases import Case
from semascope.causal.compare import Comparison, Shift, compare
from semascope.causal.edits import edits_for
from semascope.causal.find import find
from semascope.causal.interventions import Intervention, Region, Where, dump, load, parse, save
from semascope.causal.measure import Lever
from semascope.causal.metrics import metric_from
from semascope.causal.record import Attribution, FeatureShare
from semascope.causal.wish import Finding, Options, Wish

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
