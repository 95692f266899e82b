"""Whole subjects with random weights, made from config in a moment, for tests.

Nothing is downloaded and nothing is learnt: they have the shape of their family, its real
processor, and noise for weights. The same seed gives the same model.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import torch

from semascope.errors import ModelNotFound
from semascope.subject.geometry.verify import GeometryProof, prove, prove_videos
from semascope.subject.model import Subject
from semascope.subject.sites import language_model, vision_layers
from semascope.subject.testing import families as plain
from semascope.subject.testing import flexible, resampled, tiling
from semascope.subject.testing.tokenizer import make_tokenizer

MAKERS: dict[str, plain.Maker] = {
    "llama": plain.llama,
    "qwen2": plain.qwen2,
    "qwen3": plain.qwen3,
    "gemma2": plain.gemma2,
    "gpt2": plain.gpt2,
    "llava": plain.llava,
    "llava_next": plain.llava_next,
    "llava_next_video": plain.llava_next_video,
    "llava_onevision": plain.llava_onevision,
    "qwen2_vl": tiling.qwen2_vl,
    "qwen2_5_vl": tiling.qwen2_5_vl,
    "qwen3_vl": tiling.qwen3_vl,
    "idefics3": tiling.idefics3,
    "smolvlm": tiling.smolvlm,
    "gemma3": plain.gemma3,
    "internvl": tiling.internvl,
    "paligemma": plain.paligemma,
    "aya_vision": tiling.aya_vision,
    "glm4v": flexible.glm4v,
}
FURTHER: dict[str, plain.Maker] = {
    "qwen3_vl_moe": flexible.qwen3_vl_moe,
    "qwen3_5": flexible.qwen3_5,
    "qwen3_5_moe": flexible.qwen3_5_moe,
    "glm4v_moe": flexible.glm4v_moe,
    "vipllava": plain.vipllava,
    "ovis2": tiling.ovis2,
    "mistral3": flexible.mistral3,
    "pixtral": flexible.pixtral,
    "mllama": resampled.mllama,
    "idefics2": resampled.idefics2,
    "blip_2": resampled.blip_2,
    "instructblip": resampled.instructblip,
    "kosmos2": resampled.kosmos2,
    "chameleon": resampled.chameleon,
}
"""Families some of whose layers have no attention, no neurons of an MLP, or no projector."""
TEXT = ("llama", "qwen2", "qwen3", "gemma2", "gpt2")
UNPLACED = ("mllama", "idefics2", "blip_2", "instructblip", "kosmos2", "chameleon")
"""Families that read pictures, in which no token stands for one place of them."""
NEED_TORCHVISION = ("mistral3", "pixtral")
"""Families whose processor cannot be imported without torchvision."""
_MISSING = () if find_spec("torchvision") else NEED_TORCHVISION
ALL = {**MAKERS, **FURTHER}
VISION = tuple(name for name in ALL if name not in (*TEXT, *UNPLACED, *_MISSING))
"""Families whose image tokens have places that are known, as far as they can be made here."""


def tiny(family: str, *, seed: int = 0) -> Subject:
    """A random-weight subject of one family: "llama", "llava", … (``ALL`` lists them)."""
    if family not in ALL:
        raise ModelNotFound(f"No tiny {family!r}: choose one of {', '.join(ALL)}.")
    if family in _MISSING:
        raise ModelNotFound(
            f"The processor of {family!r} needs torchvision: pip install torchvision."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = ALL[family]()
    quiet(model)
    return Subject(model, processor, name=f"tiny-{family}")


def quiet(model: Any) -> None:
    """Turn down the attention of a vision tower.

    Random attention spreads every patch over the whole picture, as no trained tower does, and
    would drown what is to be seen: which patch a token comes from.
    """
    for layer in vision_layers(model, language_model(model)[0]):
        for name, parameter in layer.named_parameters():
            if "attn" in name or "attention" in name:
                parameter.data.mul_(0.3)


def geometry_table(families: Iterable[str] = VISION, *, seed: int = 0) -> list[GeometryProof]:
    """The geometry of tiny models of each family, proved by cause: one row a picture size, and
    one a size of video where the family reads it."""
    rows = []
    for name in families:
        subject = tiny(name)
        rows += prove(subject, seed=seed)
        rows += prove_videos(subject, seed=seed) if subject.encoder.reads_video else []
    return rows


__all__ = [
    "MAKERS",
    "NEED_TORCHVISION",
    "TEXT",
    "UNPLACED",
    "VISION",
    "geometry_table",
    "make_tokenizer",
    "quiet",
    "tiny",
]
