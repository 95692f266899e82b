"""Checkpoints that are damaged, malformed or made to do harm: one sentence each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from semascope.dictionary import CoderConfig, SparseCoder, load, save
from semascope.errors import FormatError

D, WIDTH = 6, 12
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.sampled_from([10**30, -(10**30), 1e400, 2**63]),
    st.floats(),
    st.text(max_size=6),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
NAMES = ["topk", "jumprelu", "standard", "batchtopk", "gated", "transcoder", "skip_transcoder"]
FIELDS = {
    "architecture": st.sampled_from([*NAMES, "relu", "abstopk"]) | JUNK,
    "activation_fn_str": st.sampled_from(["relu", "topk"]) | JUNK,
    "activation_fn_kwargs": st.fixed_dictionaries({"k": JUNK}) | JUNK,
    "activation": st.sampled_from(["topk", "groupmax"]) | JUNK,
    "act_fn": st.sampled_from(["relu", "topk", "jumprelu"]) | JUNK,
    "norm_activation": st.sampled_from(["dataset-wise", "inference", "token-wise"]) | JUNK,
    "normalize_activations": st.sampled_from(
        ["none", "layer_norm", "expected_average_only_in", "constant_norm_rescale"]
    )
    | JUNK,
    "dataset_average_activation_norm": st.fixed_dictionaries({"in": JUNK, "out": JUNK}) | JUNK,
    "metadata": st.fixed_dictionaries({"hook_name": JUNK, "hook_name_out": JUNK}) | JUNK,
    "trainer": st.fixed_dictionaries({"dict_class": JUNK, "k": JUNK}) | JUNK,
    "semascope": st.fixed_dictionaries(
        {
            "coder": st.fixed_dictionaries({"d_in": JUNK, "width": JUNK, "prefixes": JUNK}) | JUNK,
            "site": JUNK,
        }
    )
    | JUNK,
    **dict.fromkeys(
        [
            "k", "top_k", "d_in", "d_sae", "d_out", "num_latents", "d_model", "signed", "transcode",
            "skip_connection", "normalize_decoder", "apply_b_dec_to_input", "hook_name",
            "rescale_acts_by_decoder_norm", "finetuning_scaling_factor", "jump_relu_threshold",
            "hook_point_in", "hook_point_out", "sparsity_include_decoder_norm", "use_glu_encoder",
            "use_decoder_bias", "sae_type", "affine_connection", "hf_hook_point_in", "width",
        ],
        JUNK,
    ),
}  # fmt: skip
TENSORS = {
    "saelens": ["W_enc", "b_enc", "W_dec", "b_dec", "threshold", "b_gate", "b_mag", "r_mag",
                "W_skip", "topk_threshold", "scaling_factor"],
    "sparsify": ["encoder.weight", "encoder.bias", "W_dec", "b_dec", "W_skip"],
    "llamascopium": ["W_E", "b_E", "W_D", "b_D", "log_jumprelu_threshold",
                     "dataset_average_activation_norm.", "dataset_average_activation_norm.x"],
    "gemma2": ["w_enc", "b_enc", "w_dec", "b_dec", "threshold", "affine_skip_connection"],
    "llama": ["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"],
    "dictionary_learning": ["encoder.weight", "encoder.bias", "decoder.weight", "b_dec", "bias",
                            "decoder.bias", "k", "threshold", "W_enc", "W_dec", "b_enc", "r_mag",
                            "group_sizes", "ae", "norm_factor"],
    "openai": ["encoder.weight", "latent_bias", "decoder.weight", "pre_bias", "activation",
               "activation_state_dict", "latents_mean_square"],
}  # fmt: skip
FILES = {
    "saelens": ("sae_weights.safetensors", "cfg.json"),
    "sparsify": ("sae.safetensors", "cfg.json"),
    "llamascopium": ("sae_weights.safetensors", "config.json"),
    "gemma2": ("params.safetensors", "config.json"),
    "llama": ("checkpoints/final.safetensors", "hyperparams.json"),
    "dictionary_learning": ("ae.pt", "config.json"),
    "openai": ("openai.pt", "unread.json"),
}
SHAPES = [(D, WIDTH), (WIDTH, D), (D,), (WIDTH,), (), (1,), (0,), (2, D, WIDTH), (D, D)]
TYPES = [torch.float32] * 8 + [
    torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.float8_e4m3fn,
]  # fmt: skip
VALUES = [0.5, 0.5, 0.5, 0.0, -1.0, math.nan, math.inf, 1e38]


def tensor(draw: st.DrawFn) -> Tensor:
    """Of a plausible shape most of the time, of any type, with any values."""
    value, shape = draw(st.sampled_from(VALUES)), draw(st.sampled_from(SHAPES))
    return torch.full(shape, value).to(draw(st.sampled_from(TYPES)))


SOUND: dict[str, dict[str, Any]] = {
    "saelens": {"architecture": "standard", "apply_b_dec_to_input": True},
    "sparsify": {"k": 3},
    "llamascopium": {"act_fn": "relu", "sparsity_include_decoder_norm": True},
    "gemma2": {"architecture": "jump_relu"},
    "llama": {
        "act_fn": "relu",
        "d_model": D,
        "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": False,
        "dataset_average_activation_norm": {"in": 3.0, "out": 3.0},
    },
    "dictionary_learning": {"trainer": {"dict_class": "AutoEncoderTopK", "k": 3}},
    "openai": {},
}
"""Configurations that are read, with tensors of the right shapes."""


@st.composite
def checkpoints(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(layout, configuration, tensors): a sound checkpoint with up to three things changed."""
    layout = draw(st.sampled_from(sorted(TENSORS)))
    config = dict(SOUND[layout])
    tensors: dict[str, Any] = {n: torch.full(s, 0.5) for n, s in right_shapes(layout).items()}
    if layout == "gemma2":
        tensors["threshold"] = torch.ones(WIDTH)
    if layout == "openai":
        tensors["activation"] = "ReLU"
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(["field", "field", "tensor", "lost"]))
        if what == "field":
            name = draw(st.sampled_from([*FIELDS, *config]))
            config[name] = draw(FIELDS[name])
        elif what == "tensor":
            pickled = layout in ("dictionary_learning", "openai")  # values need not be tensors
            value = draw(JUNK) if pickled and draw(st.booleans()) else tensor(draw)
            tensors[draw(st.sampled_from(TENSORS[layout]))] = value
        else:
            for holder in (config, tensors):
                holder.pop(draw(st.sampled_from([*holder, ""])), None)
    return layout, config, tensors


