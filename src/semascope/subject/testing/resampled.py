"""Families in which no token stands for one place: queries, resamplers, cross-attention, codebooks.

They read pictures like any other; where their image tokens look is not known.
"""

from __future__ import annotations

from typing import Any

from semascope.subject.testing.families import text_options, vision_options
from semascope.subject.testing.tokenizer import make_tokenizer


def mllama() -> tuple[Any, Any]:
    """Llama 3.2 Vision's shape: pictures by cross-attention, a token for each in the text."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
    from transformers.models.mllama.configuration_mllama import MllamaTextConfig, MllamaVisionConfig
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    tokenizer = make_tokenizer(
        ["<|python_tag|>"], named={"image_token": "<|image|>"}, image="<|image|>"
    )
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    text = text_options(tokenizer) | {"num_hidden_layers": 4, "cross_attention_layers": [1, 3]}
    shapes = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
    vision = MllamaVisionConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_global_layers=1,
        attention_heads=4,
        intermediate_size=64,
        vision_output_dim=96,
        image_size=32,
        patch_size=8,
        max_num_tiles=4,
        intermediate_layers_indices=[0, 1],
        supported_aspect_ratios=shapes,
        initializer_range=0.2,
    )
    model = MllamaForConditionalGeneration(
        MllamaConfig(
            vision_config=vision,
            text_config=MllamaTextConfig(**text, rope_parameters=rope),
            image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
        )
    )
    for name, parameter in model.named_parameters():
        if "gate" in name:  # they start at zero, which would leave the model blind
            parameter.data.fill_(0.8)
    processor = MllamaProcessor(
        MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=4),
        tokenizer,
        chat_template=tokenizer.chat_template,
    )
    return model, processor


def idefics2() -> tuple[Any, Any]:
    """Idefics2's shape: pictures at their own aspect, a perceiver that makes 4 tokens of each."""
    from transformers import (
        Idefics2Config,
        Idefics2ForConditionalGeneration,
        Idefics2Processor,
        MistralConfig,
    )
    from transformers.models.idefics2.image_processing_pil_idefics2 import (
        Idefics2ImageProcessorPil,
    )

    tokenizer = make_tokenizer(
        ["<fake_token_around_image>", "<end_of_utterance>"],
        named={"image_token": "<image>", "image_boundary_token": "<fake_token_around_image>"},
    )
    perceiver = {
        "resampler_n_latents": 4,
        "resampler_depth": 1,
        "resampler_n_heads": 4,
        "resampler_head_dim": 8,
        "num_key_value_heads": 2,
        "hidden_size": 32,
    }
    config = Idefics2Config(
        vision_config=vision_options(64, 8),
        perceiver_config=perceiver,
        text_config=MistralConfig(**text_options(tokenizer), head_dim=8),
        image_token_id=tokenizer.image_token_id,
    )
    processor = Idefics2Processor(
        Idefics2ImageProcessorPil(
            size={"shortest_edge": 32, "longest_edge": 64}, do_image_splitting=False
        ),
        tokenizer,
        image_seq_len=4,
        chat_template=tokenizer.chat_template,
    )
    return Idefics2ForConditionalGeneration(config), processor


def blip_2() -> tuple[Any, Any]:
    """BLIP-2's shape: 4 queries a picture; its processor puts them before the text itself."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer = make_tokenizer(chat_template=None)
    processor = Blip2Processor(
        BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer, num_query_tokens=4
    )
    config = Blip2Config(
        vision_config=vision_options(32, 8),
        qformer_config=_qformer(tokenizer),
        text_config=_opt(tokenizer),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return Blip2ForConditionalGeneration(config), processor


def instructblip() -> tuple[Any, Any]:
    """InstructBLIP's shape: as BLIP-2, with the question read by the queries as well."""
    from transformers import (
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer = make_tokenizer(chat_template=None)
    processor = InstructBlipProcessor(
        BlipImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer,
        make_tokenizer(chat_template=None),
        num_query_tokens=4,
    )
    config = InstructBlipConfig(
        vision_config=vision_options(32, 8),
        qformer_config=_qformer(tokenizer),
        text_config=_opt(tokenizer),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return InstructBlipForConditionalGeneration(config), processor


def _qformer(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "encoder_hidden_size": 32,
        "cross_attention_frequency": 1,
        "initializer_range": 0.2,
    }


def _opt(tokenizer: Any) -> Any:
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        max_position_embeddings=512,
        init_std=0.2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def kosmos2() -> tuple[Any, Any]:
    """Kosmos-2's shape: 64 latents a picture, put before the text by the processor itself."""
    from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Processor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = make_tokenizer(chat_template=None)
    tokenizer.add_special_tokens({"unk_token": "<unk>"})
    processor = Kosmos2Processor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        num_patch_index_tokens=80,
    )
    processor.num_image_tokens = 4
    config = Kosmos2Config(
        text_config={
            "vocab_size": len(tokenizer),
            "embed_dim": 32,
            "layers": 3,
            "ffn_dim": 64,
            "attention_heads": 4,
            "max_position_embeddings": 512,
            "init_std": 0.2,
        },
        vision_config=vision_options(32, 8),
        latent_query_num=4,
    )
    return Kosmos2ForConditionalGeneration(config), processor


def chameleon() -> tuple[Any, Any]:
    """Chameleon's shape: a picture as 4 × 4 words of a codebook."""
    from transformers import (
        ChameleonConfig,
        ChameleonForConditionalGeneration,
        ChameleonProcessor,
    )
    from transformers.models.chameleon.image_processing_pil_chameleon import (
        ChameleonImageProcessorPil,
    )

    named = {
        "image_token": "<image>",
        "boi_token": "<racm3:break>",
        "eoi_token": "<eoss>",
        "sep_token": "<sep>",
    }
    codes = [f"IMGIMG{chr(65 + n // 10)}{chr(65 + n % 10)}Z" for n in range(16)]
    tokenizer = make_tokenizer(codes, named=named)
    config = ChameleonConfig(
        **text_options(tokenizer) | {"num_key_value_heads": 4},
        vocabulary_map=dict(tokenizer.get_vocab()),
        vq_config={
            "embed_dim": 16,
            "num_embeddings": 16,
            "latent_channels": 16,
            "resolution": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1, 1],
            "num_res_blocks": 1,
        },
    )
    processor = ChameleonProcessor(
        ChameleonImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer,
        image_seq_length=16,
    )
    return ChameleonForConditionalGeneration(config), processor
