"""SAELens: cfg.json and sae_weights.safetensors, of version 6 and before.

Tensors: ``W_enc`` (D, F), ``b_enc`` (F), ``W_dec`` (F, D_out), ``b_dec`` (D_out), with
``threshold`` (F) for JumpReLU; ``b_gate, b_mag, r_mag`` for Gated; ``W_skip``; ``topk_threshold``
in checkpoints of BatchTopK training. Norms that the encoder multiplies by
(``rescale_acts_by_decoder_norm``) and the scale of a run under way (``activation_scaler.json``)
are folded into the weights on reading.
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
    fold_decoder_norms,
    need,
    plain,
    positive,
    scale_missing,
    sites_of,
    thresholds,
    unit_rows,
    weights,
    weights_file,
)
from semascope.dictionary.formats.fields import (
    CheckpointHints,
    ConfigFields,
    decided,
    flag,
    k_of,
    unknown,
)
from semascope.dictionary.formats.sites import lens
from semascope.errors import FormatError
from semascope.files import write_json, write_tensors

WEIGHTS, CONFIG, SCALER = "sae_weights.safetensors", "cfg.json", "activation_scaler.json"
_ARCHITECTURES: dict[str, ArchitectureName] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
_OWN = {
    "relu": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "batchtopk": ("b_enc", "topk_threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
}
"""Tensors of each architecture beside the matrices and b_dec."""
_KNOWN = {
    "architecture",
    "d_in",
    "d_sae",
    "d_out",
    "k",
    "dtype",
    "device",
    "apply_b_dec_to_input",
    "normalize_activations",
    "reshape_activations",
    "rescale_acts_by_decoder_norm",
    "metadata",
    "activation_fn",
    "activation_fn_str",
    "activation_fn_kwargs",
    "hook_point",
    "hook_name",
    "hook_name_out",
    "l1_coefficient",
    "finetuning_scaling_factor",
    "sae_lens_version",
}


def recognises(path: Path) -> bool:
    """A folder with such weights, or the file of them."""
    return path.name == WEIGHTS if path.is_file() else (path / WEIGHTS).is_file()


def read(
    path: Path, *, allow_pickle: bool = False, hints: CheckpointHints | None = None
) -> SparseCoder:
    """The coder of a folder."""
    hints, path = hints or CheckpointHints(), path.parent if path.is_file() else path
    file = path / WEIGHTS
    cfg, tensors = ConfigFields.read(path / CONFIG), weights_file(file)
    named, architecture = _architecture(cfg, tensors, hints)
    w_enc, w_dec, b_dec = need(tensors, file, W_enc=2, W_dec=2, b_dec=1)
    cfg.width("d_in", w_enc.shape[0])
    cfg.width("d_sae", w_enc.shape[1])
    cfg.width("d_out", w_dec.shape[1])
    mine = {"W_enc": w_enc.t(), "W_dec": w_dec, "b_dec": b_dec} | _own(architecture, tensors, file)
    used = {"W_enc", "W_dec", "b_dec", *_OWN[architecture]}
    if "skip" in named:
        (mine["W_skip"],) = need(tensors, file, W_skip=2)
        used.add("W_skip")
    if _rescaled(cfg, architecture, w_dec):
        fold_decoder_norms(mine, file)
    _finetuned(cfg, tensors, mine, file)
    check_unused(tensors, used | {"scaling_factor", "sparsity", "log_sparsity"}, file)
    transcodes = "transcoder" in named
    metadata = cfg.part("metadata")
    shape = CoderConfig(
        d_in=w_enc.shape[0],
        width=w_enc.shape[1],
        k=_k(cfg, hints) if architecture in ("topk", "batchtopk") else 1,
        architecture=architecture,
        d_out=w_dec.shape[1] if transcodes else None,
        skip="W_skip" in mine,
        subtract_b_dec=not transcodes and _subtracts(cfg, b_dec, hints),
        unit_norm=False,
        layer_norm=_normalised(cfg) == "layer_norm",
        extra=unknown(cfg.values, _KNOWN, metadata.values.get(KEPT)),
    )
    if shape.layer_norm and transcodes:
        raise FormatError(f"{cfg.path}: a transcoder of layer-normed inputs cannot be read.")
    sites = [metadata.text(name) or cfg.text(name) for name in ("hook_name", "hook_name_out")]
    coder = build(
        shape,
        mine,
        file,
        **sites_of(hints, sites[0] or cfg.text("hook_point") or "", sites[1] or ""),
    )
    coder.fold(_scale(cfg, path, hints))
    return coder


def write(coder: SparseCoder, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """Two files of version 6. BatchTopK becomes JumpReLU with one threshold, as SAELens does."""
    plain(coder, "SAELens", layer_norm=not coder.cfg.transcodes)
    cfg, ours = coder.cfg, weights(coder)
    named, extra = _theirs(coder)
    tensors = {"W_enc": ours["W_enc"].t(), "W_dec": ours["W_dec"], "b_dec": ours["b_dec"], **extra}
    if "W_skip" in ours:
        tensors["W_skip"] = ours["W_skip"]
    write_tensors(path / WEIGHTS, tensors)
    value: dict[str, Any] = {
        "architecture": named,
        "d_in": cfg.d_in,
        "d_sae": cfg.width,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": cfg.subtract_b_dec,
        "normalize_activations": "layer_norm" if cfg.layer_norm else "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.54.12",
            "hook_name": lens(coder.site),
            **({"hook_name_out": lens(coder.site_out)} if coder.site_out else {}),
            **(notes or {}),
        },
    }
    if named == "topk":
        value |= {"k": cfg.k, "rescale_acts_by_decoder_norm": False}
    if cfg.transcodes:
        value["d_out"] = cfg.out
    write_json(path / CONFIG, value)


def _architecture(
    cfg: ConfigFields, tensors: Mapping[str, Tensor], hints: CheckpointHints
) -> tuple[str, ArchitectureName]:
    """SAELens' name and ours, by what the configuration and the tensors say together."""
    named = cfg.text("architecture")
    chosen = cfg.text("activation_fn") or cfg.text("activation_fn_str")
    if chosen not in (None, "relu", "topk"):
        raise FormatError(f"{cfg.path}: activation {chosen!r} cannot be read; relu and topk can.")
    if named not in (None, *_ARCHITECTURES):
        raise FormatError(
            f"{cfg.path}: architecture {named!r} cannot be read; {', '.join(_ARCHITECTURES)} can."
        )
    said = None if named is None else _ARCHITECTURES[named]
    if chosen == "topk" and said in (None, "relu"):
        named, said = "topk", "topk"  # before version 6 the activation went before
    if said is None:
        said = _by_tensors(cfg, tensors, chosen)
    said = decided(
        "the architecture", cfg.path, flag("architecture", "NAME"), said, hints.architecture
    )
    if said == "relu" and "threshold" in tensors:
        raise FormatError(
            f"{cfg.path} says {named or 'ReLU'}, but {WEIGHTS} holds the thresholds of a JumpReLU: "
            "correct its architecture to jumprelu, or remove the tensor."
        )
    usual = next(name for name, ours in _ARCHITECTURES.items() if ours == said)
    return named or usual, said


