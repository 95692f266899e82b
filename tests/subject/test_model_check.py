"""Caches, sites and the model check, on models made tiny from their config."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from semascope.corpus.sample import Sample
from semascope.errors import ModelNotFound, SubjectError
from semascope.subject import Subject
from semascope.subject.check import check, failures
from semascope.subject.generation.cache import cache_of, first_position
from semascope.subject.testing import MAKERS, make_tokenizer, tiny

SAMPLE = Sample("a", text="how many birds do you see there")


def made(name: str, **options: Any) -> Subject:
    """A causal language model of three small layers."""
    tokenizer = make_tokenizer()
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.data.normal_(std=0.15)
    return Subject(model, tokenizer, name=name)


SUBLAYERS = {
    "Bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "Mpt": {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 64},
    "Falcon": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    "Granite": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "residual_multiplier": 0.22,
    },
    "OPT": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    },
    "Olmo2": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


@pytest.mark.parametrize("name", SUBLAYERS)
def test_sublayer_sites_are_what_the_layer_adds(name: str) -> None:
    """BLOOM and MPT return the stream itself, Falcon changes it in place, Granite scales, OPT drops
    the batch axis, OLMo 2 normalises: each would be read wrongly by its module's name."""
    s = made(name, **SUBLAYERS[name])
    batch = s.encode([SAMPLE, Sample("b", text="two red circles")])
    x = s.run(batch, "resid_pre.1, attn_out.1, mlp_out.1, resid_post.1", stop=False)
    assert {tuple(v.shape) for v in x.values()} == {(*batch.inputs["input_ids"].shape, s.d_model)}
    whole = x["resid_pre.1"] + x["attn_out.1"] + x["mlp_out.1"]
    torch.testing.assert_close(whole, x["resid_post.1"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["Granite", "OPT", "Bloom"])
def test_an_edit_of_a_sublayer_adds_what_it_adds(name: str) -> None:
    """A vector put into mlp_out must arrive in the residual stream as it is."""
    s = made(name, **SUBLAYERS[name])
    batch, v = s.encode([SAMPLE]), torch.linspace(-1, 1, 32)
    plain = s.run(batch, "resid_post.1")["resid_post.1"]
    moved = s.run(batch, "resid_post.1", edits={"mlp_out.1": lambda x, _: x + v})["resid_post.1"]
    torch.testing.assert_close(moved, plain + v, rtol=1e-3, atol=1e-4)


RECURRENT = {
    "Mamba": {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 3},
    "Rwkv": {"hidden_size": 32, "num_hidden_layers": 3, "context_length": 64},
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_models_answer_as_without_a_cache(name: str) -> None:
    """A cache handed back under a wrong name makes each token of the last one alone; padding that
    is read changes the answer of the shorter prompt."""
    s = made(name, **RECURRENT[name])
    other = Sample("b", text="two red circles and a blue square are here")
    both = s.generate_batch([SAMPLE, other], max_new_tokens=4)
    for sample, told in zip((SAMPLE, other), both, strict=True):
        ids, truth = s.encode([sample], answer="", side="left").inputs["input_ids"], []
        for _ in range(len(told.tokens)):
            logits = s.model(input_ids=ids, use_cache=False).logits[0, -1]
            truth.append(int(logits.argmax()))
            ids = torch.cat([ids, torch.tensor([[truth[-1]]])], 1)
        assert [token.id for token in told.tokens] == truth


@pytest.mark.parametrize("name", ["cache", "past_key_values", "cache_params"])
def test_a_cache_is_found_by_every_name_it_has_had(name: str) -> None:
    """Read under one name alone, positions are 0 where transformers uses another."""
    held = SimpleNamespace(get_seq_length=lambda: 7)
    assert first_position({name: held}) == 7
    assert first_position({name: None}) == 0
    assert cache_of({name: held}) is held
    with pytest.raises(SubjectError, match="does not say how many"):
        first_position({name: object()})


@pytest.mark.parametrize("family", MAKERS)
def test_every_tiny_family_passes_the_check(family: str) -> None:
    """Right, or one sentence: these are right."""
    assert failures(check(tiny(family))) == []


def test_the_check_fails_where_weights_are_no_numbers() -> None:
    """A check that cannot fail would be no check."""
    s = tiny("llama")
    next(s.model.parameters()).data[0, 0] = torch.nan
    assert "weights" in {outcome.name for outcome in failures(check(s))}


def test_a_prompt_longer_than_the_context_is_a_sentence() -> None:
    """GPT-2 has learnt 512 positions: one more ends in an index out of range."""
    s = tiny("gpt2")
    with pytest.raises(SubjectError, match="reads 512 at most"):
        s.generate(Sample("long", text="red circle " * 600), max_new_tokens=2)


@pytest.fixture
def folder(tmp_path) -> Any:
    s = tiny("llama")
    s.model.save_pretrained(tmp_path / "good")
    s.tokenizer.save_pretrained(tmp_path / "good")
    return tmp_path / "good"


def test_missing_weights_stop_the_load_and_are_named(folder) -> None:
    """Random numbers would stand in their place, in silence."""
    file = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if "layers.1.mlp.up_proj" not in k}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(SubjectError, match=r"1 are missing: model\.layers\.1\.mlp\.up_proj"):
        Subject.load(folder)
    assert Subject.load(folder, trust=True).d_model == 32


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "tpu", "meta"])
def test_devices_that_are_none_are_sentences(folder, device: str) -> None:
    """torch would end in a traceback."""
    with pytest.raises(SubjectError, match="There is no device"):
        Subject.load(folder, device=device)


def test_a_folder_one_level_up_or_down_is_named(folder, tmp_path) -> None:
    """The model is there, a folder away."""
    with pytest.raises(ModelNotFound, match="good'"):
        Subject.load(tmp_path)
    (folder / "deeper").mkdir()
    with pytest.raises(ModelNotFound, match="There is one in"):
        Subject.load(folder / "deeper")


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.safetensors"])
def test_git_lfs_pointers_are_named(folder, name: str) -> None:
    """Any of a model's files may be one."""
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelNotFound, match="git-lfs pointer"):
        Subject.load(folder)
    shutil.rmtree(folder)
