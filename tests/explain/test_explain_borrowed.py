"""Scorers that borrow models: CLIP, GroundingDINO, SAM; with planted truth, and random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from planted import NAMES, World, evidence

from semascope.explain.scorers.clip import Clip, ClipScorer, masked
from semascope.explain.scorers.dino_sam import DinoSam, GroundedScorer
from semascope.explain.types import Explanation, Scorer

COLOUR = {
    name: ((37 * i) % 256, (91 * i) % 256, (53 * i + 60) % 256) for i, name in enumerate(NAMES, 1)
}


def said(feature: int, name: str) -> Explanation:
    return Explanation(feature, f"Pictures of {name}.", name, author="planted")


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=240)


@pytest.fixture(scope="module")
def pictures(world: World) -> dict[str, Image.Image]:
    """Every scene painted: each thing a block of its own colour on light grey."""
    found = {}
    for shown in world.scenes:
        pixels = np.full((128, 128, 3), 230, np.uint8)
        for thing in shown.truth["objects"]:
            share = np.asarray(thing["patches"][2:], np.float32).reshape(8, 8)
            pixels[np.kron(share, np.ones((16, 16))) > 0] = COLOUR[thing["name"]]
        found[shown.media[0]] = Image.fromarray(pixels)
    return found


class Colours:
    """One number a name: how much of the picture has its colour. A perfect CLIP of this world."""

    name = "colours"

    def images(self, some: Sequence[Image.Image]) -> NDArray[np.float32]:
        rows = np.zeros((len(some), len(NAMES)), np.float32)
        for row, image in zip(rows, some, strict=True):
            pixels = np.asarray(image).reshape(-1, 3)
            for i, name in enumerate(NAMES):
                row[i] = (pixels == COLOUR[name]).all(1).sum()
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.maximum(length, 1e-9)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[float(n in t) for n in NAMES] for t in texts], np.float32)


def test_clip_right_beats_half_right_beats_wrong(
    world: World, pictures: dict[str, Image.Image]
) -> None:
    records = [world.sees(0, "mango"), world.half(1, "mango"), world.sees(2, "mango")]
    words = [said(0, "mango"), said(1, "mango"), said(2, "violin")]
    scorer = ClipScorer(Colours(), pictures.__getitem__)
    assert isinstance(scorer, Scorer)
    for kind in ("clip", "clip_masked"):
        found = {s.feature: s for s in scorer.score(records, words) if s.kind == kind}
        assert found[0].value > found[1].value > found[2].value
        assert found[0].low <= found[0].value <= found[0].high
    whole = {s.kind: s for s in scorer.score(records[:1], words[:1])}
    assert whole["clip_masked"].value == pytest.approx(1.0), "nothing else is left to see"
    assert whole["clip"].value < 1.0
    assert whole["clip"].baseline == pytest.approx(0.0), "no silent picture holds it"


def test_clip_controls_are_other_features_words(
    world: World, pictures: dict[str, Image.Image]
) -> None:
    records = [world.sees(i, name) for i, name in enumerate(NAMES)]
    words = [said(i, name) for i, name in enumerate(NAMES)]
    scores = ClipScorer(Colours(), pictures.__getitem__).score(records, words)
    mean = {k: np.mean([s.value for s in scores if s.kind == k]) for k in ("clip", "clip_shuffled")}
    assert mean["clip"] > mean["clip_shuffled"] + 0.3
    assert mean["clip_shuffled"] < 0.2


def test_the_mask_keeps_what_fired(world: World, pictures: dict[str, Image.Image]) -> None:
    exemplar = world.sees(0, "mango").top[0]
    left = np.asarray(masked(pictures[exemplar.shown.media[0]], exemplar)).reshape(-1, 3)
    kept = (left != 127).any(1)
    assert kept.sum() == 32 * 32
    assert (left[kept] == COLOUR["mango"]).all()


class Oracle:
    """Outlines the named thing by its colour."""

    name = "oracle"

    def outline(self, picture: Image.Image, words: str) -> NDArray[np.bool_]:
        return np.asarray((np.asarray(picture) == COLOUR[words]).all(2))


def test_grounded_right_beats_half_right_beats_wrong(
    world: World, pictures: dict[str, Image.Image]
) -> None:
    records = [world.sees(0, "mango"), world.half(1, "mango"), world.sees(2, "mango")]
    words = [said(0, "mango"), said(1, "mango"), said(2, "violin")]
    scorer = GroundedScorer(Oracle(), pictures.__getitem__, most=12)
    found = {s.feature: s for s in scorer.score(records, words) if s.kind == "grounded"}
    assert found[0].value == pytest.approx(1.0)
    assert 0.2 < found[1].value < 0.8
    assert found[2].value < 0.05
    assert found[0].baseline < 0.1


def test_grounded_control_is_near_nothing(world: World, pictures: dict[str, Image.Image]) -> None:
    records = [world.sees(i, name) for i, name in enumerate(NAMES)]
    words = [said(i, name) for i, name in enumerate(NAMES)]
    scores = GroundedScorer(Oracle(), pictures.__getitem__).score(records, words)
    random = [s.value for s in scores if s.kind == "grounded_random"]
    assert len(random) == len(NAMES)
    assert np.mean(random) < 0.02
    only_text = GroundedScorer(Oracle(), pictures.__getitem__).score(
        [world.reads(0, " harbour"), evidence(1, [], [])], [said(0, "harbour"), said(1, "cat")]
    )
    assert only_text == []


def vocabulary(folder: Path, words: Sequence[str]) -> Path:
    """A BERT vocabulary file."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *words]))
    return path


