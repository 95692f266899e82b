"""sparsify's checkpoints (and those of the multimodal-sae fork): cfg.json and sae.safetensors.

Tensors: ``encoder.weight`` (F, D), ``encoder.bias`` (F), ``W_dec`` (F, D_out), ``b_dec`` (D_out),
with a skip ``W_skip`` (D_out, D). ``num_latents`` 0 means ``expansion_factor`` · d_in; the width is
read from the tensor in any case. What sparsify has no word for stands under ``semascope`` in
cfg.json, and as tensors named ``activation.*``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig
from semascope.dictionary.files import read_json, read_tensors, write_json, write_tensors
from semascope.dictionary.formats.common import build, weights
from semascope.errors import FormatError

WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"
_KNOWN = {
    "activation",
    "expansion_factor",
    "normalize_decoder",
    "num_latents",
    "k",
    "multi_topk",
    "skip_connection",
    "transcode",
    "signed",
    "d_in",
    "semascope",
}
NAME = "sparsify"


def recognises(path: Path) -> bool:
    """Whether the folder holds such a checkpoint."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def read(path: Path, *, allow_pickle: bool = False) -> SparseCoder:
    """The coder of a folder."""
    cfg = read_json(path / CONFIG)
    tensors, _ = read_tensors(path / WEIGHTS)
    if not isinstance(cfg, dict):
        raise FormatError(f"{path / CONFIG} holds no JSON object.")
    ours = cfg.get("semascope", {})
    if not ours and (cfg.get("activation", "topk") != "topk" or cfg.get("signed")):
        raise FormatError(
            f"{path / CONFIG} asks for activation {cfg.get('activation')!r}"
            f"{' with signed latents' if cfg.get('signed') else ''}; only TopK can be read."
        )
    shape = CoderConfig(**ours["coder"]) if ours else _shape(cfg, tensors, path)
    names = {"name": ours.get("name", "main"), "site": ours.get("site", "")}
    coder = build(shape, _names(tensors), path / WEIGHTS, **names)
    coder.site_out = ours.get("site_out", "")
    return coder


def write(coder: SparseCoder, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """Two files; the configuration last, so that a folder that has one is whole."""
    cfg = coder.cfg
    tensors = {_OUT.get(name, name): t for name, t in weights(coder).items()}
    write_tensors(path / WEIGHTS, tensors)
    write_json(
        path / CONFIG,
        {
            "activation": cfg.architecture,
            "expansion_factor": max(1, round(cfg.width / cfg.d_in)),
            "normalize_decoder": cfg.unit_norm,
            "num_latents": cfg.width,
            "k": cfg.k,
            "multi_topk": False,
            "skip_connection": cfg.skip,
            "transcode": cfg.transcodes,
            "d_in": cfg.d_in,
            "semascope": {
                "format": 1,
                "name": coder.name,
                "site": coder.site,
                **({"site_out": coder.site_out} if coder.site_out else {}),
                "coder": cfg.model_dump(mode="json"),
                **(notes or {}),
            },
        },
    )


_IN = {"encoder.weight": "W_enc", "encoder.bias": "b_enc"}
_OUT = {ours: theirs for theirs, ours in _IN.items()}


def _names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_IN.get(name, name): t for name, t in tensors.items()}


def _shape(cfg: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> CoderConfig:
    weight, decoder = tensors.get("encoder.weight"), tensors.get("W_dec")
    if weight is None or decoder is None:
        raise FormatError(f"{path / WEIGHTS} lacks encoder.weight or W_dec.")
    transcode = bool(cfg.get("transcode"))
    return CoderConfig(
        d_in=weight.shape[1],
        width=weight.shape[0],
        k=int(cfg.get("k", 32)),
        d_out=decoder.shape[1] if transcode else None,
        skip="W_skip" in tensors,
        subtract_b_dec=not transcode,
        unit_norm=bool(cfg.get("normalize_decoder", True)) and not transcode,
        extra={key: value for key, value in cfg.items() if key not in _KNOWN},
    )
