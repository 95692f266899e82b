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
from semascope.dictionary.formats.common import (
    build,
    check_unused,
    need,
    positive,
    sites_of,
    unit_rows,
    weights,
    weights_file,
)
from semascope.dictionary.formats.fields import CheckpointHints, ConfigFields, k_of
from semascope.dictionary.formats.sites import folder_site
from semascope.errors import FormatError
from semascope.files import write_json, write_tensors

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
LAYOUT = 1
"""Of our section in cfg.json."""


def recognises(path: Path) -> bool:
    """A folder with such weights, or the file of them."""
    return path.name == WEIGHTS if path.is_file() else (path / WEIGHTS).is_file()


def read(
    path: Path, *, allow_pickle: bool = False, hints: CheckpointHints | None = None
) -> SparseCoder:
    """The coder of a folder."""
    hints, path = hints or CheckpointHints(), path.parent if path.is_file() else path
    cfg, raw = ConfigFields.read(path / CONFIG), weights_file(path / WEIGHTS)
    need(raw, path / WEIGHTS, encoder__weight=2, encoder__bias=1, W_dec=2, b_dec=1)
    tensors = _names(raw)
    if cfg.has("semascope"):
        return _own(cfg.part("semascope"), tensors, path, hints)
    if cfg.text("activation") not in (None, "topk") or cfg.flag("signed"):
        raise FormatError(
            f"{path / CONFIG} asks for activation {cfg.text('activation')!r}"
            f"{' with signed latents' if cfg.flag('signed') else ''}; only TopK can be read."
        )
    shape = _shape(cfg, tensors, path, hints)
    site, site_out = folder_site(path.resolve(), transcodes=shape.transcodes)
    mine = dict(tensors)
    check_unused(mine, {"W_enc", "b_enc", "W_dec", "b_dec", "W_skip"}, path / WEIGHTS)
    coder = build(shape, _floats(mine, path), path / WEIGHTS, **sites_of(hints, site, site_out))
    coder.fold(positive(1.0 if hints.scale is None else hints.scale, "the scale", path))
    return coder


def _own(
    ours: ConfigFields, tensors: Mapping[str, Tensor], path: Path, hints: CheckpointHints
) -> SparseCoder:
    """A coder that this project wrote."""
    layout = ours.count("format") or 1
    if layout > LAYOUT:
        raise FormatError(
            f"{ours.path} was written by a later semascope (layout {layout}). Update semascope."
        )
    if not ours.has("coder"):
        raise FormatError(f"{ours.path} lacks semascope.coder, the shape of the dictionary.")
    shape = CoderConfig(**ours.part("coder").values)
    return build(
        shape,
        _floats(tensors, path),
        path / WEIGHTS,
        name=ours.text("name") or "main",
        **sites_of(hints, ours.text("site") or "", ours.text("site_out") or ""),
    )


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
                "format": LAYOUT,
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


def _floats(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """All of them in float32, whatever kind of fraction they are stored as."""
    return {
        name: need(tensors, path / WEIGHTS, **{name.replace(".", "__"): t.ndim})[0]
        for name, t in tensors.items()
    }


def _shape(
    cfg: ConfigFields, tensors: Mapping[str, Tensor], path: Path, hints: CheckpointHints
) -> CoderConfig:
    weight, decoder = need(tensors, path / WEIGHTS, W_enc=2, W_dec=2)
    cfg.width("num_latents", weight.shape[0])
    cfg.width("d_in", weight.shape[1])
    transcode, skip = bool(cfg.flag("transcode")), cfg.flag("skip_connection")
    if skip is not None and skip != ("W_skip" in tensors):
        raise FormatError(
            f"{cfg.path} says skip_connection {skip}, but {WEIGHTS} holds "
            f"{'a' if 'W_skip' in tensors else 'no'} W_skip."
        )
    normalised = cfg.flag("normalize_decoder")
    unit = unit_rows(decoder) if normalised is None else normalised
    return CoderConfig(
        d_in=weight.shape[1],
        width=weight.shape[0],
        k=k_of(cfg.path, hints, cfg.count("k")),
        d_out=decoder.shape[1] if transcode else None,
        skip="W_skip" in tensors,
        subtract_b_dec=not transcode,
        unit_norm=unit and not transcode,
        extra={key: value for key, value in cfg.values.items() if key not in _KNOWN},
    )
