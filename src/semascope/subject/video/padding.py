"""How much a model reads at once, and videos of unlike length in one batch.

Some models take all videos as one tensor:
LLaVA-OneVision and LLaVA-NeXT-Video want (videos, frames, 3, H, W) and make tokens of every frame
of it. Shorter videos are filled with frames of zeros, as Idefics has it for pictures, and what the
model makes of those is left out before it is placed. Knows these two models; no processors.
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
"""Fields in which configs say how many positions there are."""


def context_length(config: Any) -> int | None:
    """Tokens that a model reads at most, pictures included, by its config.

    None where it does not say: positions that are relative, or a state that is carried along.
    """
    text = config.get_text_config(decoder=True)
    if getattr(text, "alibi", False) is True or text.model_type in ("bloom", "rwkv"):
        return None
    found = (getattr(text, name, None) for name in CONTEXT)
    return next((int(n) for n in found if isinstance(n, int) and n > 0), None)


def first_place(config: Any) -> int:
    """The position of a prompt's first token: PaliGemma counts from 1, Kosmos-2 from past its
    padding's id, as fairseq does."""
    if config.model_type == "kosmos-2":
        return int(config.get_text_config(decoder=True).pad_token_id) + 1
    return 1 if config.model_type == "paligemma" else 0


def leave_out_padding(model: Any) -> None:
    """Have the model drop features of frames that are all zeros; other models stay as they are."""
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
