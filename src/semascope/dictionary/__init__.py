"""Dictionaries: what a feature is. SAEs, transcoders, neurons; their training, files, quality.

Knows tensors only: no tokenizer, no image, no model.
"""

from semascope.dictionary.activations import (
    ActivationBatch,
    Prefetch,
    Resumable,
    ShuffleBuffer,
    Source,
    TensorSource,
)
from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig, TrainConfig
from semascope.dictionary.formats import convert, detect, load, save
from semascope.dictionary.quality import GroupQuality, Quality, quality
from semascope.dictionary.train import ManySource, Plan, Report, train, train_many
from semascope.dictionary.types import Codes, Dictionary

__all__ = [
    "ActivationBatch",
    "CoderConfig",
    "Codes",
    "Dictionary",
    "GroupQuality",
    "ManySource",
    "Plan",
    "Prefetch",
    "Quality",
    "Report",
    "Resumable",
    "ShuffleBuffer",
    "Source",
    "SparseCoder",
    "TensorSource",
    "TrainConfig",
    "convert",
    "detect",
    "load",
    "quality",
    "save",
    "train",
    "train_many",
]
