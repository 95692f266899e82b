"""sprite-llava, the embedded subject: a LLaVA of 140 M parameters that was trained on scenes.

Its vision tower, projector, and the low-rank deltas of its language model ship with the package;
SmolLM2's own weights are downloaded once (see ``smollm``) and the deltas are merged into them at
load. ``recipes/sprite_llava`` made it.
"""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.initialization import no_init_weights
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from semascope.errors import ModelNotFound
from semascope.subject.embedded import smollm

DATA = files("semascope.subject") / "sprite_llava"
PATCH, SIZE = 16, 128
IMAGE_TOKEN = 16


def card() -> dict[str, Any]:
    """The model card: the model, how it was made, and its measured figures."""
    path = DATA / "card.json"
    if not path.is_file():
        raise ModelNotFound("The embedded model has no card yet: run make figures to measure it.")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def llava_config(vision: dict[str, Any]) -> LlavaConfig:
    """Config of the whole model, from that of the vision tower."""
    tower = {k: v for k, v in vision.items() if k != "vision_feature_layer"}
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**tower),
        text_config=smollm.config(),
        image_token_index=IMAGE_TOKEN,
        projector_hidden_act="gelu",
        vision_feature_layer=vision["vision_feature_layer"],
        vision_feature_select_strategy="default",
        image_seq_length=(SIZE // PATCH) ** 2,
        tie_word_embeddings=True,
    )


def processor() -> LlavaProcessor:
    """Resizes to 128 × 128 with patches of 16 pixels; its chat template puts pictures first."""
    with as_file(DATA) as folder:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            folder, extra_special_tokens={"image_token": "<image>"}
        )
    images = CLIPImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, do_center_crop=False,
        image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.25, 0.25],
    )  # fmt: skip
    return LlavaProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1,
        chat_template=(DATA / "chat_template.jinja").read_text(encoding="utf-8"),
    )  # fmt: skip


def load_embedded(
    device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """The model, deltas merged, in evaluation mode, and its processor.

    Raises:
        ModelNotFound: SmolLM2's weights are neither cached nor can be downloaded, or the package
            holds no trained weights.
    """
    path = DATA / "weights.safetensors"
    if not path.is_file():
        raise ModelNotFound(
            "This checkout holds no trained weights of sprite-llava: make them with "
            "recipes/sprite_llava (see its README), or install the released package."
        )
    shipped = {k: v.to(torch.float32) for k, v in load(path.read_bytes()).items()}
    config = llava_config(json.loads((DATA / "vision.json").read_text(encoding="utf-8")))
    with no_init_weights():
        model = LlavaForConditionalGeneration(config)
    state = {
        f"model.language_model.{k.removeprefix('model.')}": v for k, v in _language(shipped).items()
    }
    state |= {k: v for k, v in shipped.items() if not k.startswith("delta.")}
    state["lm_head.weight"] = state["model.language_model.embed_tokens.weight"]
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ModelNotFound(
            f"The weights of sprite-llava do not fit this version of transformers (missing "
            f"{missing[:2]}, unknown {unexpected[:2]}): install the versions that pyproject names."
        )
    return model.to(device=device, dtype=dtype).eval(), processor()


def _language(shipped: dict[str, Tensor]) -> dict[str, Tensor]:
    """SmolLM2 with the low-rank deltas added: W + up @ down."""
    base = smollm.weights()
    for key in [k for k in shipped if k.startswith("delta.") and k.endswith(".up")]:
        layer = key.removeprefix("delta.").removesuffix(".up")
        base[f"{layer}.weight"] += shipped[key] @ shipped[f"delta.{layer}.down"]
    return base
