"""What other processors make of samples: batches as alone, settings missing, own places."""

from __future__ import annotations

import logging

import benchmarks.picture_families as survey
import numpy as np
import pytest
import torch
from samples_of_subjects import asked, picture
from transformers import LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from semascope.cli.opened import asked_of
from semascope.corpus.sample import Sample
from semascope.errors import SubjectError
from semascope.subject import Kind, Subject, forward, geometry
from semascope.subject.inputs.batching import AxisLayout, BatchRow, collate, measure
from semascope.subject.inputs.processor import complete
from semascope.subject.testing import (
    ALL,
    NEED_TORCHVISION,
    TEXT,
    UNPLACED,
    VISION,
    make_tokenizer,
    tiny,
)
from semascope.subject.video.padding import context_length

SIGHTED = (*VISION, *UNPLACED)
SEEN = (Kind.IMAGE, Kind.TILE, Kind.NEWLINE)


def differences(s: Subject, samples: list[Sample], side: str) -> float:
    """How far the rows of a batch are from what they are alone, in units of their own size."""
    site = [name for name in s.sites() if name.startswith("resid_post")][-1]
    batch = s.encode(samples, side=side)
    x = s.run(batch, site)[site]
    worst = 0.0
    for n, sample in enumerate(samples):
        alone = s.run(s.encode([sample]), site)[site][0]
        worst = max(worst, float((x[n][batch.mask[n]] - alone).abs().max() / alone.abs().mean()))
    return worst


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", SIGHTED)
def test_rows_are_as_alone_whatever_stands_beside_them(subject, family: str, side: str) -> None:
    """Masks over tokens, tiles and pictures (Mllama), masks over pixels (Idefics2): filled up by
    their shape alone they would have a row see its neighbour's tokens or pictures."""
    s = subject(family)
    short, long = (
        asked("What?", picture(60, 60)),
        asked("Is it the red one there?", picture(96, 64)),
    )
    assert differences(s, [short, long], side) < 1e-3
    several = [asked("Which is it of these?", picture(60, 60), picture(40, 90)), short]
    for samples in (several, [long, asked("A red circle.")]):
        try:
            assert differences(s, samples, side) < 1e-3
        except SubjectError as error:
            assert family in UNPLACED and (
                "takes one only" in str(error) or "without a pic" in str(error)
            )


def test_mllama_runs_its_cross_attention_layers_without_pictures(subject) -> None:
    """transformers skips them, and their sites would be missing; what passes them must stay."""
    s = subject("mllama")
    x = s.run(s.encode([asked("A red circle.")]), "resid_post.*")
    assert torch.equal(x["resid_post.0"], x["resid_post.1"])
    assert not torch.equal(x["resid_post.1"], x["resid_post.2"])


@pytest.mark.parametrize("family", UNPLACED)
def test_no_rectangle_is_made_up(subject, family: str) -> None:
    """Where no token stands for one place, a rectangle would be a lie."""
    m = subject(family).encode([asked("What?", picture(60, 40))]).maps[0]
    assert m.geometry != "known" and np.isnan(m.rects).all()
    assert (m.kinds == Kind.IMAGE).any()


@pytest.mark.parametrize(("family", "tokens"), [("blip_2", 4), ("instructblip", 4), ("kosmos2", 4)])
def test_processors_that_put_the_picture_there_themselves(
    subject, family: str, tokens: int
) -> None:
    """One placeholder more would be read as a word, or shift what the model makes of pictures."""
    s = subject(family)
    m = s.encode([asked("What?", picture(60, 40))]).maps[0]
    assert (m.kinds == Kind.IMAGE).sum() == tokens
    words = "".join(t for t, k in zip(m.tokens, m.kinds, strict=True) if k == Kind.TEXT)
    assert words.strip() == "What?"
    with pytest.raises(SubjectError, match="takes one only"):
        s.encode([asked("Which?", picture(60, 40), picture(60, 40))])


