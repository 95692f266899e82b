"""From names to models: what is found, and sentences for what is not."""

import socket

import pytest
import torch
from huggingface_hub import constants
from samples_of_subjects import asked, picture

from semascope.errors import ModelNotFound, SubjectError
from semascope.subject import Subject
from semascope.subject.loading.load import _hub_answers
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


@pytest.fixture
def closed_hub(monkeypatch) -> None:
    """A hub at a port of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")


@pytest.mark.usefixtures("closed_hub")
def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch, caplog) -> None:
    """transformers asks it six times; what it gave before is looked for at once instead."""
    asked_for = []

    def config(where: str, *, local_files_only: bool, **_: object) -> None:
        asked_for.append((where, local_files_only))
        raise OSError("not in the cache")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", config)
    with pytest.raises(ModelNotFound, match="without a network"):
        Subject.load("org/model")
    assert asked_for == [("org/model", True)]
    assert "cannot be reached" in caplog.text


@pytest.mark.usefixtures("closed_hub")
@pytest.mark.parametrize("proxy", ["http_proxy", "all_proxy"])
def test_behind_a_proxy_the_hub_is_asked(monkeypatch, proxy: str) -> None:
    """Only the proxy can tell whether the hub is there."""
    assert not _hub_answers()
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    assert _hub_answers()


@pytest.mark.usefixtures("closed_hub")
def test_who_wants_to_be_offline_is_not_told_that_the_hub_is_away(monkeypatch) -> None:
    """HF_HUB_OFFLINE asks nobody; the hub's own library reads its cache alone."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert _hub_answers()


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
