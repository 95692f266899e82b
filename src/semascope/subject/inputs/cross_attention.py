"""Cross-attention to pictures (Mllama) in batches whose rows have different numbers of pictures.

In transformers' Mllama, tokens before the first picture attend to all pictures in the batch's
tensor, including padding, and the cross-attention layers are skipped if a batch has no picture at
all. Here such tokens attend to the pictures of their own row, as they do alone, and rows without
pictures pass these layers unchanged.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Arguments = dict[str, Any]


class OwnPictures:
    """Restricts the cross-attention of each row to its own pictures."""

    def __init__(self, width: int) -> None:
        """``width``: vision tokens of one picture with all its tiles."""
        self.width = width
        self.has_pictures: Tensor | None = None
        """(B, 1, 1) 1 for rows of this pass that have pictures, else 0."""

    def before(self, language: Any, args: Any, kwargs: Arguments) -> tuple[Any, Arguments]:
        """Pre-hook of the language model: correct its masks."""
        mask: Tensor | None = kwargs.get("cross_attention_mask")  # (B, 1, T, vision tokens)
        if mask is None:
            return args, kwargs | self._without_pictures(language, kwargs)
        seen: Tensor = kwargs["full_text_row_masked_out_mask"]  # (B, 1, T, 1)
        used = ((mask == 0) & (seen > 0)).any(2)[:, 0]  # (B, vision tokens)
        whole = used.view(len(used), -1, self.width).any(2)  # (B, pictures)
        own = whole.repeat_interleave(self.width, 1)
        has_pictures = whole.any(1)  # (B,)
        self.has_pictures = has_pictures.to(mask.dtype)[:, None, None]
        hide = (seen == 0) & ~own[:, None, None] & has_pictures[:, None, None, None]
        low = torch.finfo(mask.dtype).min
        return args, kwargs | {"cross_attention_mask": mask.masked_fill(hide, low)}

    def _without_pictures(self, language: Any, kwargs: Arguments) -> Arguments:
        """Arguments for a batch without pictures: all layers run, and none adds anything."""
        embeds = kwargs.get("inputs_embeds")
        embeds = language.embed_tokens(kwargs["input_ids"]) if embeds is None else embeds
        rows, length, width = embeds.shape
        self.has_pictures = embeds.new_zeros(rows, 1, 1)
        added: Arguments = {"full_text_row_masked_out_mask": embeds.new_zeros(rows, 1, length, 1)}
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        if kwargs.get("cross_attention_states") is None and not (cache and cache.get_seq_length()):
            added["cross_attention_states"] = embeds.new_zeros(rows, 1, width)
        return added

    def after(self, module: Any, args: Any, out: Any) -> Any:
        """Hook of a cross-attention block: 0 for rows without pictures."""
        if self.has_pictures is None:
            return out
        return (out[0] * self.has_pictures.to(out[0].dtype), *out[1:])


def keep_to_own_pictures(model: Any) -> None:
    """Restrict Mllama's rows to their own pictures; other models are not changed."""
    if str(model.config.model_type) != "mllama":
        return
    tower = model.model.vision_model
    own = OwnPictures(int(model.config.vision_config.max_num_tiles) * int(tower.num_patches))
    language = model.model.language_model
    language.register_forward_pre_hook(own.before, with_kwargs=True)
    for layer in language.layers:
        if hasattr(layer, "cross_attn"):
            layer.cross_attn.register_forward_hook(own.after)
