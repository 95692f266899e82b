"""Checks that a model makes as many vectors of its pictures as the text has image tokens.

Processor and model count image tokens by different settings, which may disagree: a class token,
the patch size, another vision tower. The model's vision side runs once, on the first batch with
pictures.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semascope.errors import SubjectError
from semascope.subject.inputs.processor import FOREIGN, sentence
from semascope.subject.types import PICTURE_KINDS, Batch

CROSSED = ("cross_attention_mask", "image_attention_mask")
"""Inputs of models with cross-attention, where one token stands for a whole picture."""


def readable(batch: Batch) -> bool:
    """Whether the batch has pictures whose vectors replace image tokens."""
    inputs = batch.inputs
    seen = "pixel_values" in inputs and "pixel_values_videos" not in inputs
    return seen and not any(name in inputs for name in CROSSED)


def blind(batch: Batch) -> list[int]:
    """Rows without pictures."""
    shown = [bool(np.isin(m.kinds, PICTURE_KINDS).any()) for m in batch.maps]
    return [n for n, seen in enumerate(shown) if not seen]


def words_alone(model: Any, batch: Batch) -> None:
    """Raise SubjectError if a multimodal model cannot read a text without a picture."""
    row = blind(batch)[0]
    ids = batch.inputs["input_ids"][row][batch.mask[row]][None, :4]
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except FOREIGN as error:
        raise SubjectError(
            f"This model cannot read a text without a picture ({sentence(error)}): give every "
            "sample a picture."
        ) from error


def check(model: Any, batch: Batch) -> None:
    """Compare the two counts on one batch.

    Models without ``get_image_features`` are not checked.

    Raises:
        SubjectError: the counts differ, or the vision side fails on the pictures.
    """
    wanted = sum(int(np.isin(m.kinds, PICTURE_KINDS).sum()) for m in batch.maps)
    read = getattr(getattr(model, "model", model), "get_image_features", None)
    if read is None or not wanted:
        return
    taken = inspect.signature(read).parameters
    given = {k: v for k, v in batch.inputs.items() if k in taken and k not in ("input_ids",)}
    try:
        with torch.no_grad():
            made = read(**given, **({"return_dict": True} if "return_dict" in taken else {}))
    except FOREIGN as error:
        raise SubjectError(
            f"The model's vision side fails on the output of its processor: "
            f"{sentence(error)}. Check that the preprocessor's files are those of this model."
        ) from error
    count = _vectors(getattr(made, "pooler_output", made))
    if count is not None and count != wanted:
        raise SubjectError(
            f"The model makes {count} vectors of these pictures, and its processor puts {wanted} "
            "tokens into the text for them: their settings disagree (patch_size, "
            "num_additional_image_tokens and vision_feature_select_strategy, or image_seq_length, "
            "in processor_config.json; the size of pictures in preprocessor_config.json)."
        )


def _vectors(made: Any) -> int | None:
    """Number of vectors in a tensor or a list of tensors; None for anything else."""
    if isinstance(made, Tensor):
        return made.shape[:-1].numel() if made.is_floating_point() else made.numel()
    if isinstance(made, list | tuple):
        counts = [_vectors(part) for part in made]
        return None if any(n is None for n in counts) else sum(n for n in counts if n is not None)
    return None
