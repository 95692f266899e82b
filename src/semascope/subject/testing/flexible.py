"""Families that read pictures at their own shape: Mistral 3 (Pixtral), GLM-4V, later Qwen-VL."""

from __future__ import annotations

from typing import Any

from semascope.subject.testing.families import text_options
from semascope.subject.testing.tiling import qwen_like
from semascope.subject.testing.tokenizer import CHATML, make_tokenizer
from semascope.subject.video.processors import still, video_processor


def mistral3() -> tuple[Any, Any]:
    """Mistral Small 3.1's shape: Pixtral's tower at any resolution, 2 × 2 patches merged, a break
    after every row."""
    from transformers import (
        Mistral3Config,
        Mistral3ForConditionalGeneration,
        MistralConfig,
        PixtralProcessor,
        PixtralVisionConfig,
    )
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    tokenizer = make_tokenizer(
        ["[IMG_BREAK]", "[IMG_END]"], named={"image_token": "[IMG]"}, image="[IMG]"
    )
    vision = PixtralVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        head_dim=8,
        image_size=96,
        patch_size=8,
        initializer_range=0.2,
    )
    config = Mistral3Config(
        vision_config=vision,
        text_config=MistralConfig(**text_options(tokenizer), head_dim=8),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )
    processor = PixtralProcessor(
        PixtralImageProcessorPil(size={"longest_edge": 96}, patch_size=8),
        tokenizer,
        patch_size=8,
        spatial_merge_size=2,
        chat_template=tokenizer.chat_template,
    )
    return Mistral3ForConditionalGeneration(config), processor


def pixtral() -> tuple[Any, Any]:
    """Pixtral 12B's shape as transformers has it: LLaVA with Pixtral's tower, nothing merged."""
    from transformers import (
        LlavaConfig,
        LlavaForConditionalGeneration,
        MistralConfig,
        PixtralProcessor,
        PixtralVisionConfig,
    )
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    tokenizer = make_tokenizer(
        ["[IMG_BREAK]", "[IMG_END]"], named={"image_token": "[IMG]"}, image="[IMG]"
    )
    vision = PixtralVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        head_dim=8,
        image_size=64,
        patch_size=8,
        initializer_range=0.2,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=MistralConfig(**text_options(tokenizer), head_dim=8),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    processor = PixtralProcessor(
        PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size=8),
        tokenizer,
        patch_size=8,
        chat_template=tokenizer.chat_template,
    )
    return LlavaForConditionalGeneration(config), processor


def _qwen3_vision() -> dict[str, Any]:
    return {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "patch_size": 8,
        "out_hidden_size": 32,
        "num_position_embeddings": 64,
        "initializer_range": 0.2,
    }


def _interleaved(options: dict[str, Any]) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_interleaved": True}
    return options | {"head_dim": 8, "rope_parameters": rope | {"mrope_section": [2, 1, 1]}}


def qwen3_vl_moe() -> tuple[Any, Any]:
    """Qwen3-VL's shape with experts."""
    from transformers import (
        Qwen3VLMoeConfig,
        Qwen3VLMoeForConditionalGeneration,
        Qwen3VLProcessor,
    )

    def text(options: dict[str, Any]) -> dict[str, Any]:
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        return _interleaved(options) | experts

    vision = _qwen3_vision() | {"deepstack_visual_indexes": [0, 1]}
    return qwen_like(
        Qwen3VLMoeForConditionalGeneration, Qwen3VLMoeConfig, Qwen3VLProcessor, vision, text
    )


def qwen3_5() -> tuple[Any, Any]:
    """Qwen3.5's shape: gated delta networks between attention layers, Qwen3-VL's tower."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration, Qwen3VLProcessor

    return qwen_like(
        Qwen3_5ForConditionalGeneration, Qwen3_5Config, Qwen3VLProcessor, _qwen3_vision(), _gated
    )


def qwen3_5_moe() -> tuple[Any, Any]:
    """Qwen3.5's shape with experts."""
    from transformers import (
        Qwen3_5MoeConfig,
        Qwen3_5MoeForConditionalGeneration,
        Qwen3VLProcessor,
    )

    def text(options: dict[str, Any]) -> dict[str, Any]:
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        return _gated(options) | experts | {"shared_expert_intermediate_size": 32}

    return qwen_like(
        Qwen3_5MoeForConditionalGeneration,
        Qwen3_5MoeConfig,
        Qwen3VLProcessor,
        _qwen3_vision(),
        text,
    )


def _gated(options: dict[str, Any]) -> dict[str, Any]:
    linear = {
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    }
    rope = _interleaved(options)["rope_parameters"] | {"partial_rotary_factor": 1.0}
    return _interleaved(options) | linear | {"rope_parameters": rope}


def glm4v() -> tuple[Any, Any]:
    """GLM-4.1V's shape: any resolution, 2 × 2 patches merged by a convolution."""
    from transformers import Glm4vConfig, Glm4vForConditionalGeneration

    return _glm(Glm4vForConditionalGeneration, Glm4vConfig, {})


def glm4v_moe() -> tuple[Any, Any]:
    """GLM-4.5V's shape: the same with experts."""
    from transformers import Glm4vMoeConfig, Glm4vMoeForConditionalGeneration

    experts = {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    }
    return _glm(Glm4vMoeForConditionalGeneration, Glm4vMoeConfig, experts)


def _glm(model: Any, config_class: Any, more: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import Glm4vProcessor
    from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

    marks = ["<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
    template = CHATML.replace("IMAGE", "<|begin_of_image|><|image|><|end_of_image|>")
    tokenizer = make_tokenizer(
        [*marks, "<|video|>"],
        bos=None,
        named={"image_token": "<|image|>", "video_token": "<|video|>"},
        chat_template=template.replace("VIDEO", "<|begin_of_video|><|video|><|end_of_video|>"),
    )
    start, end, video_start, video_end = tokenizer.convert_tokens_to_ids(marks)
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "num_heads": 4,
        "patch_size": 8,
        "image_size": 64,
        "initializer_range": 0.2,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    rope["partial_rotary_factor"] = 1.0
    config = config_class(
        vision_config=vision,
        text_config=text_options(tokenizer) | {"rope_parameters": rope} | more,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        image_start_token_id=start,
        image_end_token_id=end,
        video_start_token_id=video_start,
        video_end_token_id=video_end,
    )
    size = {"shortest_edge": 16 * 64, "longest_edge": 288 * 64}
    processor = still(Glm4vProcessor)(
        Glm4vImageProcessorPil(patch_size=8, merge_size=2, size=size),
        tokenizer,
        video_processor(Glm4vProcessor),
        chat_template=tokenizer.chat_template,
    )
    return model(config), processor
