"""Checkpoints of the peers, made by the peers, read here to the same reconstruction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from semascope.dictionary import CoderConfig, SparseCoder, convert, detect, load, save
from semascope.dictionary.formats import FORMATS
from semascope.errors import FormatError

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(p.name for p in GOLDEN.iterdir())


def reconstruct(coder: SparseCoder, x: Tensor) -> Tensor:
    """Through the codes, as everything else does."""
    return coder.decode(coder.encode(x), x)


def ready(architecture: str, **fields: object) -> SparseCoder:
    """A coder with every weight at work."""
    cfg = CoderConfig(d_in=16, width=64, k=5, architecture=architecture, unit_norm=False, **fields)  # type: ignore[arg-type]
    coder = SparseCoder(cfg, name="main", site="resid_post.3", seed=8)
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if architecture == "batchtopk":
            coder.activation.threshold.fill_(0.5)  # type: ignore[union-attr,operator]
        if architecture == "jumprelu":
            coder.activation.threshold.abs_()  # type: ignore[union-attr,operator]
    return coder.eval()


@pytest.mark.parametrize("case", CASES)
def test_golden_files_of_the_peers(case: str) -> None:
    """Layout, biases, thresholds and norms: any mistake shows in the reconstruction."""
    data = load_file(GOLDEN / case / "golden.safetensors")
    assert detect(GOLDEN / case) == case.split("-")[0]
    coder = load(GOLDEN / case, allow_pickle=True)
    torch.testing.assert_close(reconstruct(coder, data["x"]), data["x_hat"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_golden_files_convert_to_ours(case: str, tmp_path: Path) -> None:
    """Every peer's dictionary can be written in the native format without loss."""
    name, coder = convert(GOLDEN / case, tmp_path, allow_pickle=True)
    data = load_file(GOLDEN / case / "golden.safetensors")
    again = load(tmp_path)
    assert again.cfg == coder.cfg
    torch.testing.assert_close(reconstruct(again, data["x"]), data["x_hat"], rtol=0, atol=1e-5)
    assert name == case.split("-")[0]


WRITES = [
    ("topk", "saelens", {}),
    ("batchtopk", "saelens", {}),
    ("jumprelu", "saelens", {}),
    ("gated", "saelens", {}),
    ("relu", "saelens", {}),
    ("relu", "saelens", {"d_out": 7, "skip": True, "subtract_b_dec": False}),
    ("topk", "dictionary_learning", {}),
    ("batchtopk", "dictionary_learning", {}),
    ("jumprelu", "dictionary_learning", {}),
    ("gated", "dictionary_learning", {}),
    ("relu", "dictionary_learning", {}),
    ("relu", "dictionary_learning", {"subtract_b_dec": False}),
    ("relu", "openai", {}),
    ("topk", "openai", {"layer_norm": True}),
    ("topk", "llamascopium", {}),
    ("jumprelu", "llamascopium", {}),
    ("relu", "llamascopium", {"d_out": 16, "subtract_b_dec": False}),
    ("gated", "sparsify", {}),
    ("topk", "sparsify", {"layer_norm": True}),
    ("topk", "sparsify", {"parts": (10, 6)}),
]


@pytest.mark.parametrize(("architecture", "to", "fields"), WRITES)
def test_what_is_written_reads_back_the_same(
    architecture: str, to: str, fields: dict[str, object], activations: Tensor, tmp_path: Path
) -> None:
    """Each architecture in each format that can say it."""
    coder, x = ready(architecture, **fields), activations[:60]
    save(coder, tmp_path, to=to)
    assert detect(tmp_path) == to
    again = load(tmp_path, allow_pickle=True)
    torch.testing.assert_close(reconstruct(again, x), reconstruct(coder, x), rtol=0, atol=1e-5)
    if to != "openai":
        assert again.site == coder.site


@pytest.mark.parametrize(
    ("architecture", "to", "fields"),
    [
        ("topk", "openai", {}),
        ("jumprelu", "openai", {}),
        ("topk", "saelens", {"d_out": 7, "subtract_b_dec": False}),
        ("relu", "dictionary_learning", {"d_out": 7, "subtract_b_dec": False}),
        ("gated", "llamascopium", {}),
        ("relu", "saelens", {"parts": (8, 8)}),
        ("topk", "toml", {}),
    ],
)
def test_what_a_format_cannot_say_is_refused(
    architecture: str, to: str, fields: dict[str, object], tmp_path: Path
) -> None:
    """A wrong file is worse than none."""
    with pytest.raises(FormatError):
        save(ready(architecture, **fields), tmp_path, to=to)
    assert not list(tmp_path.iterdir())


