"""What features do: attribution, steering, and the search for features that reach a goal.

``attribution`` scores features by gradients and checks them by ablation; ``steering`` intervenes on
features and measures the effect; ``search`` finds the features that change an answer.
"""

from semascope.causal.attribution.ablation import AblationResult, ablate_exactly
from semascope.causal.attribution.active_features import ActiveFeature, active_features
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.metrics import metric_from
from semascope.causal.attribution.result import Attribution
from semascope.causal.search.cases import Case
from semascope.causal.search.find import find
from semascope.causal.search.goal import Goal, SearchOptions, SearchResult
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
from semascope.causal.steering.steerable_model import SteerableModel

__all__ = [
    "AblationResult",
    "ActiveFeature",
    "Attribution",
    "Case",
    "Comparison",
    "FeatureShare",
    "Goal",
    "Intervention",
    "Region",
    "SearchOptions",
    "SearchResult",
    "Shift",
    "SteerableModel",
    "Where",
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
