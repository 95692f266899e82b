"""What each feature does: attribution, steering, and the features that change an answer.

Stands on subject, corpus, dictionary and evidence; knows no page and no command line.
"""

from semascope.causal.compare import Comparison, Shift, compare
from semascope.causal.edits import edits_for
from semascope.causal.interventions import Intervention, Region, Where, dump, load, parse, save

__all__ = [
    "Comparison",
    "Intervention",
    "Region",
    "Shift",
    "Where",
    "compare",
    "dump",
    "edits_for",
    "load",
    "parse",
    "save",
]
