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

from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import ArchitectureName, CoderConfig
from semascope.dictionary.files import read_json, read_tensors, write_json, write_tensors
from semascope.dictionary.formats.common import build, need, plain, unknown, weights
from semascope.errors import FormatError

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
    """Whether the folder holds such a checkpoint."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def read(path: Path, *, allow_pickle: bool = False) -> SparseCoder:
    """The coder of a folder."""
    cfg = read_json(path / CONFIG)
    tensors, _ = read_tensors(path / WEIGHTS)
    act = str(cfg.get("act_fn", "relu")).lower()
    if act not in ("relu", "topk", "jumprelu") or cfg.get("use_glu_encoder"):
        gated = " with a gated encoder" if cfg.get("use_glu_encoder") else ""
        raise FormatError(
            f"{path / CONFIG}: activation {act!r}{gated} cannot be read. Where it depends on the "
            "batch, convert it to JumpReLU with llamascopium first."
        )
    architecture: ArchitectureName = act  # type: ignore[assignment]
    w_e, b_e, w_d = need(tensors, path / WEIGHTS, "W_E", "b_E", "W_D")
    ours = {"W_enc": w_e.t().clone(), "b_enc": b_e, "W_dec": w_d.clone()}
    ours["b_dec"] = tensors["b_D"].float() if "b_D" in tensors else w_d.new_zeros(w_d.shape[1])
    if architecture == "jumprelu":
        ours["activation.threshold"] = _threshold(tensors, path)
    if cfg.get("sparsity_include_decoder_norm"):
        norm = w_d.norm(dim=1)  # (F,)
        ours["W_enc"] *= norm.unsqueeze(1)
        ours["b_enc"] = b_e * norm
        ours["W_dec"] /= norm.unsqueeze(1)
    into, out = cfg.get("hook_point_in", ""), cfg.get("hook_point_out", "")
    if cfg.get("norm_activation") == "dataset-wise":
        _unscale(ours, _factor(tensors, into, path), _factor(tensors, out, path))
    elif cfg.get("norm_activation") not in (None, "inference", "none"):
        raise FormatError(
            f"{path / CONFIG} normalises activations {cfg['norm_activation']}; only dataset-wise "
            "norms can be folded into the weights."
        )
    shape = CoderConfig(
        d_in=w_e.shape[0],
        width=w_e.shape[1],
        k=int(cfg.get("top_k", 1)) if architecture == "topk" else 1,
        architecture=architecture,
        d_out=w_d.shape[1] if into != out else None,
        subtract_b_dec=False,
        unit_norm=False,
        extra=unknown(cfg, _KNOWN, cfg.get("semascope")),
    )
    return build(shape, ours, path / WEIGHTS, site=str(into))


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
            "hook_point_in": coder.site,
            "hook_point_out": f"{coder.site}.out" if cfg.transcodes else coder.site,
            "norm_activation": "inference",
            "sparsity_include_decoder_norm": False,
            "use_decoder_bias": True,
            "use_glu_encoder": False,
            "dtype": "torch.float32",
            "device": "cpu",
            "semascope": dict(notes or {}),
        },
    )


def _threshold(tensors: Mapping[str, Tensor], path: Path) -> Tensor:
    """(F,) thresholds, under whichever module their logarithms are kept."""
    found = [t for name, t in tensors.items() if name.endswith(THRESHOLD)]
    if not found:
        raise FormatError(f"{path / WEIGHTS} lacks {THRESHOLD}; it holds {', '.join(tensors)}.")
    width = tensors["b_E"].shape[0]
    return found[0].float().exp().expand(width).clone()


def _factor(tensors: Mapping[str, Tensor], hook: str, path: Path) -> float:
    """√d over the average norm at a hook."""
    norm = tensors.get(NORM + hook)
    if norm is None:
        raise FormatError(f"{path / WEIGHTS} lacks the average activation norm of {hook!r}.")
    return math.sqrt(tensors["W_E"].shape[0]) / float(norm)


def _unscale(ours: dict[str, Tensor], into: float, out: float) -> None:
    """Make weights for scaled activations read and write plain ones."""
    ours["b_enc"] = ours["b_enc"] / into
    ours["b_dec"] = ours["b_dec"] / out
    ours["W_dec"] = ours["W_dec"] * (into / out)
    if "activation.threshold" in ours:
        ours["activation.threshold"] = ours["activation.threshold"] / into
