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
from semascope.dictionary.formats.common import (
    KEPT,
    build,
    check_unused,
    need,
    plain,
    positive,
    read_pickle,
    refuse_pickle,
    sites_of,
    thresholds,
    weights,
    write_pickle,
)
from semascope.dictionary.formats.fields import (
    CheckpointHints,
    ConfigFields,
    decided,
    flag,
    k_of,
    unknown,
    whole,
)
from semascope.errors import FormatError
from semascope.files import write_json

WEIGHTS, CONFIG = "ae.pt", "config.json"
_CLASSES: dict[str, ArchitectureName] = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "batchtopk",
}
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


def read(
    path: Path, *, allow_pickle: bool = False, hints: CheckpointHints | None = None
) -> SparseCoder:
    """The coder of a folder or file; only where pickles are allowed."""
    hints, file = hints or CheckpointHints(), path if path.is_file() else path / WEIGHTS
    refuse_pickle(file, allow_pickle)
    state = read_pickle(file)
    config = _config(file)
    trainer = config.part("trainer")
    scale = hints.scale
    if isinstance(state.get("ae"), dict):  # a mid-run backup, whose biases are not folded
        if not config.has("trainer") and isinstance(state.get("config"), dict):
            trainer = ConfigFields(state["config"], file)
        backup = ConfigFields(state, file)
        if backup.has("norm_factor"):
            scale = 1 / positive(_number(state["norm_factor"]), "norm_factor", file)
        state = state["ae"]
    architecture, mine, more = _ours(state, trainer, file, hints)
    trainer.width("activation_dim", mine["W_enc"].shape[1])
    trainer.width("dict_size", mine["W_enc"].shape[0])
    shape = CoderConfig(
        d_in=mine["W_enc"].shape[1],
        width=mine["W_enc"].shape[0],
        architecture=architecture,
        unit_norm=False,
        extra=unknown(trainer.values, _KNOWN, config.part("semascope").values.get(KEPT)),
        **{"k": 1, **more},
    )
    site = trainer.values.get("submodule_name")
    coder = build(shape, mine, file, **sites_of(hints, site if isinstance(site, str) else ""))
    coder.fold(positive(1.0 if scale is None else scale, "the scale", file))
    return coder


def _config(file: Path) -> ConfigFields:
    """config.json beside the weights, or in the folder above that of mid-run checkpoints."""
    folders = (file.parent, file.parent.parent) if file.name != WEIGHTS else (file.parent,)
    for folder in folders:
        if (folder / CONFIG).is_file():
            return ConfigFields.read(folder / CONFIG)
    return ConfigFields({}, file.parent / CONFIG)


