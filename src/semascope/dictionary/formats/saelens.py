"""SAELens: cfg.json and sae_weights.safetensors, of version 6 and before.

Tensors: ``W_enc`` (D, F), ``b_enc`` (F), ``W_dec`` (F, D_out), ``b_dec`` (D_out), with
``threshold`` (F) for JumpReLU; ``b_gate, b_mag, r_mag`` for Gated; ``W_skip``; ``topk_threshold``
in checkpoints of BatchTopK training. Norms that the encoder multiplies by
(``rescale_acts_by_decoder_norm``) are
folded into the weights on reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import ArchitectureName, CoderConfig
from semascope.dictionary.files import read_json, read_tensors, write_json, write_tensors
from semascope.dictionary.formats.common import (
    build,
    need,
    plain,
    thresholds,
    unknown,
    weights,
)
from semascope.errors import FormatError

WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
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
}


def recognises(path: Path) -> bool:
    """Whether the folder holds such a checkpoint."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def read(path: Path, *, allow_pickle: bool = False) -> SparseCoder:
    """The coder of a folder."""
    cfg = _modern(read_json(path / CONFIG))
    tensors, _ = read_tensors(path / WEIGHTS)
    named = str(cfg.get("architecture"))
    if named not in _ARCHITECTURES:
        raise FormatError(f"{path / CONFIG}: architecture {named!r} cannot be read.")
    _refuse(cfg, path)
    architecture = _ARCHITECTURES[named]
    w_enc, w_dec, b_dec = need(tensors, path / WEIGHTS, "W_enc", "W_dec", "b_dec")
    transcodes = "transcoder" in named
    ours = {"W_enc": w_enc.t(), "W_dec": w_dec, "b_dec": b_dec}
    ours |= _own(architecture, tensors, path / WEIGHTS)
    if "W_skip" in tensors:
        ours["W_skip"] = tensors["W_skip"].float()
    if cfg.get("rescale_acts_by_decoder_norm"):
        norm = w_dec.norm(dim=1)  # (F,)
        ours["W_enc"] = ours["W_enc"] * norm.unsqueeze(1)
        ours["b_enc"] = ours["b_enc"] * norm
        ours["W_dec"] = w_dec / norm.unsqueeze(1)
    shape = CoderConfig(
        d_in=w_enc.shape[0],
        width=w_enc.shape[1],
        k=int(cfg.get("k") or 32) if architecture in ("topk", "batchtopk") else 1,
        architecture=architecture,
        d_out=w_dec.shape[1] if transcodes else None,
        skip="W_skip" in ours,
        subtract_b_dec=bool(cfg.get("apply_b_dec_to_input", True)) and not transcodes,
        unit_norm=False,
        extra=unknown(cfg, _KNOWN, cfg.get("metadata")),
    )
    site = (cfg.get("metadata") or {}).get("hook_name") or cfg.get("hook_name") or ""
    return build(shape, ours, path / WEIGHTS, site=str(site))


def write(coder: SparseCoder, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """Two files of version 6. BatchTopK becomes JumpReLU with one threshold, as SAELens does."""
    plain(coder, "SAELens")
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
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": coder.site, **(notes or {})},
    }
    if named == "topk":
        value |= {"k": cfg.k, "rescale_acts_by_decoder_norm": False}
    if cfg.transcodes:
        value["d_out"] = cfg.out
    write_json(path / CONFIG, value)


def _modern(cfg: Any) -> dict[str, Any]:
    """The keys of version 6 for a configuration of any version."""
    if not isinstance(cfg, dict):
        raise FormatError("The SAELens configuration is no JSON object.")
    new: dict[str, Any] = dict(cfg)
    new.setdefault("hook_name", new.get("hook_point"))
    chosen = new.get("activation_fn") or new.get("activation_fn_str") or "relu"
    new.setdefault("architecture", "standard")
    if chosen == "topk":
        new["architecture"] = "topk"
        new["k"] = (new.get("activation_fn_kwargs") or {}).get("k", new.get("k"))
    elif chosen != "relu":
        new["architecture"] = f"{new['architecture']} with {chosen}"
    if isinstance(new.get("normalize_activations"), bool):
        new["normalize_activations"] = (
            "expected_average_only_in" if new["normalize_activations"] else "none"
        )
    return new


def _refuse(cfg: Mapping[str, Any], path: Path) -> None:
    """FormatError for what changes the input in ways that no weight can say."""
    normalised = cfg.get("normalize_activations") or "none"
    if normalised not in ("none", "expected_average_only_in"):
        raise FormatError(
            f"{path / CONFIG} normalises activations by {normalised!r}; fold that into the "
            "weights with SAELens first."
        )
    if cfg.get("finetuning_scaling_factor"):
        raise FormatError(f"{path / CONFIG} has a finetuning scaling factor, which is not read.")


def _own(
    architecture: ArchitectureName, tensors: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Biases and what is particular to an architecture, by our names."""
    if architecture == "gated":
        gate, mag, r_mag = need(tensors, path, "b_gate", "b_mag", "r_mag")
        return {"b_enc": gate, "activation.b_mag": mag, "activation.r_mag": r_mag}
    (b_enc,) = need(tensors, path, "b_enc")
    if architecture == "jumprelu":
        (threshold,) = need(tensors, path, "threshold")
        return {"b_enc": b_enc, "activation.threshold": thresholds(threshold)}
    if architecture == "batchtopk":
        (threshold,) = need(tensors, path, "topk_threshold")
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
