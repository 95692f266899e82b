"""Text families, the LLaVA line, Gemma and PaliGemma: one maker each.

A maker gives a model small enough for a test, made from config with random weights, and the
family's own processor. ``tiling`` has the families that cut pictures into tiles or merge
patches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from semascope.subject.testing.tokenizer import make_tokenizer

Maker = Callable[..., tuple[Any, Any]]


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


def vision_options(image: int, patch: int) -> dict[str, Any]:
    """What the tiny vision towers have in common: (image / patch)² tokens, 32 wide."""
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
    """Text only, with a BOS."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    return LlamaForCausalLM(LlamaConfig(**text_options(tokenizer))), tokenizer


def qwen2() -> tuple[Any, Any]:
    """Text only, without a BOS."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tokenizer(bos=None)
    return Qwen2ForCausalLM(Qwen2Config(**text_options(tokenizer))), tokenizer


def qwen3() -> tuple[Any, Any]:
    """Text only, with normalised queries and keys."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = make_tokenizer(bos=None)
    return Qwen3ForCausalLM(Qwen3Config(**text_options(tokenizer), head_dim=8)), tokenizer


def gemma2() -> tuple[Any, Any]:
    """Text only, four normalisations a layer, sliding windows."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tokenizer = make_tokenizer()
    options = text_options(tokenizer) | {"head_dim": 8, "sliding_window": 64}
    return Gemma2ForCausalLM(Gemma2Config(**options)), tokenizer


def gpt2() -> tuple[Any, Any]:
    """Text only, the oldest layout: Conv1D weights, ``transformer.h``."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = make_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    return GPT2LMHeadModel(config), tokenizer


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
        vision_config=CLIPVisionConfig(**vision_options(64, 16)),
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


def vipllava() -> tuple[Any, Any]:
    """ViP-LLaVA's shape: as LLaVA 1.5, with features of several layers of the tower."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        VipLlavaConfig,
        VipLlavaForConditionalGeneration,
    )

    _, processor = llava()
    tokenizer = processor.tokenizer
    config = VipLlavaConfig(
        vision_config=CLIPVisionConfig(**vision_options(64, 16)),
        text_config=LlamaConfig(**text_options(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layers=[-2, -1],
    )
    return VipLlavaForConditionalGeneration(config), processor


TILES = [[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]]


def llava_next(edge: int = 32) -> tuple[Any, Any]:
    """LLaVA 1.6's shape: a base view and anyres tiles, padding cut away, newlines."""
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextProcessor,
    )

    tokenizer = make_tokenizer(named={"image_token": "<image>"})
    config = LlavaNextConfig(**_next_options(tokenizer, edge))
    processor = LlavaNextProcessor(_next_images(edge), tokenizer, **_next_reading(tokenizer))
    return LlavaNextForConditionalGeneration(config), processor


def llava_next_video() -> tuple[Any, Any]:
    """LLaVA-NeXT-Video's shape: pictures as LLaVA-NeXT, frames cropped and pooled by two."""
    from transformers import (
        LlavaNextVideoConfig,
        LlavaNextVideoForConditionalGeneration,
        LlavaNextVideoProcessor,
    )

    from semascope.subject.video.processors import still, video_processor

    named = {"image_token": "<image>", "video_token": "<video>"}
    tokenizer = make_tokenizer(["<video>"], named=named)
    config = LlavaNextVideoConfig(
        **_next_options(tokenizer, 32),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        spatial_pool_mode="average",
        spatial_pool_stride=2,
    )
    crop = {"height": 32, "width": 32}
    frames = video_processor(LlavaNextVideoProcessor, size={"shortest_edge": 32}, crop_size=crop)
    processor = still(LlavaNextVideoProcessor)(
        video_processor=frames,
        image_processor=_next_images(32),
        tokenizer=tokenizer,
        **_next_reading(tokenizer),
    )
    return LlavaNextVideoForConditionalGeneration(config), processor