def _number(value: Any) -> float | None:
    """A number, or the only one of a tensor."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return float(value) if isinstance(value, int | float) else None


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
    state: Mapping[str, Any], trainer: ConfigFields, file: Path, hints: CheckpointHints
) -> tuple[ArchitectureName, dict[str, Tensor], dict[str, Any]]:
    """Architecture, tensors by our names, and what else the configuration needs."""
    named = trainer.text("dict_class")
    if named not in (None, *_CLASSES):
        raise FormatError(
            f"{trainer.path}: dict_class {named!r} cannot be read; {', '.join(_CLASSES)} can."
        )
    if "r_mag" in state:
        return _gated(state, file)
    if "W_enc" in state:
        return _bare(state, trainer, file, hints)
    weight, bias, decoder = need(state, file, encoder__weight=2, encoder__bias=1, decoder__weight=2)
    mine = {"W_enc": weight, "b_enc": bias, "W_dec": decoder.t()}
    linear = {"encoder.weight", "encoder.bias", "decoder.weight"}
    if "b_dec" in state:
        check_unused(state, linear | {"b_dec", "k", "threshold"}, file)
        (mine["b_dec"],) = need(state, file, b_dec=1)
        return _counted(state, trainer, file, hints, mine)
    bias_name = "decoder.bias" if "decoder.bias" in state else "bias"
    check_unused(state, linear | {bias_name}, file)
    (mine["b_dec"],) = need(state, file, **{bias_name.replace(".", "__"): 1})
    return "relu", mine, {"subtract_b_dec": False} if bias_name == "decoder.bias" else {}


def _counted(
    state: Mapping[str, Any],
    trainer: ConfigFields,
    file: Path,
    hints: CheckpointHints,
    mine: dict[str, Tensor],
) -> tuple[ArchitectureName, dict[str, Tensor], dict[str, Any]]:
    """TopK and BatchTopK, whose tensors have the same names."""
    said = _CLASSES.get(trainer.text("dict_class") or "")
    if said is None and "threshold" not in state:
        said = "topk"  # of before TopK kept a threshold too
    architecture = decided(
        "whether this is TopK or BatchTopK (trainer.dict_class)",
        trainer.path,
        flag("architecture", "topk or batchtopk"),
        said,
        hints.architecture,
    )
    if architecture not in ("topk", "batchtopk"):
        raise FormatError(f"{file} holds a TopK's tensors, and {architecture} is said of it.")
    k = _k(state, trainer, file, hints)
    if architecture == "topk":
        return "topk", mine, {"k": k}
    return "batchtopk", {**mine, "activation.threshold": _threshold(state, file, hints)}, {"k": k}


def _k(state: Mapping[str, Any], trainer: ConfigFields, file: Path, hints: CheckpointHints) -> int:
    own = None if state.get("k") is None else whole(state["k"], "k", file)
    return k_of(file, hints, own, trainer.count("k"))


def _threshold(state: Mapping[str, Any], file: Path, hints: CheckpointHints) -> Tensor:
    """() BatchTopK's threshold at inference; below 0 it was never measured."""
    if "threshold" not in state and hints.threshold is not None:
        return torch.tensor(hints.threshold)
    (threshold,) = need(state, file, threshold=0)
    if threshold < 0 and hints.threshold is None:
        raise FormatError(
            f"{file}: the threshold of this BatchTopK is {float(threshold):g}, that is, training "
            f"had not measured it yet, and without it every positive latent would be active. Give "
            f"it: {flag('threshold', 'T')} (0 for every positive latent)."
        )
    return threshold if hints.threshold is None else torch.tensor(hints.threshold)


def _gated(
    state: Mapping[str, Any], file: Path
) -> tuple[ArchitectureName, dict[str, Tensor], dict[str, Any]]:
    weight, decoder, b_dec, gate, mag, r_mag = need(
        state,
        file,
        encoder__weight=2,
        decoder__weight=2,
        decoder_bias=1,
        gate_bias=1,
        mag_bias=1,
        r_mag=1,
    )
    mine = {"W_enc": weight, "W_dec": decoder.t(), "b_dec": b_dec, "b_enc": gate}
    return "gated", {**mine, "activation.b_mag": mag, "activation.r_mag": r_mag}, {}


def _bare(
    state: Mapping[str, Any], trainer: ConfigFields, file: Path, hints: CheckpointHints
) -> tuple[ArchitectureName, dict[str, Tensor], dict[str, Any]]:
    """The classes with W_enc (D, F): Matryoshka BatchTopK, and JumpReLU."""
    w_enc, b_enc, w_dec, b_dec = need(state, file, W_enc=2, b_enc=1, W_dec=2, b_dec=1)
    mine = {"W_enc": w_enc.t(), "b_enc": b_enc, "W_dec": w_dec, "b_dec": b_dec}
    threshold = state.get("threshold")
    if isinstance(threshold, Tensor) and threshold.ndim:
        (values,) = need(state, file, threshold=1)
        mine["activation.threshold"] = thresholds(values)
        return "jumprelu", mine, {"subtract_b_dec": bool(state.get("apply_b_dec_to_input"))}
    mine["activation.threshold"] = _threshold(state, file, hints)
    sizes = state.get("group_sizes")
    listed = torch.as_tensor(sizes).tolist() if isinstance(sizes, Tensor | list | tuple) else []
    ends = [sum(listed[: n + 1]) for n in range(len(listed))]
    return "batchtopk", mine, {"k": _k(state, trainer, file, hints), "prefixes": tuple(ends)}


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