def old_llava(**options) -> Subject:
    """LLaVA with the processor of a checkpoint that an old version of transformers saved."""
    s, tokenizer = tiny("llava"), make_tokenizer(named={"image_token": "<image>"})
    size = {"height": 64, "width": 64}
    images = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size=size)
    template = tokenizer.chat_template
    processor = LlavaProcessor(images, tokenizer, chat_template=template, **options)
    return Subject(s.model, processor, name="old")


def test_settings_that_are_missing_come_from_the_config() -> None:
    """Patch size, what becomes of the class token, and whether there is one."""
    s = old_llava()
    m = s.encode([asked("What?", picture(64, 64))]).maps[0]
    assert (m.kinds == Kind.IMAGE).sum() == 16 and m.geometry == "known"
    s = tiny("llava_onevision")
    s.processor.num_image_tokens = None
    assert (s.encode([asked("What?", picture(64, 64))]).maps[0].kinds == Kind.IMAGE).sum() == 16
    s = tiny("blip_2")
    s.processor.num_query_tokens = None
    assert (s.encode([asked("What?", picture(64, 64))]).maps[0].kinds == Kind.IMAGE).sum() == 4


def test_settings_that_nothing_tells_are_asked_for() -> None:
    """A guess would be a picture's tokens too many or too few."""
    s = old_llava()
    s.model.config.vision_config.model_type = "a_tower_of_its_own"
    try:
        with pytest.raises(SubjectError, match='"num_additional_image_tokens": … into its proc'):
            complete(s.processor, s.model.config)
    finally:
        del s.model.config.vision_config.model_type


def test_tokens_and_vectors_of_pictures_are_counted() -> None:
    """Fewer tokens than vectors pass through transformers in some families without a word."""
    s = tiny("llava")
    s.processor.num_additional_image_tokens = 0
    with pytest.raises(SubjectError, match=r"makes 16 vectors .* puts 15 tokens"):
        s.encode([asked("What?", picture(64, 64))])
    s = tiny("llava")
    s.processor.image_processor.crop_size = {"height": 80, "width": 80}
    with pytest.raises(SubjectError, match="vision side fails"):
        s.encode([asked("What?", picture(90, 90))])


def test_what_a_processor_raises_is_a_sentence() -> None:
    """TypeErrors and the like of other people's code used to end in a traceback."""
    s = tiny("qwen2_vl")
    s.processor.image_processor.merge_size = None
    with pytest.raises(SubjectError, match="processor fails on sample 'q'"):
        s.encode([asked("What?", picture(64, 64))])


def test_axes_are_measured_and_what_cannot_be_is_refused() -> None:
    """By shape alone an output as long as the text by chance would be taken for one by token."""

    def probe(words: int, pictures: int) -> dict[str, torch.Tensor]:
        size = words + 2
        return {
            "input_ids": torch.zeros(1, size, dtype=torch.long),
            "mask": torch.ones(1, pictures, size),
            "pixel_values": torch.ones(1, pictures, 3),  # three is a text's length as well
            "grid": torch.ones(pictures, 2),
            "starts": torch.tensor([[size - 1]]),
        }

    found = measure(probe)
    assert found["mask"] == AxisLayout(tokens=2, prompts=True)
    assert found["pixel_values"] == AxisLayout(prompts=True)
    assert found["grid"] == AxisLayout()
    assert found["starts"].placed
    places = [BatchRow(3, 0), BatchRow(5, 0)]
    parts = [probe(1, 1)["starts"], probe(3, 1)["starts"]]
    with pytest.raises(SubjectError, match="position of pictures in the text"):
        collate("starts", parts, places, 5, found["starts"])
    ragged = [torch.ones(1, 2, dtype=torch.long), torch.ones(1, 3, dtype=torch.long)]
    with pytest.raises(SubjectError, match="differs in shape"):
        collate("strange_numbers", ragged, places, 5, AxisLayout())

    def odd(words: int, pictures: int) -> dict[str, torch.Tensor]:
        return probe(words, pictures) | {"pairs": torch.ones(1, words**2)}

    with pytest.raises(SubjectError, match="'pairs' grows with the text"):
        measure(odd)