def test_pickles_are_refused_unless_allowed_and_never_run(tmp_path: Path) -> None:
    """A pickle can run code as it is read."""
    case = GOLDEN / "dictionary_learning-AutoEncoderTopK"
    with pytest.raises(FormatError, match="allow_pickle=True"):
        load(case)

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    torch.save({"encoder.weight": Evil()}, tmp_path / "ae.pt")
    with pytest.raises(FormatError, match="would run code"):
        load(tmp_path, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_broken_checkpoints_say_what_is_wrong(tmp_path: Path) -> None:
    """Cut short, missing, of another shape, unknown."""
    save(ready("topk"), tmp_path / "a")
    weights = tmp_path / "a" / "sae.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="cut short"):
        load(tmp_path / "a")
    weights.write_bytes(whole)
    tensors = load_file(weights)
    save_file({**tensors, "b_dec": torch.zeros(3)}, weights)
    with pytest.raises(FormatError, match=r"b_dec \(3,\) for \(16,\)"):
        load(tmp_path / "a")
    (tmp_path / "a" / "cfg.json").write_text("{")
    with pytest.raises(FormatError, match="not readable JSON"):
        load(tmp_path / "a")
    with pytest.raises(FormatError, match="nothing at"):
        load(tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "weights.bin").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"weights\.bin"):
        load(tmp_path / "c")


def test_unknown_keys_are_kept_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A later version's key must not vanish in silence."""
    save(ready("topk"), tmp_path / "a")
    path = tmp_path / "a" / "cfg.json"
    cfg = json.loads(path.read_text())
    del cfg["semascope"]
    path.write_text(json.dumps({**cfg, "num_latents": 0, "novelty": [1, 2], "signed": False}))
    coder = load(tmp_path / "a")
    assert coder.cfg.extra == {"novelty": [1, 2]}
    assert "novelty" in caplog.text
    assert coder.width == 64
    save(coder, tmp_path / "b")
    assert load(tmp_path / "b").cfg.extra == {"novelty": [1, 2]}


def test_saelens_before_version_six(tmp_path: Path) -> None:
    """Flat keys of the old configuration."""
    coder, x = ready("topk"), torch.randn(9, 16)
    save(coder, tmp_path, to="saelens")
    old = {
        "d_in": 16,
        "d_sae": 64,
        "hook_point": "blocks.3.hook_resid_post",
        "hook_point_layer": 3,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 5},
        "normalize_activations": False,
        "apply_b_dec_to_input": True,
    }
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    again = load(tmp_path)
    torch.testing.assert_close(reconstruct(again, x), reconstruct(coder, x), rtol=0, atol=1e-5)
    assert again.site == "resid_post.3"
    for key, value in (
        ("normalize_activations", "constant_norm_rescale"),
        ("normalize_activations", True),
        ("activation_fn_str", "tanh-relu"),
    ):
        (tmp_path / "cfg.json").write_text(json.dumps({**old, key: value}))
        with pytest.raises(FormatError):
            load(tmp_path)


def test_llamascopium_norms_are_folded(tmp_path: Path, activations: Tensor) -> None:
    """Dataset-wise input norm, and pre-activations multiplied by decoder norms."""
    coder, x = ready("jumprelu", subtract_b_dec=False), activations[:50] * 3
    save(coder, tmp_path, to="llamascopium")
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    tensors["dataset_average_activation_norm.blocks.3.hook_resid_post"] = torch.tensor(6.0)
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    cfg = json.loads((tmp_path / "config.json").read_text())
    cfg |= {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True}
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    scale = 4.0 / 6.0  # √16 over the average norm
    norm = coder.W_dec.norm(dim=1)
    pre = ((x * scale) @ coder.W_enc.t() + coder.b_enc) * norm
    theta = coder.activation.threshold  # type: ignore[union-attr]
    z = pre.relu() * (pre > theta) / norm
    truth = (z @ coder.W_dec + coder.b_dec) / scale
    torch.testing.assert_close(reconstruct(load(tmp_path), x), truth.detach(), rtol=1e-4, atol=1e-5)


def test_openai_topk_normalises_each_token(activations: Tensor, tmp_path: Path) -> None:
    """The published formula: mean and deviation out, TopK, mean and deviation back."""
    coder, x = ready("topk", layer_norm=True), activations[:50] * 5 + 2
    mean = x.mean(1, keepdim=True)
    deviation = (x - mean).std(1, keepdim=True) + 1e-5
    pre = ((x - mean) / deviation - coder.b_dec) @ coder.W_enc.t() + coder.b_enc
    z = torch.zeros_like(pre).scatter(1, pre.topk(5).indices, 1.0) * pre.relu()
    truth = (z @ coder.W_dec + coder.b_dec) * deviation + mean
    torch.testing.assert_close(reconstruct(coder, x), truth.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(coder(x).x_hat.detach(), truth.detach(), rtol=1e-4, atol=1e-4)
    save(coder, tmp_path / "azure.pt", to="openai")
    assert detect(tmp_path / "azure.pt") == "openai"
    with pytest.raises(FormatError, match="pickle"):
        load(tmp_path / "azure.pt")


def test_every_format_has_a_name_and_both_ways() -> None:
    """Adding a module means adding all three functions."""
    for module in FORMATS.values():
        assert all(hasattr(module, name) for name in ("recognises", "read", "write"))
