"""Families that merge patches or cut pictures into tiles: Qwen-VL, Idefics3, SmolVLM, InternVL."""

from __future__ import annotations

from typing import Any

from semascope.subject.testing.families import text_options, vision_options
from semascope.subject.testing.tokenizer import CHATML, make_tokenizer
from semascope.subject.video.processors import still, video_processor

QWEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def _qwen_tokenizer() -> Any:
    template = CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    template = template.replace("VIDEO", "<|vision_start|><|video_pad|><|vision_end|>")
    named = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    return make_tokenizer(QWEN, bos=None, named=named, chat_template=template)


def qwen_like(
    model: Any, config: Any, processor: Any, vision: dict[str, Any], text: Any
) -> tuple[Any, Any]:
    """A Qwen-VL of any generation; ``text`` makes its language config from options."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = _qwen_tokenizer()
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(QWEN))
    made = config(
        vision_config=vision,
        text_config=text(text_options(tokenizer)),
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    patch = vision["patch_size"]
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=2,
        size={"shortest_edge": 16 * patch**2, "longest_edge": 144 * patch**2},
    )
    frames = 8 if processor.__name__.startswith("Qwen3") else 1  # Qwen3-VL bounds all together
    size = {"shortest_edge": 16 * patch**2 * frames, "longest_edge": 144 * patch**2 * frames}
    return model(made), still(processor)(
        image_processor,
        tokenizer,
        video_processor(processor, patch_size=patch, merge_size=2, size=size),
        chat_template=tokenizer.chat_template,
    )


def _multimodal_rope(options: dict[str, Any]) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    return options | {"rope_parameters": rope}


def qwen2_vl() -> tuple[Any, Any]:
    """Qwen2-VL's shape: any resolution, 2 × 2 patches merged to a token."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

    vision = {
        "depth": 3,
        "embed_dim": 32,
        "hidden_size": 32,
        "num_heads": 4,
        "mlp_ratio": 2,
        "patch_size": 8,
        "initializer_range": 0.2,
    }
    return qwen_like(
        Qwen2VLForConditionalGeneration, Qwen2VLConfig, Qwen2VLProcessor, vision, _multimodal_rope
    )


def qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL's shape: window attention, which reorders the patches inside the tower."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
    )

    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "patch_size": 8,
        "window_size": 32,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.2,
    }
    return qwen_like(
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLConfig,
        Qwen2_5_VLProcessor,
        vision,
        _multimodal_rope,
    )


def qwen3_vl() -> tuple[Any, Any]:
    """Qwen3-VL's shape: vision features also added to early decoder layers (deepstack)."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "patch_size": 8,
        "out_hidden_size": 32,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
        "initializer_range": 0.2,
    }

    def text(options: dict[str, Any]) -> dict[str, Any]:
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_interleaved": True}
        return options | {"head_dim": 8, "rope_parameters": rope | {"mrope_section": [2, 1, 1]}}

    return qwen_like(Qwen3VLForConditionalGeneration, Qwen3VLConfig, Qwen3VLProcessor, vision, text)


def idefics3() -> tuple[Any, Any]:
    """Idefics3's shape: split pictures with row and column markers, then the whole."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3Processor,
        LlamaConfig,
    )
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )

    tokenizer = _idefics_tokenizer()
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": 128}, max_image_size={"longest_edge": 32}),
        tokenizer,
        image_seq_len=4,
        chat_template=tokenizer.chat_template,
    )
    options = {"vision_config": vision_options(32, 8), "scale_factor": 2}
    config = Idefics3Config(
        text_config=LlamaConfig(**text_options(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **options,
    )
    return Idefics3ForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    """SmolVLM's shape: as Idefics3. Its processor needs the package num2words."""
    from transformers import (
        LlamaConfig,
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMProcessor,
    )
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    tokenizer = _idefics_tokenizer()
    processor = still(SmolVLMProcessor)(
        SmolVLMImageProcessorPil(size={"longest_edge": 128}, max_image_size={"longest_edge": 32}),
        tokenizer,
        video_processor(
            SmolVLMProcessor, size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        image_seq_len=4,
        chat_template=tokenizer.chat_template,
    )
    options = {"vision_config": vision_options(32, 8), "scale_factor": 2}
    config = SmolVLMConfig(
        text_config=LlamaConfig(**text_options(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **options,
    )
    return SmolVLMForConditionalGeneration(config), processor


def _idefics_tokenizer() -> Any:
    tiles = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    special = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tiles]
    return make_tokenizer(special, named={"image_token": "<image>"})


def aya_vision() -> tuple[Any, Any]:
    """Aya Vision's shape: InternVL's tiles with markers of their own, pixel shuffle."""
    from transformers import (
        AyaVisionConfig,
        AyaVisionForConditionalGeneration,
        AyaVisionProcessor,
        Cohere2Config,
        SiglipVisionConfig,
    )
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    marks = ["<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_LINE_BREAK|>", "TILE_GLOBAL"]
    tiles = [f"TILE_{n}" for n in range(1, 13)]
    tokenizer = make_tokenizer(
        [*marks, *tiles], named={"image_token": "<|IMG_PATCH|>"}, image="<image>"
    )
    config = AyaVisionConfig(
        vision_config=SiglipVisionConfig(**vision_options(32, 8), vision_use_head=False),
        text_config=Cohere2Config(**text_options(tokenizer), head_dim=8, sliding_window=64),
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
        downsample_factor=2,
        adapter_layer_norm_eps=1e-6,
    )
    processor = AyaVisionProcessor(
        GotOcr2ImageProcessorPil(
            size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=6
        ),
        tokenizer,
        patch_size=8,
        img_size=32,
        downsample_factor=2,
        chat_template=tokenizer.chat_template,
    )
    return AyaVisionForConditionalGeneration(config), processor


def ovis2() -> tuple[Any, Any]:
    """Ovis2's shape: the whole, then tiles, each token a mixture of visual words."""
    from transformers import (
        Ovis2Config,
        Ovis2ForConditionalGeneration,
        Ovis2Processor,
        Qwen2Config,
    )
    from transformers.models.ovis2.image_processing_pil_ovis2 import Ovis2ImageProcessorPil

    marks = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
    tokenizer = make_tokenizer([*marks, "<IMG_ATOM>"], bos=None)
    config = Ovis2Config(
        vision_config=vision_options(32, 8) | {"vocab_size": 64, "hidden_stride": 2},
        text_config=Qwen2Config(**text_options(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_ATOM>"),
        visual_indicator_token_ids=tokenizer.convert_tokens_to_ids(marks),
        vocab_size=len(tokenizer),
        hidden_size=32,
    )
    processor = Ovis2Processor(
        Ovis2ImageProcessorPil(
            size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=6
        ),
        tokenizer,
        image_seq_length=4,
        chat_template=tokenizer.chat_template,
    )
    return Ovis2ForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    """InternVL's shape: dynamic tiles and a thumbnail, pixel shuffle to 2 × 2 tokens a tile."""
    from transformers import (
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        Qwen2Config,
    )
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = make_tokenizer(bos=None, named=named, image="<IMG_CONTEXT>")
    config = InternVLConfig(
        vision_config=vision_options(32, 8) | {"image_size": [32, 32], "patch_size": [8, 8]},
        text_config=Qwen2Config(**text_options(tokenizer)),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    processor = still(InternVLProcessor)(
        GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=6),
        tokenizer,
        video_processor(InternVLProcessor, size={"height": 32, "width": 32}),
        image_seq_length=4,
        chat_template=tokenizer.chat_template,
    )
    return InternVLForConditionalGeneration(config), processor