def test_a_prompt_longer_than_the_model_reads(caplog: pytest.LogCaptureFixture) -> None:
    """GPT-2 ends in an IndexError there; others answer from positions that they never learned."""
    s = tiny("gpt2")
    sample = Sample("long", text="what " * 700)
    with pytest.raises(SubjectError, match="reads 512 at most"):
        s.encode([sample], answer="", max_tokens=None)
    with caplog.at_level(logging.WARNING):
        m = s.encode([sample, sample], max_tokens=600).maps[0]
    assert len(m) == 512 and s.encoder.shortened == 2
    assert sum("longer samples are cut there" in r.message for r in caplog.records) == 1
    p = tiny("llava")
    p.encoder.context = 20
    with pytest.raises(SubjectError, match="16 of them for pictures"):
        p.encode([asked("What is this there? " * 9, picture(64, 64))], answer="")


@pytest.mark.parametrize("family", sorted(set(TEXT) | set(SIGHTED)))
def test_every_family_tells_its_context(subject, family: str) -> None:
    """The field differs by family; where none is found nothing is bounded."""
    assert context_length(subject(family).model.config) in (512, 2048, 4096)


def test_padding_never_stands_for_a_picture(subject) -> None:
    """A model would look for a picture at every position of padding."""
    tokenizer = make_tokenizer(named={"image_token": "<image>"})
    s = tiny("llava")
    processor = s.processor
    tokenizer.pad_token = "<image>"
    processor.tokenizer = tokenizer
    other = Subject(s.model, processor, name="pad")
    batch = other.encode([asked("What?"), asked("What is this there?")])
    assert int(batch.inputs["input_ids"][0, -1]) != other.encoder.image_token_id


def test_every_maker_is_of_one_list() -> None:
    """A family that is in none would be tested by nothing."""
    assert set(ALL) - set(NEED_TORCHVISION) == {*TEXT, *VISION, *UNPLACED} - set(NEED_TORCHVISION)
    assert not set(UNPLACED) & {t.replace("-", "_") for t in geometry.families()}


def test_the_survey_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A survey that calls everything right would be worth nothing."""
    assert survey.row("mllama", tiny("mllama"))["two_pictures"] == "as alone"
    monkeypatch.setattr(forward, "keep_to_own_pictures", lambda model: None)
    bad = survey.row("mllama", tiny("mllama"))
    assert bad["two_pictures"].startswith("WRONG")
    assert bad["words_alone"].startswith(("WRONG", "TRACEBACK"))
    assert bad["places"] == "said to be unknown" and survey.counted([bad])["wrong"] >= 1


def test_text_only_subjects_are_asked_of_no_picture(subject) -> None:
    """attribute and steer took a drawn scene by default, and then refused it themselves."""
    assert asked_of(subject("llama"), "", "hello") == {"picture": "none", "question": "hello"}
    assert asked_of(subject("llava"), "", "") == {
        "picture": "scene:1",
        "question": "What is in the picture?",
    }
    assert "picture" not in asked_of(subject("llama"), "", "")["question"]
    assert "picture" not in asked_of(subject("llava"), "none", "")["question"]


def test_pictures_that_no_token_stands_for_are_refused() -> None:
    """GIT puts a picture before the text inside the model: no position would be what the map says,
    and a placeholder would be read as a word."""
    from transformers import GitConfig, GitForCausalLM, GitProcessor

    tokenizer = make_tokenizer(chat_template=None)
    size = {"height": 32, "width": 32}
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size)
    options = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = GitConfig(
        vision_config={**options, "image_size": 32, "patch_size": 8, "intermediate_size": 64},
        vocab_size=len(tokenizer),
        intermediate_size=64,
        **options,
    )
    s = Subject(GitForCausalLM(config), GitProcessor(images, tokenizer), name="git")
    with pytest.raises(SubjectError, match="no image tokens in its text"):
        s.encode([asked("What?", picture(60, 40))])
