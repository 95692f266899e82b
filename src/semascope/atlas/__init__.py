"""What is known: features, exemplars, explanations, scores, notes, pictures, vectors, search.

Knows no model and no tensor.
"""

from semascope.atlas.atlas import Atlas
from semascope.atlas.embed import Embedder, HashingEmbedder, embedder
from semascope.atlas.feature_map import MapLayout, MapRegion, draw
from semascope.atlas.media import Media
from semascope.atlas.records import (
    DictionaryRow,
    ExplanationRow,
    FeatureDetail,
    FeatureFigures,
    FeatureListRow,
    FeatureMap,
    NewExemplar,
    Page,
    SampleRecord,
    ScoreRow,
    StoredExemplar,
    StoredSample,
)
from semascope.atlas.search import Match, nearest_features, search_features, write_vectors
from semascope.atlas.vectors import VectorIndex

__all__ = [
    "Atlas",
    "DictionaryRow",
    "Embedder",
    "ExplanationRow",
    "FeatureDetail",
    "FeatureFigures",
    "FeatureListRow",
    "FeatureMap",
    "HashingEmbedder",
    "MapLayout",
    "MapRegion",
    "Match",
    "Media",
    "NewExemplar",
    "Page",
    "SampleRecord",
    "ScoreRow",
    "StoredExemplar",
    "StoredSample",
    "VectorIndex",
    "draw",
    "embedder",
    "nearest_features",
    "search_features",
    "write_vectors",
]
