"""Pictures read by cross-attention (Mllama): rows of a batch that have unlike numbers of them.

transformers' Mllama lets tokens that stand before every picture attend to all pictures of the
batch's tensor, those that only fill it up among them, and skips its cross-attention layers where a
batch has no picture at all. Here such tokens attend to the pictures of their own row, as they do
alone, and a row without pictures passes these layers unchanged. Knows this model; no processors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Arguments = dict[str, Any]


class OwnPictures:
    """Keeps the cross-attention of each row to the row's own pictures."""

    def __init__(self, width: int) -> None:
        """``width``: vision tokens of one picture, all its tiles."""
        self.width = width
        self.there: Tensor | None = None
        """(B, 1, 1) 1 for rows of this pass that have pictures, else 0."""

    def before(self, language: Any, args: Any, told: Arguments) -> tuple[Any, Arguments]:
        """Before the language model: mend its masks."""
        mask: Tensor | None = told.get("cross_attention_mask")  # (B, 1, T, vision tokens)
        if mask is None:
            return args, told | self._blind(language, told)
        seen: Tensor = told["full_text_row_masked_out_mask"]  # (B, 1, T, 1)
        used = ((mask == 0) & (seen > 0)).any(2)[:, 0]  # (B, vision tokens)
        whole = used.view(len(used), -1, self.width).any(2)  # (B, pictures)
        own = whole.repeat_interleave(self.width, 1)
        there = whole.any(1)
        self.there = there.to(mask.dtype)[:, None, None]
        hide = (seen == 0) & ~own[:, None, None] & there[:, None, None, None]
        low = torch.finfo(mask.dtype).min
        return args, told | {"cross_attention_mask": mask.masked_fill(hide, low)}

    def _blind(self, language: Any, told: Arguments) -> Arguments:
        """What a batch without pictures is given, so that all layers run and none sees."""
        embeds = told.get("inputs_embeds")
        embeds = language.embed_tokens(told["input_ids"]) if embeds is None else embeds
        rows, length, width = embeds.shape
        self.there = embeds.new_zeros(rows, 1, 1)
        given: Arguments = {"full_text_row_masked_out_mask": embeds.new_zeros(rows, 1, length, 1)}
        cache = told.get("cache", told.get("past_key_values"))
        if told.get("cross_attention_states") is None and not (cache and cache.get_seq_length()):
            given["cross_attention_states"] = embeds.new_zeros(rows, 1, width)
        return given

    def after(self, module: Any, args: Any, out: Any) -> Any:
        """After a cross-attention block: nothing of it for rows without pictures."""
        if self.there is None:
            return out
        return (out[0] * self.there.to(out[0].dtype), *out[1:])


def keep_to_own_pictures(model: Any) -> None:
    """Have Mllama's rows attend to their own pictures alone; other models stay as they are."""
    if str(model.config.model_type) != "mllama":
        return
    tower = model.model.vision_model
    own = OwnPictures(int(model.config.vision_config.max_num_tiles) * int(tower.num_patches))
    language = model.model.language_model
    language.register_forward_pre_hook(own.before, with_kwargs=True)
    for layer in language.layers:
        if hasattr(layer, "cross_attn"):
            layer.cross_attn.register_forward_hook(own.after)
