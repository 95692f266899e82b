"""What is known: features, exemplars, explanations, scores, notes, pictures, vectors, search.

Knows no model and no tensor.
"""

from semascope.atlas.atlas import Atlas
from semascope.atlas.embed import Embedder, HashingEmbedder, embedder
from semascope.atlas.feature_map import Drawn, Region, draw
from semascope.atlas.media import Media
from semascope.atlas.records import (
    DictionaryRow,
    ExemplarRecord,
    ExplanationRow,
    FeatureDetail,
    FeatureFigures,
    FeatureMap,
    FeatureRow,
    Page,
    SampleRecord,
    ScoreRow,
    StoredExemplar,
    StoredSample,
)
from semascope.atlas.search import Match, search_features, write_vectors
from semascope.atlas.vectors import VectorIndex

__all__ = [
    "Atlas",
    "DictionaryRow",
    "Drawn",
    "Embedder",
    "ExemplarRecord",
    "ExplanationRow",
    "FeatureDetail",
    "FeatureFigures",
    "FeatureMap",
    "FeatureRow",
    "HashingEmbedder",
    "Match",
    "Media",
    "Page",
    "Region",
    "SampleRecord",
    "ScoreRow",
    "StoredExemplar",
    "StoredSample",
    "VectorIndex",
    "draw",
    "embedder",
    "search_features",
    "write_vectors",
]
