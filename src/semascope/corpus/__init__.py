"""What a subject reads: samples with pictures, text or both, and sometimes the truth about them."""

from semascope.corpus.sample import (
    Corpus,
    Question,
    Sample,
    SceneObject,
    SceneTruth,
    SkipReport,
    Turn,
)

__all__ = ["Corpus", "Question", "Sample", "SceneObject", "SceneTruth", "SkipReport", "Turn"]
