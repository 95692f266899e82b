"""What a checkpoint's files do not say: decided by the tensors, said by the caller, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from semascope.dictionary import CoderConfig, SparseCoder, detect, load, save
from semascope.dictionary.formats import sites
from semascope.errors import FormatError

D, WIDTH = 8, 32


def saelens(folder: Path, config: dict[str, Any], **tensors: Tensor) -> Path:
    """A checkpoint of SAELens with random weights."""
    draw = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    usual = {
        "W_enc": torch.randn((D, WIDTH), generator=draw),
        "b_enc": torch.zeros(WIDTH),
        "W_dec": torch.randn((WIDTH, D), generator=draw),
        "b_dec": torch.randn(D, generator=draw),
    }
    save_file({**usual, **tensors}, folder / "sae_weights.safetensors")
    plain = {"architecture": "standard", "apply_b_dec_to_input": True}
    (folder / "cfg.json").write_text(json.dumps({**plain, **config}))
    return folder


@pytest.mark.parametrize(
    ("config", "k"),
    [
        ({"architecture": "topk", "activation_fn_kwargs": {"k": 5}}, 5),
        (
            {"architecture": "topk", "activation_fn_str": "relu", "activation_fn_kwargs": {"k": 5}},
            5,
        ),
        ({"activation_fn": "topk", "activation_fn_kwargs": {"k": 6}}, 6),
        ({"architecture": "topk", "k": 7}, 7),
        ({"architecture": "topk", "k": 7.0}, 7),
    ],
)
def test_k_is_read_from_wherever_a_version_wrote_it(
    config: dict[str, Any], k: int, tmp_path: Path
) -> None:
    """Read as a default of 32, every reconstruction would be of 32 latents instead of 5."""
    coder = load(saelens(tmp_path, config))
    assert (coder.cfg.architecture, coder.k) == ("topk", k)


def test_k_that_nobody_says_is_asked_for_and_a_contradiction_refused(tmp_path: Path) -> None:
    """A guess is wrong without a sign of it; two values cannot both be right."""
    folder = saelens(tmp_path, {"architecture": "topk"})
    with pytest.raises(FormatError, match=r"cfg\.json does not say k.*--k N"):
        load(folder)
    assert load(folder, k=9).k == 9
    both = {"architecture": "topk", "k": 4, "activation_fn_kwargs": {"k": 5}}
    with pytest.raises(FormatError, match="given as 4 and 5"):
        load(saelens(tmp_path, both))
    with pytest.raises(FormatError, match="given as 4 and 9"):
        load(saelens(tmp_path, {"architecture": "topk", "k": 4}), k=9)


@pytest.mark.parametrize(
    ("config", "tensors", "match"),
    [
        ({"architecture": None}, {}, "--architecture NAME"),
        ({"apply_b_dec_to_input": None}, {}, "--subtract-b-dec"),
        ({"normalize_activations": "expected_average_only_in"}, {}, "--scale S"),
        ({"normalize_activations": "constant_norm_rescale"}, {}, "cannot be folded"),
        ({"normalize_activations": "covariance_whitening"}, {}, "fold_activation_whitening"),
        ({"d_sae": 31}, {}, "d_sae is 31, but the tensors say 32"),
        ({}, {"threshold": torch.ones(WIDTH)}, "correct its architecture to jumprelu"),
        ({}, {"scaling_factor": torch.full((WIDTH,), 2.0)}, "finetuning_scaling_factor"),
        ({}, {"b_dec_out": torch.ones(D)}, "holds b_dec_out"),
        ({"architecture": "jumprelu"}, {}, "lacks threshold"),
        ({"architecture": "temporal"}, {}, "'temporal' cannot be read; standard"),
    ],
)
def test_what_decides_the_result_is_never_made_up(
    config: dict[str, Any], tensors: dict[str, Tensor], match: str, tmp_path: Path
) -> None:
    """One sentence that names the field, the file, and what to give instead."""
    with pytest.raises(FormatError, match=match) as caught:
        load(saelens(tmp_path, config, **tensors))
    assert str(tmp_path) in str(caught.value)


def test_an_unfolded_scale_is_folded_from_where_it_lies(tmp_path: Path) -> None:
    """A run under way keeps the factor beside the weights, which are for x times it."""
    scale, x = 0.1, torch.randn(40, D) * 10 + 30
    folder = saelens(tmp_path, {"normalize_activations": "expected_average_only_in"})
    plain = load(saelens(tmp_path / "plain", {}))
    want = plain.decode(plain.encode(x * scale)) / scale
    scaled = [load(folder, scale=scale)]
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": scale}))
    scaled.append(load(folder))
    for coder in scaled:
        torch.testing.assert_close(coder.decode(coder.encode(x)), want, rtol=1e-4, atol=1e-3)
    with pytest.raises(FormatError, match="the scale is given as"):
        load(folder, scale=2.0)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.1, "has_whitening": true}')
    with pytest.raises(FormatError, match="whitens"):
        load(folder)


def test_topk_and_batchtopk_of_dictionary_learning_are_not_guessed(tmp_path: Path) -> None:
    """Their tensors have the same names: config.json decides, or the caller."""
    coder = SparseCoder(CoderConfig(d_in=D, width=WIDTH, k=4, architecture="batchtopk"), seed=1)
    coder.activation.threshold.fill_(0.3)  # type: ignore[union-attr,operator]
    save(coder, tmp_path, to="dictionary_learning")
    assert load(tmp_path, allow_pickle=True).cfg.architecture == "batchtopk"
    (tmp_path / "config.json").unlink()
    with pytest.raises(FormatError, match=r"TopK or BatchTopK.*--architecture topk or batchtopk"):
        load(tmp_path, allow_pickle=True)
    for name in ("topk", "batchtopk"):
        again = load(tmp_path, allow_pickle=True, architecture=name)  # type: ignore[arg-type]
        assert (again.cfg.architecture, again.k) == (name, 4)
    state = torch.load(tmp_path / "ae.pt")
    torch.save({name: t for name, t in state.items() if name != "k"}, tmp_path / "ae.pt")
    with pytest.raises(FormatError, match="does not say k"):
        load(tmp_path, allow_pickle=True, architecture="topk")
    torch.save({**state, "threshold": torch.tensor(-1.0)}, tmp_path / "ae.pt")
    with pytest.raises(FormatError, match="--threshold T"):
        load(tmp_path, allow_pickle=True, architecture="batchtopk")


def test_a_backup_of_dictionary_learning_is_of_scaled_activations(tmp_path: Path) -> None:
    """Its biases are folded only at the end of a run: norm_factor is what x is divided by."""
    coder, x = SparseCoder(CoderConfig(d_in=D, width=WIDTH, k=4), seed=1), torch.randn(9, D)
    coder.b_dec.data.normal_()
    save(coder, tmp_path, to="dictionary_learning")
    state = torch.load(tmp_path / "ae.pt")
    torch.save({"step": 3, "ae": state, "norm_factor": 5.0}, tmp_path / "ae.pt")
    again = load(tmp_path, allow_pickle=True)
    want = coder.decode(coder.encode(x / 5)) * 5
    torch.testing.assert_close(again.decode(again.encode(x)), want, rtol=1e-4, atol=1e-5)


def test_openai_without_its_activation(tmp_path: Path) -> None:
    """Published files without the key are ReLU; those of train.py are TopK and look alike."""
    save(SparseCoder(CoderConfig(d_in=D, width=WIDTH, architecture="relu"), seed=1), tmp_path,
         to="openai")  # fmt: skip
    state = torch.load(tmp_path / "openai.pt")
    del state["activation"]
    torch.save(state, tmp_path / "openai.pt")
    assert load(tmp_path, allow_pickle=True).cfg.architecture == "relu"
    del state["latents_mean_square"]
    torch.save(state, tmp_path / "openai.pt")
    with pytest.raises(FormatError, match="--architecture relu or topk"):
        load(tmp_path, allow_pickle=True)


def test_llamascopium_norms_are_not_passed_over(tmp_path: Path) -> None:
    """Weights for scaled activations look like others."""
    coder = SparseCoder(
        CoderConfig(d_in=D, width=WIDTH, architecture="relu", subtract_b_dec=False), seed=1
    )
    save(coder, tmp_path, to="llamascopium")
    path = tmp_path / "config.json"
    cfg = json.loads(path.read_text())
    path.write_text(json.dumps({**cfg, "norm_activation": "dataset-wise"}))
    with pytest.raises(FormatError, match="--scale S"):
        load(tmp_path)
    assert torch.equal(load(tmp_path, scale=1.0).W_enc, coder.W_enc)
    path.write_text(json.dumps({**cfg, "act_fn": None}))
    with pytest.raises(FormatError, match="act_fn"):
        load(tmp_path)


@pytest.mark.parametrize("to", ["sparsify", "saelens", "llamascopium"])
def test_where_a_transcoder_writes_survives_every_format(to: str, tmp_path: Path) -> None:
    """Attribution and steering would put its directions where it reads."""
    cfg = CoderConfig(d_in=D, width=WIDTH, architecture="relu", d_out=D, subtract_b_dec=False)
    coder = SparseCoder(cfg, site="mlp_in.12", seed=1)
    for target in ("mlp_out.12", "some.module", ""):
        coder.site_out = target
        save(coder, tmp_path, to=to)
        again = load(tmp_path)
        assert (again.site, again.site_out) == ("mlp_in.12", target)
        assert again.cfg.transcodes


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("blocks.3.hook_resid_post", "resid_post.3"),
        ("blocks.11.hook_resid_pre", "resid_pre.11"),
        ("blocks.0.hook_mlp_out", "mlp_out.0"),
        ("blocks.7.hook_attn_out", "attn_out.7"),
        ("blocks.7.mlp.hook_post", "mlp_neurons.7"),
        ("model.layers.12.output", "resid_post.12"),
        ("layers.10", "resid_post.10"),
        ("h.3", "resid_post.3"),
        ("layers.10.mlp", "mlp_out.10"),
        ("transformer.h.5.attn", "attn_out.5"),
        ("resid_post_layer_8", "resid_post.8"),
        ("blocks.5.ln2.hook_normalized", "blocks.5.ln2.hook_normalized"),
        ("blocks.5.attn.hook_z", "blocks.5.attn.hook_z"),
        ("model.layers.7.post_feedforward_layernorm.output",) * 2,
    ],
)
def test_names_of_hook_points(theirs: str, ours: str) -> None:
    """Only what is the same tensor is mapped: before a norm's scale is not after it."""
    assert sites.ours(theirs) == ours
    if theirs.startswith("blocks.") and sites.known(ours):
        assert sites.lens(ours) == theirs


