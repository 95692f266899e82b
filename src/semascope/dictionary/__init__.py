"""Dictionaries: what a feature is. SAEs, transcoders, neurons; their training, files, quality.

Knows tensors only: no tokenizer, no image, no model.
"""

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.formats import convert, detect, load, save
from semascope.dictionary.metrics.quality import GroupQuality, Quality, quality
from semascope.dictionary.metrics.stability import Stability, stability
from semascope.dictionary.neurons import Directions, SignedNeurons
from semascope.dictionary.training.batches import (
    ActivationBatch,
    Prefetch,
    Resumable,
    ShuffleBuffer,
    Source,
    TensorSource,
)
from semascope.dictionary.training.loop import (
    ManySource,
    TrainingPlan,
    TrainingReport,
    train,
    train_many,
)
from semascope.dictionary.training.token_sampling import CachedChunks, SampledChunks, TokenSampling
from semascope.dictionary.types import Codes, Dictionary

__all__ = [
    "ActivationBatch",
    "CachedChunks",
    "CoderConfig",
    "Codes",
    "Dictionary",
    "Directions",
    "GroupQuality",
    "ManySource",
    "Prefetch",
    "Quality",
    "Resumable",
    "SampledChunks",
    "ShuffleBuffer",
    "SignedNeurons",
    "Source",
    "SparseCoder",
    "Stability",
    "TensorSource",
    "TokenSampling",
    "TrainConfig",
    "TrainingPlan",
    "TrainingReport",
    "convert",
    "detect",
    "load",
    "quality",
    "save",
    "stability",
    "train",
    "train_many",
]
