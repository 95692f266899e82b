"""Context lengths, and batches of videos of different lengths.

LLaVA-OneVision and LLaVA-NeXT-Video take all videos as one tensor, (videos, frames, 3, H, W), and
make tokens of every frame. Shorter videos are padded with frames of zeros, as Idefics does with
pictures, and the features of these are removed before they reach the language model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NEWLINES = {"llava_onevision": 1, "llava_next_video": 0}
"""Tokens after a video's frames, by ``config.model_type``."""


CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "max_seq_length",
    "n_ctx",
    "seq_length",
)
"""Fields of configs with the number of positions."""


def context_length(config: Any) -> int | None:
    """Context length in tokens, pictures included, from the config.

    None for models without a limit: relative positions, or a recurrent state.
    """
    text = config.get_text_config(decoder=True)
    if getattr(text, "alibi", False) is True or text.model_type in ("bloom", "rwkv"):
        return None
    found = (getattr(text, name, None) for name in CONTEXT)
    return next((int(n) for n in found if isinstance(n, int) and n > 0), None)


def first_place(config: Any) -> int:
    """Position of a prompt's first token: PaliGemma counts from 1, Kosmos-2 from the id after its
    padding's, as fairseq does."""
    if config.model_type == "kosmos-2":
        return int(config.get_text_config(decoder=True).pad_token_id) + 1
    return 1 if config.model_type == "paligemma" else 0


def leave_out_padding(model: Any) -> None:
    """Have the model drop features of padding frames (all zeros); other models are not changed."""
    newlines = NEWLINES.get(str(model.config.model_type))
    if newlines is None:
        return
    inner = model.model.get_video_features

    def features(pixel_values_videos: Tensor, *args: Any, **options: Any) -> Any:
        out = inner(pixel_values_videos, *args, **options)
        shown = pixel_values_videos.flatten(2).ne(0).any(-1)  # (videos, F)
        if bool(shown.all()):
            return out
        x = out.pooler_output  # (videos, F · tokens of a frame + newlines, d)
        keep = shown.repeat_interleave((x.shape[1] - newlines) // shown.shape[1], 1)
        keep = torch.cat([keep, keep.new_ones(len(keep), newlines)], 1)
        out.pooler_output = x[keep][None]
        return out

    model.model.get_video_features = features
