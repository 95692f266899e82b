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
from semascope.dictionary.training.loop import ManySource, Plan, Report, train, train_many
from semascope.dictionary.training.token_sampling import Cached, Sampled, Sampling
from semascope.dictionary.types import Codes, Dictionary

__all__ = [
    "ActivationBatch",
    "Cached",
    "CoderConfig",
    "Codes",
    "Dictionary",
    "Directions",
    "GroupQuality",
    "ManySource",
    "Plan",
    "Prefetch",
    "Quality",
    "Report",
    "Resumable",
    "Sampled",
    "Sampling",
    "ShuffleBuffer",
    "SignedNeurons",
    "Source",
    "SparseCoder",
    "Stability",
    "TensorSource",
    "TrainConfig",
    "convert",
    "detect",
    "load",
    "quality",
    "save",
    "stability",
    "train",
    "train_many",
]
