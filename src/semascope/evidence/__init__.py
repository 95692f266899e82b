"""What each feature responds to: exemplars, counter-examples, intervals, histograms, co-firing.

One pass over a corpus for all features of all dictionaries, in memory that does not grow with
the corpus. Knows subjects and dictionaries by their protocols; knows no database.

Names are loaded when first asked for: whoever wants only the records does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semascope.evidence.gathering.gatherer import Gatherer, gather
    from semascope.evidence.gathering.options import EvidenceOptions
    from semascope.evidence.store.evidence import Evidence, NearFeature, dictionaries
    from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence

__all__ = [
    "Evidence",
    "EvidenceOptions",
    "EvidenceSample",
    "Exemplar",
    "FeatureEvidence",
    "Gatherer",
    "NearFeature",
    "dictionaries",
    "gather",
]

_HOMES = {
    "Evidence": "store.evidence",
    "Exemplar": "types",
    "FeatureEvidence": "types",
    "Gatherer": "gathering.gatherer",
    "NearFeature": "store.evidence",
    "EvidenceOptions": "gathering.options",
    "EvidenceSample": "types",
    "dictionaries": "store.evidence",
    "gather": "gathering.gatherer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
