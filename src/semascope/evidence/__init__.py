"""What each feature responds to: exemplars, counter-examples, intervals, histograms, co-firing.

One pass over a corpus for all features of all dictionaries, in memory that does not grow with
the corpus. Knows subjects and dictionaries by their protocols; knows no database.
"""

from semascope.evidence.gathering import Gatherer, gather
from semascope.evidence.plan import Options
from semascope.evidence.publish import publish
from semascope.evidence.store import Evidence, Neighbour, dictionaries
from semascope.evidence.types import Exemplar, FeatureEvidence, Shown

__all__ = [
    "Evidence",
    "Exemplar",
    "FeatureEvidence",
    "Gatherer",
    "Neighbour",
    "Options",
    "Shown",
    "dictionaries",
    "gather",
    "publish",
]