def test_a_folder_of_dictionaries_says_where_to_look(tmp_path: Path) -> None:
    """A repository of 32 layers is cloned as one folder; a file of weights is named directly."""
    coder = SparseCoder(CoderConfig(d_in=D, width=WIDTH, k=4), seed=1)
    for layer in (2, 10):
        save(coder, tmp_path / "run" / f"layers.{layer}")
    with pytest.raises(FormatError, match=r"folder of 2: run/layers\.2, run/layers\.10"):
        load(tmp_path)
    inner = tmp_path / "run" / "layers.10"
    for path in (inner, inner / "sae.safetensors"):
        assert detect(path) == "sparsify"
        assert torch.equal(load(path).W_enc, coder.W_enc)
    cfg = json.loads((inner / "cfg.json").read_text())
    del cfg["semascope"]
    (inner / "cfg.json").write_text(json.dumps(cfg))
    assert load(inner).site == "resid_post.10"  # sparsify names folders by module


def test_gemma_scope_names_its_site_in_its_folders(tmp_path: Path) -> None:
    """The archive holds weights alone."""
    weights = {"W_enc": (D, WIDTH), "W_dec": (WIDTH, D), "b_enc": WIDTH, "b_dec": D}
    arrays = {name: np.ones(shape, "f4") for name, shape in weights.items()}
    for repository, site in (("gemma-scope-2b-pt-res", "resid_post.20"), ("elsewhere", "")):
        folder = tmp_path / repository / "layer_20" / "width_16k"
        folder.mkdir(parents=True)
        np.savez(folder / "params.npz", **arrays, threshold=np.ones(WIDTH, "f4"))
        assert load(folder).site == site
    with pytest.raises(FormatError, match="read and not written"):
        save(load(folder), tmp_path / "out", to="scopes")


def test_layer_normed_outputs_are_multiplied_by_the_deviation_alone(tmp_path: Path) -> None:
    """By std + 1e-5, a token of std .001 would come back 1 % too long."""
    cfg = CoderConfig(d_in=D, width=WIDTH, k=4, layer_norm=True, unit_norm=False)
    coder, x = SparseCoder(cfg, seed=1), torch.randn(9, D) * 1e-3
    mean = x.mean(1, keepdim=True)
    std = (x - mean).std(1, keepdim=True)
    pre = ((x - mean) / (std + 1e-5) - coder.b_dec) @ coder.W_enc.t()
    z = torch.zeros_like(pre).scatter(1, pre.topk(4).indices, 1.0) * pre.relu()
    want = (z @ coder.W_dec + coder.b_dec) * std + mean
    for to in ("sparsify", "saelens", "openai"):
        save(coder, tmp_path / to, to=to)
        again = load(tmp_path / to, allow_pickle=True)
        x_hat = again.decode(again.encode(x), x)
        torch.testing.assert_close(x_hat, want.detach(), rtol=1e-4, atol=1e-8)
