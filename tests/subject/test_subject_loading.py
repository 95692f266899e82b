"""From names to models: what is found, and sentences for what is not."""

import pytest
import torch
from samples_of_subjects import asked, picture

from semascope.errors import ModelNotFound, SubjectError
from semascope.subject import Subject
from semascope.subject.testing import tiny


@pytest.mark.parametrize("family", ["llama", "llava", "qwen2_vl", "llava_onevision"])
def test_a_folder_gives_back_the_model_that_was_saved(subject, family, tmp_path) -> None:
    """Families that read video must load where torchvision is missing."""
    s = subject(family)
    s.model.save_pretrained(tmp_path)
    (s.processor or s.tokenizer).save_pretrained(tmp_path)
    again = Subject.load(tmp_path, device="cpu")
    sample = asked("What?", *((picture(90, 50),) if s.has_vision else ()))
    batch, same = s.encode([sample]), again.encode([sample])
    assert batch.maps[0].tokens == same.maps[0].tokens
    assert same.maps[0].geometry == "known"
    torch.testing.assert_close(again.logits(same), s.logits(batch))
    assert again.sites() == s.sites()


def test_spread_over_what_devices_there_are(subject, tmp_path) -> None:
    """Hooks must find their sites under accelerate's dispatch too; here on the one device."""
    s = subject("llava")
    s.model.save_pretrained(tmp_path)
    s.processor.save_pretrained(tmp_path)
    spread = Subject.load(tmp_path, device="spread", dtype="float32")
    batch = s.encode([asked("What?", picture(90, 50))])
    for site, x in s.run(batch, ["vision.0", "projector", "resid_post.1"]).items():
        torch.testing.assert_close(spread.run(batch, [site])[site].cpu(), x)


@pytest.mark.parametrize("ref", ["./nothing/here", "/no/such/folder", "", "a/b/c"])
def test_a_path_that_is_not_there(ref: str) -> None:
    with pytest.raises(ModelNotFound, match="sprite-llava"):
        Subject.load(ref)


def test_a_folder_without_a_model(tmp_path) -> None:
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        Subject.load(tmp_path)


def test_a_hub_name_without_a_hub() -> None:
    with pytest.raises(ModelNotFound, match="without a network"):
        Subject.load("nobody-at-all/nothing-at-all", offline=True)


def test_wrong_dtypes_and_devices(tmp_path, monkeypatch) -> None:
    with pytest.raises(SubjectError, match="choose one of auto, float32"):
        Subject.load(tmp_path, dtype="float12")
    with pytest.raises(SubjectError, match="needs a GPU"):
        Subject.load(tmp_path, device="cpu", dtype="int4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SubjectError, match="device='cpu'"):
        Subject.load(tmp_path, device="cuda")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_and_reads_in_half_precision(dtype: str) -> None:
    s = tiny("llava")
    s.model.to(getattr(torch, dtype))
    batch = s.encode([asked("What?", picture(40, 40))])
    assert s.run(batch, ["resid_post.1"])["resid_post.1"].dtype == getattr(torch, dtype)
    assert len(s.generate(asked("What?", picture(40, 40)), max_new_tokens=2).tokens) == 2


def test_unknown_tiny_family() -> None:
    with pytest.raises(ModelNotFound, match="llava"):
        tiny("nothing")
