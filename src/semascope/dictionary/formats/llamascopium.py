"""llamascopium (OpenMOSS Language-Model-SAEs): config.json and sae_weights.safetensors.

``W_E`` (D, F), ``b_E`` (F), ``W_D`` (F, D), ``b_D`` (D), average activation norms, and for JumpReLU
a log threshold. b_D is never subtracted. A dataset-wise norm and norms that the encoder multiplies
by are folded into the weights on reading.
"""

from __future__ import annotations

import math
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
    fold_decoder_norms,
    need,
    plain,
    positive,
    scale_missing,
    sites_of,
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

WEIGHTS, CONFIG = "sae_weights.safetensors", "config.json"
THRESHOLD = "log_jumprelu_threshold"
NORM = "dataset_average_activation_norm."
_KNOWN = {
    "sae_type",
    "d_model",
    "d_sae",
    "expansion_factor",
    "act_fn",
    "top_k",
    "hook_point_in",
    "hook_point_out",
    "norm_activation",
    "sparsity_include_decoder_norm",
    "use_decoder_bias",
    "use_glu_encoder",
    "dtype",
    "device",
    "semascope",
}


def recognises(path: Path) -> bool:
    """A folder with such weights and configuration, or the file of them."""
    if path.is_file():
        return path.name == WEIGHTS and not (path.parent / "cfg.json").is_file()
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def read(
    path: Path, *, allow_pickle: bool = False, hints: CheckpointHints | None = None
) -> SparseCoder:
    """The coder of a folder."""
    hints, path = hints or CheckpointHints(), path.parent if path.is_file() else path
    cfg, tensors = ConfigFields.read(path / CONFIG), weights_file(path / WEIGHTS)
    architecture = _architecture(cfg, hints)
    w_e, b_e, w_d = need(tensors, path / WEIGHTS, W_E=2, b_E=1, W_D=2)
    cfg.width("d_model", w_e.shape[0])
    cfg.width("d_sae", w_e.shape[1])
    mine = {"W_enc": w_e.t().clone(), "b_enc": b_e, "W_dec": w_d.clone()}
    mine["b_dec"] = _b_dec(cfg, tensors, w_d.shape[1], path)
    if architecture == "jumprelu":
        mine["activation.threshold"] = _threshold(tensors, path)
    if includes_norm(cfg, w_d):
        fold_decoder_norms(mine, path / WEIGHTS)
    into, out = (cfg.text(f"hook_point_{end}") or "" for end in ("in", "out"))
    factors = _factors(cfg, tensors, into, out, path, hints)
    transcodes = into != out and bool(out)
    shape = CoderConfig(
        d_in=w_e.shape[0],
        width=w_e.shape[1],
        k=k_of(cfg.path, hints, cfg.count("top_k")) if architecture == "topk" else 1,
        architecture=architecture,
        d_out=w_d.shape[1] if transcodes else None,
        subtract_b_dec=False,
        unit_norm=False,
        extra=unknown(cfg.values, _KNOWN, cfg.part("semascope").values.get(KEPT)),
    )
    where = out if transcodes and out != f"{into}{UNSAID}" else ""
    coder = build(shape, mine, path / WEIGHTS, **sites_of(hints, into, where))
    coder.fold(*factors)
    return coder


def _architecture(cfg: ConfigFields, hints: CheckpointHints) -> ArchitectureName:
    kind = cfg.text("sae_type")
    if kind not in (None, "sae", "transcoder"):
        raise FormatError(f"{cfg.path}: a {kind} cannot be read; SAEs and transcoders can.")
    if cfg.flag("use_glu_encoder"):
        raise FormatError(f"{cfg.path}: a gated (GLU) encoder cannot be read.")
    said = (cfg.text("act_fn") or "").lower() or None
    if said not in (None, "relu", "topk", "jumprelu"):
        raise FormatError(
            f"{cfg.path}: activation {said!r} cannot be read. Where it depends on the batch, "
            "convert it to JumpReLU with llamascopium first."
        )
    name = flag("architecture", "relu, topk or jumprelu")
    found: ArchitectureName = decided("act_fn", cfg.path, name, said, hints.architecture)
    if found not in ("relu", "topk", "jumprelu"):
        raise FormatError(f"{cfg.path}: --architecture {found} is none of this format.")
    return found


def _b_dec(cfg: ConfigFields, tensors: Mapping[str, Tensor], size: int, path: Path) -> Tensor:
    """(D_out,) b_D; zeros only where the configuration says that there is none."""
    if cfg.flag("use_decoder_bias") is False:
        return torch.zeros(size)
    return need(tensors, path / WEIGHTS, b_D=1)[0]


