"""One maker a family: a config small enough for a test, and the family's own processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from semascope.subject.testing.tokenizer import make_tokenizer

Maker = Callable[[], tuple[Any, Any]]


def text_options(tokenizer: Any) -> dict[str, Any]:
    """What the tiny language models have in common."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }


def vision_options(image: int = 64, patch: int = 16) -> dict[str, Any]:
    """What the tiny vision towers have in common: image / patch squared tokens, 32 wide."""
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": image,
        "patch_size": patch,
        "initializer_range": 0.2,
    }


def llama() -> tuple[Any, Any]:
    """Text only."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    return LlamaForCausalLM(LlamaConfig(**text_options(tokenizer))), tokenizer


def llava() -> tuple[Any, Any]:
    """LLaVA 1.5's shape: CLIP tower, shortest edge resized, centre cropped, 16 tokens."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = make_tokenizer(named={"image_token": "<image>"})
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision_options()),
        text_config=LlamaConfig(**text_options(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return LlavaForConditionalGeneration(config), processor


MAKERS: dict[str, Maker] = {"llama": llama, "llava": llava}