def right_shapes(layout: str) -> dict[str, tuple[int, ...]]:
    """What a reader of the layout asks for at least."""
    into, out, wide, narrow = (D, WIDTH), (WIDTH, D), (WIDTH,), (D,)
    if layout in ("sparsify", "llama", "dictionary_learning", "openai"):
        last = {
            "sparsify": {"encoder.bias": wide, "W_dec": out, "b_dec": narrow},
            "llama": {"encoder.bias": wide, "decoder.weight": into, "decoder.bias": narrow},
            "dictionary_learning": {"encoder.bias": wide, "decoder.weight": into, "b_dec": narrow},
            "openai": {"latent_bias": wide, "decoder.weight": into, "pre_bias": narrow},
        }
        return {"encoder.weight": out, **last[layout]}
    names = {
        "saelens": ("W_enc", "W_dec", "b_enc", "b_dec"),
        "llamascopium": ("W_E", "W_D", "b_E", "b_D"),
        "gemma2": ("w_enc", "w_dec", "b_enc", "b_dec"),
    }
    return dict(zip(names[layout], (into, out, wide, narrow), strict=True))


def written(root: Path, layout: str, config: Any, tensors: dict[str, Any]) -> Path:
    """The checkpoint's folder."""
    weights, cfg = (root / name for name in FILES[layout])
    weights.parent.mkdir(parents=True, exist_ok=True)
    if weights.suffix == ".pt":
        torch.save(tensors, weights)
    else:
        save_file(tensors, weights)
    cfg.write_text(json.dumps(config))
    return root