def includes_norm(cfg: ConfigFields, w_dec: Tensor) -> bool:
    """Whether pre-activations are multiplied by decoder norms, where those are not all 1."""
    if unit_rows(w_dec):
        return False
    name = "sparsity_include_decoder_norm"
    how = "write true or false into it, as the dictionary was trained"
    return bool(decided(name, cfg.path, how, cfg.flag(name)))


def _factors(
    cfg: ConfigFields,
    tensors: Mapping[str, Tensor],
    into: str,
    out: str,
    path: Path,
    hints: CheckpointHints,
) -> tuple[float, float]:
    """Factors of the input and of the output that the weights still expect."""
    how = cfg.text("norm_activation")
    known = any(name.startswith(NORM) for name in tensors)
    if hints.scale is not None and not (how == "dataset-wise" and known):
        scale = positive(hints.scale, "--scale", cfg.path)
        return scale, scale
    if how is None and known:
        decided("norm_activation", cfg.path, "write it into the file, or " + flag("scale", "S"))
    if how == "dataset-wise":
        if not known:
            raise scale_missing(cfg.path, "norm_activation is dataset-wise")
        return _factor(tensors, into, path), _factor(tensors, out, path)
    if how not in (None, "inference", "none"):
        raise FormatError(
            f"{cfg.path} normalises activations {how}, which depends on the token or the batch and "
            "cannot be folded into weights; only dataset-wise norms can."
        )
    return 1.0, 1.0


def write(coder: SparseCoder, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """Two files; what b_dec takes from the input is folded into b_E."""
    plain(coder, "llamascopium")
    cfg, ours = coder.cfg, weights(coder)
    if cfg.architecture not in ("relu", "topk", "jumprelu") or cfg.skip:
        raise FormatError(
            f"llamascopium has no {cfg.architecture}{' with a skip' if cfg.skip else ''} that "
            "reads the same; write it as sparsify's."
        )
    b_e = ours["b_enc"]
    if cfg.subtract_b_dec:
        b_e = b_e - ours["W_enc"] @ ours["b_dec"]
    tensors = {"W_E": ours["W_enc"].t(), "b_E": b_e, "W_D": ours["W_dec"], "b_D": ours["b_dec"]}
    if cfg.architecture == "jumprelu":
        tensors[f"activation_function.{THRESHOLD}"] = ours["activation.threshold"].log()
    write_tensors(path / WEIGHTS, tensors)
    write_json(
        path / CONFIG,
        {
            "sae_type": "sae",
            "d_model": cfg.d_in,
            "expansion_factor": cfg.width / cfg.d_in,
            "act_fn": cfg.architecture,
            "top_k": cfg.k,
            "hook_point_in": lens(coder.site),
            "hook_point_out": _out(coder),
            "norm_activation": "inference",
            "sparsity_include_decoder_norm": False,
            "use_decoder_bias": True,
            "use_glu_encoder": False,
            "dtype": "torch.float32",
            "device": "cpu",
            "semascope": dict(notes or {}),
        },
    )


UNSAID = ".out"
"""After the site read: the target of a transcoder of which nobody said where it writes."""


def _out(coder: SparseCoder) -> str:
    """Where it writes; must differ from where it reads for a transcoder to be read as one."""
    if not coder.cfg.transcodes:
        return lens(coder.site)
    return lens(coder.site_out) or f"{lens(coder.site)}{UNSAID}"


def _threshold(tensors: Mapping[str, Tensor], path: Path) -> Tensor:
    """(F,) thresholds, under whichever module their logarithms are kept."""
    found = [t for name, t in tensors.items() if name.endswith(THRESHOLD)]
    if not found:
        raise FormatError(f"{path / WEIGHTS} lacks {THRESHOLD}; it holds {', '.join(tensors)}.")
    width = tensors["b_E"].shape[0]
    if found[0].numel() not in (1, width) or found[0].ndim > 1:
        raise FormatError(
            f"{path / WEIGHTS}: {THRESHOLD} has shape {tuple(found[0].shape)}, not one a latent."
        )
    return found[0].float().exp().expand(width).clone()


def _factor(tensors: Mapping[str, Tensor], hook: str, path: Path) -> float:
    """√d over the average norm at a hook."""
    norm = tensors.get(NORM + hook)
    if norm is None or norm.numel() != 1:
        raise FormatError(f"{path / WEIGHTS} lacks the average activation norm of {hook!r}.")
    mean = positive(float(norm), f"the average norm of {hook!r}", path / WEIGHTS)
    return math.sqrt(tensors["W_E"].shape[0]) / mean