def _by_tensors(
    cfg: ConfigFields, tensors: Mapping[str, Tensor], chosen: str | None
) -> ArchitectureName | None:
    """What tensors or keys of one architecture alone give away."""
    for tensor, architecture in (("b_gate", "gated"), ("threshold", "jumprelu")):
        if tensor in tensors:
            return architecture  # type: ignore[return-value]
    if "topk_threshold" in tensors:
        return "batchtopk"
    return "relu" if chosen == "relu" or cfg.has("l1_coefficient") else None


def _k(cfg: ConfigFields, hints: CheckpointHints) -> int:
    """Active latents; a BatchTopK's may be a fraction, and is not used to encode."""
    old = cfg.part("activation_fn_kwargs").count("k")
    value = cfg.number("k")
    if value is not None and cfg.text("architecture") not in ("topk", None):
        return max(1, round(value))
    return k_of(cfg.path, hints, cfg.count("k"), old)


def _subtracts(cfg: ConfigFields, b_dec: Tensor, hints: CheckpointHints) -> bool:
    """Whether b_dec is subtracted from the input; where it is 0 it does not matter."""
    said = cfg.flag("apply_b_dec_to_input")
    if said is None and hints.subtract_b_dec is None and not bool(b_dec.any()):
        return True
    name = "apply_b_dec_to_input"
    found: bool = decided(
        name, cfg.path, flag("subtract-b-dec", "True"), said, hints.subtract_b_dec
    )
    return found


def _rescaled(cfg: ConfigFields, architecture: str, w_dec: Tensor) -> bool:
    """Whether pre-activations are multiplied by decoder norms."""
    said = cfg.flag("rescale_acts_by_decoder_norm")
    if said is None and architecture == "batchtopk" and not unit_rows(w_dec):
        decided(
            "rescale_acts_by_decoder_norm",
            cfg.path,
            "write true or false into it, as the run was trained",
        )
    return bool(said)


def _normalised(cfg: ConfigFields) -> str:
    """How activations are normalised, by version 6's names."""
    value = cfg.values.get("normalize_activations")
    if isinstance(value, bool):
        return "expected_average_only_in" if value else "none"
    return cfg.text("normalize_activations") or "none"