def save_tiny_clip(folder: Path) -> None:
    """A CLIP with random weights, saved as a hub would have it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor
    from transformers import PreTrainedTokenizerFast as Fast

    torch.manual_seed(0)
    size = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }  # fmt: skip
    config = CLIPConfig(
        text_config={
            **size, "vocab_size": 40, "max_position_embeddings": 8,
            "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1,
        },
        vision_config={**size, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    names = ["<unk>", "</s>", "a", "picture", "of", *(n.split()[0] for n in NAMES)]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(dict.fromkeys(names))}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = Fast(tokenizer_object=core, unk_token="<unk>", eos_token="</s>", pad_token="</s>")
    reader = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    CLIPProcessor(reader, tokenizer).save_pretrained(folder)


def test_a_real_clip_is_loaded_and_read(
    tmp_path: Path, world: World, pictures: dict[str, Image.Image]
) -> None:
    """Random weights: every figure is a cosine, the same each time, and words can be long."""
    save_tiny_clip(tmp_path)
    clip = Clip.load(str(tmp_path))
    rows = clip.images([pictures[s.media[0]] for s in world.scenes[:3]])
    texts = clip.texts(["a picture of a mango", "a " * 50])
    assert rows.shape == (3, 8)
    assert texts.shape == (2, 8)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    scorer = ClipScorer(clip, pictures.__getitem__)
    records = [world.sees(0, "mango"), world.sees(1, "cat")]
    words = [said(0, "mango"), said(1, "cat")]
    scores = scorer.score(records, words)
    kinds = {s.kind for s in scores}
    assert kinds == {"clip", "clip_masked", "clip_shuffled", "clip_masked_shuffled"}
    assert all(-1 <= s.low <= s.value <= s.high <= 1 for s in scores)
    assert [s.value for s in scores] == [s.value for s in scorer.score(records, words)]


def save_tiny_dino(folder: Path) -> None:
    """A GroundingDINO with random weights."""
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
        SwinConfig,
    )

    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=32, window_size=7, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1],
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16,
        ),
        d_model=64, encoder_layers=1, encoder_ffn_dim=16, encoder_attention_heads=2,
        decoder_layers=2, decoder_ffn_dim=16, decoder_attention_heads=2, num_queries=6,
        num_feature_levels=4,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    words = vocabulary(folder, [n.split()[0] for n in NAMES])
    tokenizer = BertTokenizerFast(vocab_file=str(words))
    reader = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 64})
    GroundingDinoProcessor(reader, tokenizer).save_pretrained(folder)


def save_tiny_sam(folder: Path) -> None:
    """A SAM with random weights."""
    from transformers import SamConfig, SamImageProcessorPil, SamModel, SamProcessor

    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "mlp_dim": 16,
            "num_attention_heads": 2, "image_size": 64, "patch_size": 16, "window_size": 2,
            "global_attn_indexes": [0], "num_pos_feats": 8,
        },
        prompt_encoder_config={
            "hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    SamModel(config).save_pretrained(folder)
    reader = SamImageProcessorPil(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16}, mask_pad_size={"height": 16, "width": 16},
    )  # fmt: skip
    SamProcessor(reader).save_pretrained(folder)


def test_a_real_dino_and_sam_are_loaded_and_asked(
    tmp_path: Path, world: World, pictures: dict[str, Image.Image]
) -> None:
    """Random weights find anything or nothing: the path from words to a mask is the real one."""
    save_tiny_dino(tmp_path / "dino")
    save_tiny_sam(tmp_path / "sam")
    outliner = DinoSam.load(str(tmp_path / "dino"), str(tmp_path / "sam"))
    image = next(iter(pictures.values())).resize((96, 64))
    outliner.threshold = 0.0
    boxes = outliner.boxes(image, "mango or cat")
    assert boxes.shape == (6, 4)
    masks = outliner.masks(image, np.array([[4, 4, 40, 40], [10, 10, 90, 60]], np.float32))
    assert masks.shape == (2, 64, 96)
    assert masks.dtype == bool
    outliner.threshold = 1.0
    assert not outliner.outline(image, "mango").any(), "nothing found is an empty mask"
    outliner.threshold = 0.0
    scores = GroundedScorer(outliner, pictures.__getitem__, most=2).score(
        [world.sees(0, "mango")], [said(0, "mango")]
    )
    assert [s.kind for s in scores] == ["grounded"]
    assert 0 <= scores[0].value <= 1
