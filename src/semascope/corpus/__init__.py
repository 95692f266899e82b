"""Data for subjects: samples with pictures, text or both, some with ground truth."""

from semascope.corpus.mixed import Mixed
from semascope.corpus.open import open_corpus, require_images
from semascope.corpus.sample import (
    Corpus,
    Moment,
    Question,
    Sample,
    SceneObject,
    SceneTruth,
    SkipReport,
    Turn,
    Video,
)
from semascope.corpus.tabular.base import FirstRows
from semascope.corpus.text import TextCorpus, plain_english

__all__ = [
    "Corpus",
    "FirstRows",
    "Mixed",
    "Moment",
    "Question",
    "Sample",
    "SceneObject",
    "SceneTruth",
    "SkipReport",
    "TextCorpus",
    "Turn",
    "Video",
    "open_corpus",
    "plain_english",
    "require_images",
]