def _next_options(tokenizer: Any, edge: int) -> dict[str, Any]:
    from transformers import CLIPVisionConfig, LlamaConfig

    return {
        "vision_config": CLIPVisionConfig(**vision_options(edge, 8)),
        "text_config": LlamaConfig(**text_options(tokenizer)),
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "image_grid_pinpoints": [[h * edge, w * edge] for h, w in TILES],
        "image_seq_length": 16,
    }


def _next_images(edge: int) -> Any:
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )

    return LlavaNextImageProcessorPil(
        size={"shortest_edge": edge},
        crop_size={"height": edge, "width": edge},
        image_grid_pinpoints=[[h * edge, w * edge] for h, w in TILES],
    )


def _next_reading(tokenizer: Any) -> dict[str, Any]:
    return {
        "patch_size": 8,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "chat_template": tokenizer.chat_template,
    }


def llava_onevision(edge: int = 32) -> tuple[Any, Any]:
    """LLaVA-OneVision's shape: SigLIP tower, anyres tiles, shrunk where there are too many."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionProcessor,
        Qwen2Config,
        SiglipVisionConfig,
    )
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil,
    )

    from semascope.subject.video.processors import still, video_processor

    tokenizer = make_tokenizer(
        ["<video>"], bos=None, named={"image_token": "<image>", "video_token": "<video>"}
    )
    pinpoints = [[edge * h, edge * w] for h in range(1, 5) for w in range(1, 5)]
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision_options(edge, 8), vision_use_head=False),
        text_config=Qwen2Config(**text_options(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
        vision_aspect_ratio="anyres_max_4",
    )
    processor = still(LlavaOnevisionProcessor)(
        LlavaOnevisionImageProcessorPil(
            size={"height": edge, "width": edge}, image_grid_pinpoints=pinpoints
        ),
        tokenizer,
        video_processor(LlavaOnevisionProcessor, size={"height": edge, "width": edge}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_4",
        chat_template=tokenizer.chat_template,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def gemma3(edge: int = 64) -> tuple[Any, Any]:
    """Gemma 3's shape: SigLIP tower, 8 × 8 patches averaged to 4 × 4 tokens."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3Processor,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    named = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    tokenizer = make_tokenizer(named=named, image="<start_of_image>")
    options = text_options(tokenizer) | {"head_dim": 8, "sliding_window": 64}
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**vision_options(edge, 8), vision_use_head=False),
        text_config=Gemma3TextConfig(**options),
        mm_tokens_per_image=16,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        initializer_range=0.2,
    )
    image_processor = Gemma3ImageProcessorPil(
        size={"height": edge, "width": edge},
        do_pan_and_scan=False,
        pan_and_scan_min_crop_size=16,
        pan_and_scan_max_num_crops=4,
        pan_and_scan_min_ratio_to_activate=1.2,
    )
    processor = Gemma3Processor(
        image_processor,
        tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=16,
    )
    model = Gemma3ForConditionalGeneration(config)
    # Its projector starts at zero, which would leave the model blind.
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(std=0.2)
    return model, processor


def paligemma() -> tuple[Any, Any]:
    """PaliGemma's shape: SigLIP tower, the picture first, no chat template."""
    from transformers import (
        GemmaConfig,
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipVisionConfig,
    )
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = make_tokenizer(named={"image_token": "<image>"}, chat_template=None)
    image_processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    image_processor.image_seq_length = 16
    processor = PaliGemmaProcessor(image_processor, tokenizer)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            **vision_options(32, 8), vision_use_head=False, projection_dim=32
        ),
        text_config=GemmaConfig(**text_options(tokenizer), head_dim=8),
        image_token_index=tokenizer.image_token_id,
        projection_dim=32,
        hidden_size=32,
        vocab_size=len(tokenizer),
    )
    return PaliGemmaForConditionalGeneration(config), processor
