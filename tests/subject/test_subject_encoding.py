"""Maps of positions: kinds, roles, padding, truncation, odd pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from samples_of_subjects import asked, picture

from semascope.corpus.sample import Sample, Turn
from semascope.errors import SubjectError
from semascope.subject import Kind, Role, Subject
from semascope.subject.testing import VISION, make_tokenizer


def test_kinds_and_roles_of_a_picture_question(subject) -> None:
    m = subject("llava").encode([asked("What is it?", picture(90, 50), answer="red")]).maps[0]
    image = m.kinds == Kind.IMAGE
    assert image.sum() == 16
    assert (m.image[image] == 0).all() and (m.image[~image] == -1).all()
    assert (m.roles[image] == Role.USER).all()
    words = "".join(t for t, k in zip(m.tokens, m.kinds, strict=True) if k == Kind.TEXT)
    assert words == "What is it?red"
    assert m.roles[m.kinds == Kind.TEXT][-1] == Role.ASSISTANT
    assert np.isnan(m.rects[~image]).all() and not np.isnan(m.rects[image]).any()


def test_plain_text_gets_its_bos_and_a_chat_does_not_get_two(subject) -> None:
    llama = Subject(subject("llama").model, make_tokenizer(add_bos=True), name="with a BOS")
    assert llama.encode([Sample("a", text="cat")]).maps[0].tokens[0] == "<s>"
    assert "<s>" not in llama.encode([asked("cat")]).maps[0].tokens


@pytest.mark.parametrize("family", ["llama", "gpt2", "llava", "qwen2_vl"])
def test_padding_on_either_side_changes_nothing(subject, family: str) -> None:
    """GPT-2 has absolute positions: left padding without position ids would shift them."""
    s = subject(family)
    images = (picture(60, 60),) if s.has_vision else ()
    short, long = asked("What?", *images), asked("What is the colour of the tree house?", *images)
    alone = s.run(s.encode([short]), ["resid_post.2"])["resid_post.2"][0]
    for side in ("left", "right"):
        batch = s.encode([short, long], side=side)
        x = s.run(batch, ["resid_post.2"])["resid_post.2"][0]
        real = torch.from_numpy(batch.maps[0].kinds != Kind.PAD)
        torch.testing.assert_close(x[real], alone, atol=2e-4, rtol=1e-3)
        assert torch.equal(batch.mask[0], real)


@pytest.mark.parametrize("family", ["llava", "llava_next", "idefics3", "gemma3", "qwen2_vl"])
def test_truncation_never_cuts_a_picture(subject, family: str) -> None:
    """Half a picture's tokens would fail in the model, or shift every token after it.

    The budget is of words: were a picture's tokens counted, none of the words after it were read.
    """
    s = subject(family)
    sample = asked("what " * 300, picture(90, 50))
    full = s.encode([sample], max_tokens=None).maps[0]
    looking = np.isin(full.kinds, (Kind.IMAGE, Kind.TILE, Kind.NEWLINE))
    for limit in (4, 40, 250):
        batch = s.encode([sample], max_tokens=limit)
        m = batch.maps[0]
        kept = np.isin(m.kinds, (Kind.IMAGE, Kind.TILE, Kind.NEWLINE))
        assert kept.sum() == looking.sum()
        words = np.flatnonzero(full.kinds == Kind.TEXT)
        assert (m.kinds == Kind.TEXT).sum() in range(min(limit, len(words)) - 30, limit + 1)
        assert len(m) >= np.flatnonzero(looking)[-1] + 1
        assert m.cut == len(full) - len(m) > 0
        assert s.logits(batch).shape[:2] == (1, len(m))


def test_pictures_for_a_subject_without_sight(subject) -> None:
    with pytest.raises(SubjectError, match="reads text only"):
        subject("llama").encode([asked("x", picture(8, 8))])


@pytest.mark.parametrize("family", VISION)
def test_the_smallest_pictures_are_read(subject, family: str) -> None:
    """Shapes of 1 and 3 are where channels get mistaken for rows."""
    s = subject(family)
    for size in ((1, 1), (3, 40), (40, 3)):
        batch = s.encode([asked("x", picture(*size))])
        m = batch.maps[0]
        assert m.geometry == "known"
        seen = m.rects[m.image == 0]
        assert np.nanmax(seen[:, 2]) <= size[0] and np.nanmax(seen[:, 3]) <= size[1]
        assert torch.isfinite(s.run(batch, ["resid_pre.0"])["resid_pre.0"]).all()


def test_a_picture_like_a_thread_is_refused_in_a_sentence(subject) -> None:
    with pytest.raises(SubjectError, match="too long and thin"):
        subject("llava").encode([asked("x", Image.new("RGB", (20_000, 3)))])


def test_other_modes_become_rgb(subject) -> None:
    s = subject("llava")
    for mode in ("L", "RGBA", "CMYK", "P", "1"):
        batch = s.encode([asked("x", picture(30, 20).convert(mode))])
        assert batch.inputs["pixel_values"].shape == (1, 3, 64, 64)


def test_nothing_to_encode_is_an_error(subject) -> None:
    with pytest.raises(SubjectError, match="at least one"):
        subject("llama").encode([])


def test_a_sample_without_a_token_is_refused_in_words(subject) -> None:
    with pytest.raises(SubjectError, match="is empty"):
        subject("llama").encode([Sample("a", text="")])


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_words_that_stand_for_a_picture_are_named(subject, family: str) -> None:
    s = subject(family)
    mark = s.encoder.text(s.encoder.image_token_id)
    with pytest.raises(SubjectError, match="replaces by a picture") as refused:
        s.encode([asked(f"What is {mark} there?", picture(90, 50))])
    assert mark in str(refused.value)
    assert s.encode([asked(f"What is {mark} there?")]).maps[0].sizes == ()


@pytest.mark.parametrize("family", VISION)
@pytest.mark.parametrize("count", [1, 2])
def test_the_budget_is_of_words(subject, family: str, count: int) -> None:
    """Words behind many image tokens are read, however many those are; what is cut is counted."""
    s = subject(family)
    pictures = tuple(picture(64, 48) for _ in range(count))
    turns = (Turn("user", "what is it ?", images=count), Turn("assistant", "red " * 40))
    sample = Sample("a", turns=turns, images=pictures)
    full = s.encode([sample], max_tokens=None).maps[0]
    words = int((full.kinds == Kind.TEXT).sum())
    some = s.encode([sample], max_tokens=24).maps[0]
    assert 0 < (some.kinds == Kind.TEXT).sum() <= 24
    assert some.cut == len(full) - len(some) > 0
    enough = s.encode([sample], max_tokens=words + 40 * count).maps[0]
    assert len(enough) == len(full) and enough.cut == 0
