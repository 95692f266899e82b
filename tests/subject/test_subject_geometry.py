"""Rectangles proved by cause on every family, and what happens where there is no adapter."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from samples_of_subjects import asked, picture
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from semascope.cli import main
from semascope.subject import Kind, Subject, geometry
from semascope.subject.geometry.base import AdapterInput, TokenClaims
from semascope.subject.geometry.verify import prove
from semascope.subject.testing import VISION, families, make_tokenizer, quiet, tiny
from semascope.subject.testing.families import text_options, vision_options

SIZES = ((150, 70), (60, 160))


def check(rows, *, first: float = 0.95, precision: float = 0.95) -> None:
    """Guessing would score the share of the picture that a box covers: about a tenth."""
    told = [asdict(r) for r in rows]
    assert np.nanmean([r.first for r in rows]) >= first, told
    assert np.nanmean([r.precision for r in rows]) >= precision, told
    # Resampling mixes a pixel or two of a crop's surroundings into its edge.
    assert all(r.leak < 0.1 for r in rows), told


@pytest.mark.parametrize("family", VISION)
def test_tokens_change_where_they_claim_to_look(subject, family) -> None:
    """A transposed grid, scrambled tiles or a forgotten crop all fail here."""
    rows = prove(subject(family), SIZES)
    check(rows)
    assert all(r.newline == 0 for r in rows)
    assert np.nanmean([r.fine for r in rows]) >= 0.85, [asdict(r) for r in rows]


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision", "qwen2_vl", "idefics3"])
def test_the_second_picture_is_the_one_that_changes(subject, family) -> None:
    check(prove(subject(family), SIZES[:1], pictures=2))


def test_a_transposed_grid_would_be_caught(subject) -> None:
    """The proof must be able to fail: here the claims are turned on their side."""
    s = tiny("qwen2_vl")

    class Turned:
        model_types = ("qwen2_vl",)

        def claim(self, seen: AdapterInput) -> list[TokenClaims]:
            right = geometry.whole.QwenVL().claim(seen)
            return [TokenClaims(c.kinds, _turned(c.rects)) for c in right]

    turned = Turned()
    geometry.register(turned)
    try:
        (row,) = prove(s, ((100, 100),))
    finally:
        geometry.unregister(turned)
    assert row.first < 0.5


@pytest.mark.parametrize(("edge", "patch", "size"), [(188, 7, (330, 250)), (60, 16, (150, 70))])
def test_patches_that_fall_short_of_the_view(edge: int, patch: int, size: tuple[int, int]) -> None:
    """SigLIP's 27 patches of 14 see 378 of 384 pixels. Rectangles that divide the whole picture
    drift by half of one, which boxes larger than a patch would not notice."""
    s = short_of_the_view(edge, patch)
    assert prove(s, (size,), probes=24)[0].fine >= 0.95
    m = s.encode([asked("x", picture(edge * 2, edge))]).maps[0]
    last = m.rects[m.kinds == Kind.IMAGE][-1]
    assert last.tolist() == [2 * (edge // patch - 1) * patch, (edge // patch - 1) * patch,
                             2 * (edge // patch) * patch, (edge // patch) * patch]  # fmt: skip

    class Even:
        model_types = ("llava",)

        def claim(self, seen: AdapterInput) -> list[TokenClaims]:
            side = edge // patch
            even = [geometry.base.grid(side, side, (0, 0, *size)) for size in seen.sizes]
            return [geometry.base.claims(Kind.IMAGE, rects) for rects in even]

    even = Even()
    geometry.register(even)
    try:
        assert prove(s, (size,), probes=24)[0].fine < 0.65
    finally:
        geometry.unregister(even)


def short_of_the_view(edge: int, patch: int) -> Subject:
    from transformers import SiglipVisionConfig
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = make_tokenizer(named={"image_token": "<image>"})
    vision = SiglipVisionConfig(**vision_options(edge, patch), vision_use_head=False)
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**text_options(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="full",
    )
    processor = LlavaProcessor(
        SiglipImageProcessorPil(size={"height": edge, "width": edge}),
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=tokenizer.chat_template,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    quiet(model)
    return Subject(model, processor, name="short")


@pytest.mark.parametrize(
    ("make", "edge"),
    [(families.llava_next, 36), (families.llava_onevision, 36), (families.gemma3, 76)],
)
def test_tiles_and_pools_that_fall_short(make: families.Maker, edge: int) -> None:
    """Every tile loses its last pixels, and a pool the patches that it leaves over: a sheet or a
    grid that divides the whole would drift within each."""
    torch.manual_seed(0)
    model, processor = make(edge)
    quiet(model)
    rows = prove(Subject(model, processor, name="short"), SIZES, probes=24)
    check(rows)
    assert min(r.fine for r in rows) >= 0.65


def _turned(rects: np.ndarray) -> np.ndarray:
    side = math.isqrt(len(rects))
    return rects.reshape(side, side, 4).transpose(1, 0, 2).reshape(-1, 4)


def test_llava_without_a_crop_and_with_padding() -> None:
    s = tiny("llava")
    processor = s.processor.image_processor
    processor.size = {"height": 64, "width": 64}
    processor.do_center_crop = False
    check(prove(s, SIZES))
    assert all(r.unseen == 0 for r in prove(s, SIZES, probes=6))


def test_llavas_own_padding_to_a_square() -> None:
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    s = tiny("llava")
    s.processor.image_processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )
    rows = prove(s, SIZES)
    check(rows)
    m = s.encode([asked("x", picture(150, 70))]).maps[0]
    assert (m.kinds == Kind.NEWLINE).sum() > 0, "tokens on padding look nowhere"


def test_llava_with_its_cls_token_kept() -> None:
    s = tiny("llava")
    s.model.config.vision_feature_select_strategy = "full"
    s.processor.vision_feature_select_strategy = "full"
    m = s.encode([asked("x", picture(64, 64))]).maps[0]
    assert m.geometry == "known"
    assert m.kinds[m.image == 0][0] == Kind.NEWLINE
    check(prove(s, ((96, 96),)))


def test_gemma_pans_and_scans() -> None:
    s = tiny("gemma3")
    s.processor.images_kwargs = {
        **s.processor.images_kwargs,
        "do_pan_and_scan": True,
        "pan_and_scan_min_crop_size": 16,
    }
    m = s.encode([asked("x", picture(150, 70))]).maps[0]
    assert m.geometry == "known"
    assert (m.kinds == Kind.TILE).sum() == 32
    check(prove(s, SIZES))


def test_idefics_and_internvl_without_tiles() -> None:
    s = tiny("idefics3")
    s.processor.image_processor.do_image_splitting = False
    check(prove(s, SIZES))
    v = tiny("internvl")
    v.processor.images_kwargs = {**v.processor.images_kwargs, "crop_to_patches": False}
    check(prove(v, SIZES), precision=0.8)
    assert v.encode([asked("x", picture(150, 70))]).maps[0].kinds.max() != Kind.TILE


def test_onevision_shrinks_a_sheet_that_is_too_large() -> None:
    s = tiny("llava_onevision")
    s.processor.vision_aspect_ratio = s.model.config.vision_aspect_ratio = "anyres_max_2"
    check(prove(s, SIZES))


def test_a_family_without_an_adapter_works_and_says_what_to_do(subject) -> None:
    """Everything but rectangles: encoding, running, answering."""
    s = tiny("llava")
    s.model.config.model_type = "brand_new"
    try:
        batch = s.encode([asked("x", picture(90, 50))])
    finally:
        del s.model.config.model_type
    m = batch.maps[0]
    assert "'brand_new'" in m.geometry and "register" in m.geometry
    assert (m.kinds == Kind.IMAGE).sum() == 16 and np.isnan(m.rects).all()
    assert s.logits(batch).shape[1] == len(m)


def test_thirty_lines_teach_a_new_family() -> None:
    class Mine:
        model_types = ("brand_new",)

        def claim(self, seen: AdapterInput) -> list[TokenClaims]:
            return [
                geometry.base.claims(Kind.IMAGE, geometry.base.grid(4, 4, (0, 0, *size)))
                for size in seen.sizes
            ]

    mine = Mine()
    s = tiny("llava")
    s.processor.image_processor.do_center_crop = False
    s.processor.image_processor.size = {"height": 64, "width": 64}
    s.model.config.model_type = "brand_new"
    geometry.register(mine)
    try:
        check(prove(s, SIZES))
    finally:
        geometry.unregister(mine)


def test_an_adapter_that_miscounts_is_found_out() -> None:
    """Rectangles moved by one token would look right and be wrong everywhere."""
    s = tiny("llava")

    class Short:
        model_types = ("llava",)

        def claim(self, seen: AdapterInput) -> list[TokenClaims]:
            return [geometry.base.nowhere(3)]

    short = Short()
    geometry.register(short)
    try:
        m = s.encode([asked("x", picture(64, 64))]).maps[0]
    finally:
        geometry.unregister(short)
    assert "claims [3] tokens" in m.geometry


def test_families_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Those named, as JSON; a wrong name is answered with the right ones."""
    words = ["evaluate", "geometry", "--families", "llava_next", "qwen2_vl", "--probes", "3"]
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["family"] for row in rows} == {"llava_next", "qwen2_vl"}
    assert {row["family"] for row in rows if row["size"][0] != row["size"][1]} == {*words[3:5]}
    assert main(["evaluate", "geometry", "--families", "lava"]) == 2
    assert "paligemma" in capsys.readouterr().err