def _scale(cfg: ConfigFields, path: Path, hints: CheckpointHints) -> float:
    """The factor that the weights still expect activations to be multiplied by.

    Raises:
        FormatError: it is needed and unknown, or the normalisation is one that is not read.
    """
    how = _normalised(cfg)
    if how in ("none", "layer_norm"):
        return positive(1.0 if hints.scale is None else hints.scale, "--scale", cfg.path)
    if how == "constant_norm_rescale":
        raise FormatError(
            f"{cfg.path} divides every activation by its own norm (constant_norm_rescale), which "
            "depends on the token and cannot be folded into weights; it cannot be read here."
        )
    if how != "expected_average_only_in":
        more = (
            " Fold it with SAELens, fold_activation_whitening, and save again."
            if "whitening" in how
            else ""
        )
        raise FormatError(f"{cfg.path} normalises activations by {how!r}; not read here.{more}")
    scaler = ConfigFields.read(path / SCALER) if (path / SCALER).is_file() else None
    if scaler is not None and scaler.flag("has_whitening"):
        raise FormatError(
            f"{scaler.path} whitens activations. Fold that with SAELens, "
            "fold_activation_whitening, and save again."
        )
    said = None if scaler is None else scaler.number("scaling_factor")
    for name in ("scaling_factor", "norm_scaling_factor", "estimated_norm_scaling_factor"):
        said = said or cfg.number(name)
    said = said or _stored(path)
    if said is not None and hints.scale not in (None, said):
        decided("the scale", cfg.path, "", said, hints.scale)
    if said is None and hints.scale is None:
        raise scale_missing(
            cfg.path, "normalize_activations is expected_average_only_in, so activations are scaled"
        )
    return positive(hints.scale if said is None else said, "the scaling factor", cfg.path)


def _stored(path: Path) -> float | None:
    """The factor in the store's state of a run under way."""
    for stem in ("activations_store_state", "estimated_norm_scaling_factor"):
        file = path / f"{stem}.safetensors"
        if file.is_file():
            found = weights_file(file).get("estimated_norm_scaling_factor")
            if found is not None and found.numel() == 1:
                return float(found)
    return None


def _finetuned(
    cfg: ConfigFields, tensors: Mapping[str, Tensor], mine: dict[str, Tensor], path: Path
) -> None:
    """Fold the factors by which fine-tuning multiplies activations before they are decoded."""
    given = tensors.get("scaling_factor")
    if given is None or bool((given == 1).all()):
        if given is None and cfg.flag("finetuning_scaling_factor"):
            raise FormatError(f"{path} lacks scaling_factor, which {cfg.path} says is applied.")
        return
    if not cfg.flag("finetuning_scaling_factor"):
        raise FormatError(
            f"{path} holds a scaling_factor, and {cfg.path} does not say that it is applied: set "
            "finetuning_scaling_factor to true there, or remove the tensor."
        )
    (factor,) = need(tensors, path, scaling_factor=1)
    if len(factor) != len(mine["W_dec"]):
        raise FormatError(f"{path}: scaling_factor has {len(factor)} numbers, not one a latent.")
    mine["W_dec"] = mine["W_dec"] * factor.unsqueeze(1)


def _own(
    architecture: ArchitectureName, tensors: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Biases and what is particular to an architecture, by our names."""
    if architecture == "gated":
        gate, mag, r_mag = need(tensors, path, b_gate=1, b_mag=1, r_mag=1)
        return {"b_enc": gate, "activation.b_mag": mag, "activation.r_mag": r_mag}
    (b_enc,) = need(tensors, path, b_enc=1)
    if architecture == "jumprelu":
        (threshold,) = need(tensors, path, threshold=1)
        return {"b_enc": b_enc, "activation.threshold": thresholds(threshold)}
    if architecture == "batchtopk":
        (threshold,) = need(tensors, path, topk_threshold=0)
        return {"b_enc": b_enc, "activation.threshold": threshold}
    return {"b_enc": b_enc}


def _theirs(coder: SparseCoder) -> tuple[str, dict[str, Tensor]]:
    """SAELens' name of the architecture, and the tensors particular to it."""
    cfg, ours = coder.cfg, weights(coder)
    skip = "skip_" if cfg.skip else ""
    if cfg.architecture in ("jumprelu", "batchtopk"):
        named = f"jumprelu_{skip}transcoder" if cfg.transcodes else "jumprelu"
        if cfg.architecture == "jumprelu":
            threshold = ours["activation.threshold"]
        else:
            threshold = ours["activation.threshold"].clamp_min(0) * torch.ones(cfg.width)
        return named, {"b_enc": ours["b_enc"], "threshold": threshold}
    if cfg.architecture == "gated" and not cfg.transcodes:
        mine = {"b_mag": ours["activation.b_mag"], "r_mag": ours["activation.r_mag"]}
        return "gated", {"b_gate": ours["b_enc"], **mine}
    if cfg.architecture == "relu":
        return (f"{skip}transcoder" if cfg.transcodes else "standard"), {"b_enc": ours["b_enc"]}
    if cfg.architecture == "topk" and not cfg.transcodes:
        return "topk", {"b_enc": ours["b_enc"]}
    raise FormatError(f"SAELens has no {cfg.architecture} transcoder; write it as sparsify's.")