@settings(max_examples=350, deadline=None, suppress_health_check=list(HealthCheck))
@given(checkpoints())
def test_any_checkpoint_is_a_dictionary_or_a_sentence(
    made: tuple[str, dict[str, Any], dict[str, Any]],
) -> None:
    """A traceback tells nobody which of a hundred files is damaged; NaN read is worse."""
    with TemporaryDirectory() as folder:
        path = written(Path(folder), *made)
        try:
            coder = load(path, allow_pickle=True)
        except FormatError as error:
            assert len(str(error).splitlines()) == 1
            return
    assert all(bool(t.isfinite().all()) for t in coder.state_dict().values())


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_bytes_are_a_sentence(data: st.DataObject) -> None:
    """Cut, changed, or other bytes than the name says."""
    names = ["sae.safetensors", "ae.pt", "params.npz", "openai.pt", "layer3.sae.pt"]
    name = data.draw(st.sampled_from(names))
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        if name.endswith(".npz"):
            np.savez(file, W_enc=np.ones((D, WIDTH), "f4"))
        elif name.endswith(".pt"):
            torch.save({"b_dec": torch.ones(4)}, file)
        else:
            save_file({"b_dec": torch.ones(4)}, file)
            (Path(folder) / "cfg.json").write_text("{}")
        whole = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(0, 6))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        file.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        with pytest.raises(FormatError):
            load(folder, allow_pickle=True)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[]", "not a JSON object"),
        ("", "not readable JSON"),
        ('{"k": NaN}', "holds NaN"),
        ('{"k": 3, "k": 4}', "'k' stands twice"),
        ("[" * 100_000, "not readable JSON"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        ('{"k": true}', "k is True"),
        ('{"k": -2}', "k is -2"),
        ('{"k": 99}', "k = 99"),
        ("{}", "--k N"),
        ('{"k": 3, "num_latents": 7}', "num_latents is 7"),
        ('{"k": 3, "activation": "groupmax"}', "groupmax"),
    ],
)
def test_a_malformed_configuration_names_what_is_wrong(
    text: str, match: str, tmp_path: Path
) -> None:
    """The sentence names the value, so that it can be found."""
    save(SparseCoder(CoderConfig(d_in=D, width=WIDTH, k=3)), tmp_path)
    (tmp_path / "cfg.json").write_text(text)
    with pytest.raises(FormatError, match=match):
        load(tmp_path)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    """A clone without git-lfs holds them in the place of every large file."""
    save(SparseCoder(CoderConfig(d_in=D, width=WIDTH, k=3)), tmp_path)
    for name in ("sae.safetensors", "ae.pt", "params.npz"):
        pointer = tmp_path / name
        pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        with pytest.raises(FormatError, match="git lfs pull"):
            load(pointer, allow_pickle=True)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_small_floats_are_read_and_their_infinities_refused(
    kind: torch.dtype, tmp_path: Path
) -> None:
    """Published weights come in half precision; one that overflowed is no dictionary."""
    save(SparseCoder(CoderConfig(d_in=D, width=WIDTH, k=3), seed=1), tmp_path)
    file = tmp_path / "sae.safetensors"
    tensors = {name: t.to(kind) for name, t in load_file(file).items()}
    save_file(tensors, file)
    assert torch.equal(load(tmp_path).W_dec, tensors["W_dec"].float())
    tensors["b_dec"] = torch.full((D,), math.nan).to(kind)
    save_file(tensors, file)
    with pytest.raises(FormatError, match="b_dec holds NaN or infinity in 6 of 6"):
        load(tmp_path)


def test_rows_of_zeros_stay_silent_where_norms_are_folded(tmp_path: Path) -> None:
    """A dead latent's decoder row may be 0: dividing by its norm would be NaN in every output."""
    coder = SparseCoder(CoderConfig(d_in=D, width=WIDTH, k=3, unit_norm=False), seed=1)
    coder.W_dec.data[4] = 0
    save(coder, tmp_path, to="saelens")
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    cfg["rescale_acts_by_decoder_norm"] = True
    (tmp_path / "cfg.json").write_text(json.dumps(cfg))
    again, x = load(tmp_path), torch.randn(20, D)
    codes = again.encode(x)
    assert bool(again.decode(codes).isfinite().all())
    assert not bool((codes.values[codes.indices == 4] > 0).any())
