"""The recipe trains the eyes that ship: what its tower and projector say is what LLaVA reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from recipes.sprite_llava import lora
from recipes.sprite_llava.muon import orthogonal
from recipes.sprite_llava.projector import Projector
from recipes.sprite_llava.tower import READ, features, pixels, vision_config
from torch import nn
from transformers import CLIPVisionModel, LlamaConfig, LlavaForConditionalGeneration

from semascope.subject.embedded.load import DATA, llava_config


def _llava() -> LlavaForConditionalGeneration:
    """The embedded model's eyes before a language model of one small layer, random weights."""
    torch.manual_seed(0)
    shape = llava_config(json.loads((DATA / "vision.json").read_text(encoding="utf-8")))
    shape.text_config = LlamaConfig(
        hidden_size=576, intermediate_size=8, num_hidden_layers=1, num_attention_heads=9,
        vocab_size=32,
    )  # fmt: skip
    return LlavaForConditionalGeneration(shape).eval()


@torch.no_grad()
def test_what_is_trained_is_what_llava_reads() -> None:
    """The same layers of the tower, in the same order, into the same projector: by ``READ`` here,
    by ``vision_feature_layer`` there."""
    model = _llava()
    projector = Projector(READ * vision_config().hidden_size, 576).eval()
    projector.load_state_dict(model.model.multi_modal_projector.state_dict())
    images = [np.random.default_rng(n).integers(0, 256, (128, 128, 3), np.uint8) for n in (1, 2)]
    x = pixels(images)
    ours = projector(features(model.model.vision_tower, x))
    theirs = torch.stack(list(model.get_image_features(pixel_values=x).pooler_output))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_all_patches_kept_are_all_patches() -> None:
    """Leaving none out, in any order, computes what computing the whole picture does."""
    torch.manual_seed(0)
    tower = CLIPVisionModel(vision_config()).eval()
    x, order = torch.randn(2, 3, 128, 128), torch.randperm(64)
    whole = features(tower, x)
    some = features(tower, x, order.expand(2, -1))
    assert whole.shape == (2, 64, READ * 256)
    torch.testing.assert_close(some, whole[:, order], rtol=1e-4, atol=1e-5)


def test_halved_deltas_say_nearly_the_same_and_learn_in_full() -> None:
    """Frozen weights in bfloat16 under autocast: outputs within its rounding, gradients float32."""
    torch.manual_seed(0)
    model, layer = nn.Sequential(), nn.Sequential()
    layer.add_module("q_proj", nn.Linear(32, 16, bias=False))
    model.add_module("layer", layer)
    deltas = lora.attach(model, 4, 2.0)
    nn.init.normal_(deltas["layer.q_proj"].up, std=0.1)
    x = torch.randn(8, 32)
    before = model(x).detach()
    lora.halve(deltas)
    with torch.autocast("cpu", torch.bfloat16):
        after = model(x)
    assert after.dtype == torch.bfloat16
    assert float((after - before).detach().abs().max()) < 0.05 * float(before.abs().max())
    after.float().square().sum().backward()
    grad = deltas["layer.q_proj"].down.grad
    assert grad is not None and grad.dtype == torch.float32 and bool(grad.abs().max() > 0)
    assert deltas["layer.q_proj"].weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_update_is_made_orthogonal_in_either_precision(dtype: torch.dtype) -> None:
    """Every singular value ends near 1, tall or wide, whatever it was."""
    torch.manual_seed(0)
    for shape in ((3, 24, 8), (3, 8, 24)):
        made = orthogonal((torch.randn(shape) * 7).to(dtype)).float()
        values = torch.linalg.svdvals(made)
        assert float(values.min()) > 0.4 and float(values.max()) < 1.4
