"""dictionary_learning: ``ae.pt`` (a torch file of tensors) with ``config.json`` beside it.

Which class wrote it shows in the names of its tensors. nn.Linear decoders are (D, F); the
Matryoshka and JumpReLU classes keep bare ``W_enc`` (D, F) and ``W_dec`` (F, D).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import ArchitectureName, CoderConfig
from semascope.dictionary.files import read_json, write_json
from semascope.dictionary.formats.common import (
    build,
    need,
    plain,
    read_pickle,
    refuse_pickle,
    thresholds,
    unknown,
    weights,
    write_pickle,
)
from semascope.errors import FormatError

WEIGHTS, CONFIG = "ae.pt", "config.json"
_KNOWN = {
    "trainer_class",
    "dict_class",
    "activation_dim",
    "dict_size",
    "k",
    "layer",
    "lm_name",
    "submodule_name",
    "lr",
    "steps",
    "seed",
    "device",
    "wandb_name",
    "warmup_steps",
    "decay_start",
    "resample_steps",
    "sparsity_warmup_steps",
    "l1_penalty",
    "sparsity_penalty",
    "target_l0",
    "bandwidth",
    "auxk_alpha",
    "threshold_beta",
    "threshold_start_step",
    "top_k_aux",
    "group_fractions",
    "group_weights",
    "group_sizes",
    "k_anneal_steps",
}


def recognises(path: Path) -> bool:
    """A folder with ae.pt, or an ``ae*.pt`` itself."""
    if path.is_file():
        return path.suffix == ".pt" and path.name.startswith("ae")
    return (path / WEIGHTS).is_file()


def read(path: Path, *, allow_pickle: bool = False) -> SparseCoder:
    """The coder of a folder or file; only where pickles are allowed."""
    file = path if path.is_file() else path / WEIGHTS
    refuse_pickle(file, allow_pickle)
    state = read_pickle(file)
    state = state["ae"] if isinstance(state.get("ae"), dict) else state  # a mid-run backup
    config = file.with_name(CONFIG)
    whole = read_json(config) if config.is_file() else {}
    trainer = whole.get("trainer", {})
    architecture, ours, more = _ours(state, trainer, file)
    shape = CoderConfig(
        d_in=ours["W_enc"].shape[1],
        width=ours["W_enc"].shape[0],
        architecture=architecture,
        unit_norm=False,
        extra=unknown(trainer, _KNOWN, whole.get("semascope")),
        **{"k": 1, **more},
    )
    site = str(trainer.get("submodule_name") or "")
    return build(shape, ours, file, site=site)


def write(coder: SparseCoder, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """ae.pt and config.json, of the class that says what the coder is."""
    plain(coder, "dictionary_learning")
    cfg, ours = coder.cfg, weights(coder)
    if cfg.transcodes:
        raise FormatError("dictionary_learning has no transcoders; write it as sparsify's.")
    named, state = _theirs(coder, ours)
    write_pickle(path / WEIGHTS, state)
    trainer = {
        "dict_class": named,
        "activation_dim": cfg.d_in,
        "dict_size": cfg.width,
        "k": cfg.k,
        "submodule_name": coder.site,
    }
    write_json(path / CONFIG, {"trainer": trainer, "semascope": dict(notes or {})})


def _ours(
    state: Mapping[str, Any], trainer: Mapping[str, Any], file: Path
) -> tuple[ArchitectureName, dict[str, Tensor], dict[str, Any]]:
    """Architecture, tensors by our names, and what else the configuration needs."""
    if "r_mag" in state:
        return _gated(state, file)
    if "W_enc" in state:
        return _bare(state, file)
    weight, bias, decoder = need(state, file, "encoder.weight", "encoder.bias", "decoder.weight")
    ours = {"W_enc": weight, "b_enc": bias, "W_dec": decoder.t()}
    if "b_dec" in state:
        (ours["b_dec"],) = need(state, file, "b_dec")
        k = int(state.get("k", trainer.get("k", 32)))
        if str(trainer.get("dict_class", "")).startswith("BatchTopK"):
            (threshold,) = need(state, file, "threshold")
            return "batchtopk", {**ours, "activation.threshold": threshold}, {"k": k}
        return "topk", ours, {"k": k}
    if "decoder.bias" in state:
        (ours["b_dec"],) = need(state, file, "decoder.bias")
        return "relu", ours, {"subtract_b_dec": False}
    (ours["b_dec"],) = need(state, file, "bias")
    return "relu", ours, {}


def _gated(
    state: Mapping[str, Any], file: Path
) -> tuple[ArchitectureName, dict[str, Tensor], dict[str, Any]]:
    names = "encoder.weight", "decoder.weight", "decoder_bias", "gate_bias", "mag_bias", "r_mag"
    weight, decoder, b_dec, gate, mag, r_mag = need(state, file, *names)
    ours = {"W_enc": weight, "W_dec": decoder.t(), "b_dec": b_dec, "b_enc": gate}
    return "gated", {**ours, "activation.b_mag": mag, "activation.r_mag": r_mag}, {}


def _bare(
    state: Mapping[str, Any], file: Path
) -> tuple[ArchitectureName, dict[str, Tensor], dict[str, Any]]:
    """The classes with W_enc (D, F): Matryoshka BatchTopK, and JumpReLU."""
    w_enc, b_enc, w_dec, b_dec, threshold = need(
        state, file, "W_enc", "b_enc", "W_dec", "b_dec", "threshold"
    )
    ours = {"W_enc": w_enc.t(), "b_enc": b_enc, "W_dec": w_dec, "b_dec": b_dec}
    if threshold.ndim:
        ours["activation.threshold"] = thresholds(threshold)
        return "jumprelu", ours, {"subtract_b_dec": bool(state.get("apply_b_dec_to_input"))}
    sizes = torch.as_tensor(state.get("group_sizes", [w_enc.shape[1]]))
    more = {"k": int(state.get("k", 32)), "prefixes": tuple(torch.cumsum(sizes, 0).tolist())}
    return "batchtopk", {**ours, "activation.threshold": threshold}, more


def _theirs(coder: SparseCoder, ours: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Class name and tensors."""
    cfg = coder.cfg
    linear = {"encoder.weight": ours["W_enc"], "decoder.weight": ours["W_dec"].t().contiguous()}
    if cfg.architecture in ("topk", "batchtopk") and cfg.subtract_b_dec:
        k = torch.tensor(cfg.k, dtype=torch.int32)
        threshold = ours.get("activation.threshold", torch.tensor(-1.0))
        rest = {"encoder.bias": ours["b_enc"], "b_dec": ours["b_dec"]}
        named = "AutoEncoderTopK" if cfg.architecture == "topk" else "BatchTopKSAE"
        return named, {**linear, **rest, "k": k, "threshold": threshold}
    if cfg.architecture == "gated" and cfg.subtract_b_dec:
        gated = {
            "decoder_bias": ours["b_dec"],
            "gate_bias": ours["b_enc"],
            "mag_bias": ours["activation.b_mag"],
            "r_mag": ours["activation.r_mag"],
        }
        return "GatedAutoEncoder", {**linear, **gated}
    if cfg.architecture == "relu":
        linear["encoder.bias"] = ours["b_enc"]
        if cfg.subtract_b_dec:
            return "AutoEncoder", {**linear, "bias": ours["b_dec"]}
        return "AutoEncoderNew", {**linear, "decoder.bias": ours["b_dec"]}
    if cfg.architecture == "jumprelu":
        b_enc = ours["b_enc"]
        if cfg.subtract_b_dec:  # that class never subtracts b_dec: fold it into b_enc
            b_enc = b_enc - ours["W_enc"] @ ours["b_dec"]
        state = {
            "W_enc": ours["W_enc"].t().contiguous(),
            "b_enc": b_enc,
            "W_dec": ours["W_dec"],
            "b_dec": ours["b_dec"],
            "threshold": ours["activation.threshold"],
        }
        return "JumpReluAutoEncoder", state
    raise FormatError(
        f"dictionary_learning has no {cfg.architecture} that leaves b_dec in its input."
    )
