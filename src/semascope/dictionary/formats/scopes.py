"""The Scope families: published dictionaries in layouts of their own. Read, never written.

Gemma Scope: ``params.npz`` with ``W_enc`` (D, F), ``W_dec`` (F, D), ``b_enc``, ``b_dec``,
``threshold`` (Lieberum et al. 2024). Gemma Scope 2: ``params.safetensors`` with lower-case names,
``affine_skip_connection`` (D, D_out), ``config.json``. Llama Scope: ``checkpoints/*.safetensors``
with ``encoder`` and ``decoder`` as linear layers, ``hyperparams.json`` (He et al. 2024).
Qwen Scope: ``layerN.sae.pt`` with ``W_enc`` (F, D), ``W_dec`` (D, F). b_dec is never subtracted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import ArchitectureName, CoderConfig
from semascope.dictionary.formats.common import (
    build,
    check_unused,
    fold_decoder_norms,
    need,
    positive,
    read_npz,
    read_pickle,
    refuse_pickle,
    sites_of,
    thresholds,
    weights_file,
)
from semascope.dictionary.formats.fields import CheckpointHints, ConfigFields, decided, flag, k_of
from semascope.dictionary.formats.llamascopium import includes_norm
from semascope.errors import FormatError

NPZ, PARAMS, HYPER = "params.npz", "params.safetensors", "hyperparams.json"
QWEN = re.compile(r"layer(\d+)\.sae\.pt")
_LAYER = re.compile(r"layer_(\d+)(?:_|$)")
Read = Callable[[Path, bool, CheckpointHints], SparseCoder]


def recognises(path: Path) -> bool:
    """A folder of one of the families, or its file of weights."""
    return _reader(path) is not None


def read(
    path: Path, *, allow_pickle: bool = False, hints: CheckpointHints | None = None
) -> SparseCoder:
    """The coder of a folder or file."""
    reader = _reader(path)
    if reader is None:
        raise FormatError(f"{path} is of none of the Scope families.")
    return reader(path, allow_pickle, hints or CheckpointHints())


def write(coder: SparseCoder, path: Path, notes: object = None) -> None:
    """Always a FormatError."""
    raise FormatError("The Scope families' layouts are read and not written; try --to saelens.")


def _reader(path: Path) -> Read | None:
    if path.is_file():
        if path.name == NPZ:
            return _gemma
        if path.name == PARAMS:
            return _gemma2
        if QWEN.fullmatch(path.name):
            return _qwen
        beside = (path.parent / HYPER, path.parent.parent / HYPER)
        return _llama if path.suffix == ".safetensors" and any(map(Path.is_file, beside)) else None
    if (path / NPZ).is_file():
        return _gemma
    if (path / PARAMS).is_file():
        return _gemma2
    if (path / HYPER).is_file() and _llama_file(path) is not None:
        return _llama
    return _qwen if len(_qwen_files(path)) == 1 else None


def _gemma(path: Path, allow_pickle: bool, hints: CheckpointHints) -> SparseCoder:
    file = path if path.is_file() else path / NPZ
    mine = _jump({name.lower(): t for name, t in read_npz(file).items()}, file)
    site, site_out = _by_folders(file)
    return _built(mine, file, hints, site, site_out)


def _gemma2(path: Path, allow_pickle: bool, hints: CheckpointHints) -> SparseCoder:
    file = path if path.is_file() else path / PARAMS
    config = file.with_name("config.json")
    cfg = ConfigFields.read(config) if config.is_file() else ConfigFields({}, config)
    if cfg.text("architecture") not in (None, "jump_relu"):
        raise FormatError(f"{config}: architecture {cfg.text('architecture')!r} cannot be read.")
    tensors = weights_file(file)
    mine = _jump(tensors, file)
    cfg.width("width", mine["W_enc"].shape[0])
    skip = "affine_skip_connection"
    if skip in tensors:
        (affine,) = need(tensors, file, **{skip: 2})
        mine["W_skip"] = affine.t()
    elif cfg.flag("affine_connection"):
        raise FormatError(f"{file} lacks {skip}, which {config} says there is.")
    site, site_out = _by_folders(file)
    site = cfg.text("hf_hook_point_in") or site
    site_out = cfg.text("hf_hook_point_out") or site_out
    return _built(mine, file, hints, site, "" if site_out == site else site_out)


def _llama(path: Path, allow_pickle: bool, hints: CheckpointHints) -> SparseCoder:
    folder = path if path.is_dir() else path.parent
    folder = folder if (folder / HYPER).is_file() else folder.parent
    found = path if path.is_file() else _llama_file(folder)
    assert found is not None  # as it was recognised
    file, cfg = found, ConfigFields.read(folder / HYPER)
    tensors = weights_file(file)
    w_enc, b_enc, w_dec, b_dec = need(
        tensors, file, encoder__weight=2, encoder__bias=1, decoder__weight=2, decoder__bias=1
    )
    names = {f"{part}.{kind}" for part in ("encoder", "decoder") for kind in ("weight", "bias")}
    check_unused(tensors, names, file)
    cfg.width("d_model", w_enc.shape[1])
    cfg.width("d_sae", w_enc.shape[0])
    if cfg.flag("use_glu_encoder") or cfg.flag("apply_decoder_bias_to_pre_encoder"):
        raise FormatError(f"{cfg.path} asks for a gated encoder or a pre-encoder bias; not read.")
    mine = {"W_enc": w_enc, "b_enc": b_enc, "W_dec": w_dec.t().clone(), "b_dec": b_dec}
    architecture = _llama_activation(cfg, mine, hints)
    if includes_norm(cfg, mine["W_dec"]):
        fold_decoder_norms(mine, file)
    into, out = (cfg.text(f"hook_point_{end}") or "" for end in ("in", "out"))
    k = k_of(cfg.path, hints, cfg.count("top_k")) if architecture == "topk" else 1
    site_out = out if out != into else ""
    threshold = mine.get("activation.threshold")
    unscaled = replace(hints, scale=None)
    coder = _built(mine, file, unscaled, into, site_out, architecture=architecture, k=k)
    coder.fold(*_llama_factors(cfg, bool(site_out), hints))
    if threshold is not None:  # in the units of plain activations already, as SAELens has it
        coder.activation.threshold.copy_(threshold)  # type: ignore[operator]
    return coder


def _llama_activation(
    cfg: ConfigFields, mine: dict[str, Tensor], hints: CheckpointHints
) -> ArchitectureName:
    said = (cfg.text("act_fn") or "").lower() or None
    if said not in (None, "relu", "jumprelu", "topk"):
        raise FormatError(f"{cfg.path}: act_fn {said!r} cannot be read.")
    name = flag("architecture", "NAME")
    found: ArchitectureName = decided("act_fn", cfg.path, name, said, hints.architecture)
    if found == "jumprelu":
        at: float = decided(
            "jump_relu_threshold",
            cfg.path,
            flag("threshold", "T"),
            cfg.number("jump_relu_threshold"),
            hints.threshold,
        )
        mine["activation.threshold"] = thresholds(torch.full_like(mine["b_enc"], at))
    return found


def _llama_factors(
    cfg: ConfigFields, transcodes: bool, hints: CheckpointHints
) -> tuple[float, float]:
    """√d over the average norms in and out."""
    if hints.scale is not None:
        scale = positive(hints.scale, "--scale", cfg.path)
        return scale, scale
    how = cfg.text("norm_activation")
    if how in ("inference", "none"):
        return 1.0, 1.0
    if how not in (None, "dataset-wise"):
        raise FormatError(f"{cfg.path} normalises activations {how}, which cannot be folded.")
    norms = cfg.part("dataset_average_activation_norm")
    root = math.sqrt(int(cfg.count("d_model") or decided("d_model", cfg.path, "write it there")))
    factors = []
    for end in ("in", "out") if transcodes else ("in", "in"):
        name = f"dataset_average_activation_norm.{end}"
        value = decided(name, cfg.path, flag("scale", "S"), norms.number(end))
        factors.append(root / positive(value, name, cfg.path))
    return factors[0], factors[1]


def _llama_file(folder: Path) -> Path | None:
    """final.safetensors, or the only file of weights."""
    found = sorted(folder.glob("checkpoints/*.safetensors")) or sorted(folder.glob("*.safetensors"))
    final = [file for file in found if file.name == "final.safetensors"]
    return final[0] if final else found[0] if len(found) == 1 else None


def _qwen(path: Path, allow_pickle: bool, hints: CheckpointHints) -> SparseCoder:
    file = path if path.is_file() else path / _qwen_files(path)[0]
    refuse_pickle(file, allow_pickle)
    tensors = read_pickle(file)
    w_enc, w_dec, b_enc, b_dec = need(tensors, file, W_enc=2, W_dec=2, b_enc=1, b_dec=1)
    check_unused(tensors, {"W_enc", "W_dec", "b_enc", "b_dec"}, file)
    named = [re.search(r"-L0_(\d+)", part) for part in file.resolve().parts]
    said = [int(found[1]) for found in named if found]
    k = k_of(file, hints, *said[-1:])
    mine = {"W_enc": w_enc, "b_enc": b_enc, "W_dec": w_dec.t(), "b_dec": b_dec}
    layer = QWEN.fullmatch(file.name)
    site = f"resid_post.{int(layer[1])}" if layer else ""
    return _built(mine, file, hints, site, "", architecture="topk", k=k)


def _qwen_files(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(file.name for file in folder.iterdir() if QWEN.fullmatch(file.name))


def _jump(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Gemma Scope's tensors by our names."""
    names = {"w_enc": 2, "w_dec": 2, "b_enc": 1, "b_dec": 1, "threshold": 1}
    w_enc, w_dec, b_enc, b_dec, threshold = need(tensors, file, **names)
    check_unused(tensors, {*names, "affine_skip_connection"}, file)
    return {
        "W_enc": w_enc.t(),
        "W_dec": w_dec,
        "b_enc": b_enc,
        "b_dec": b_dec,
        "activation.threshold": thresholds(threshold),
    }


def _built(
    mine: Mapping[str, Tensor],
    file: Path,
    hints: CheckpointHints,
    site: str,
    site_out: str,
    *,
    architecture: ArchitectureName = "jumprelu",
    k: int = 1,
) -> SparseCoder:
    d_in, d_out = mine["W_enc"].shape[1], mine["W_dec"].shape[1]
    transcodes = bool(site_out) or d_in != d_out or "W_skip" in mine
    shape = CoderConfig(
        d_in=d_in,
        width=mine["W_enc"].shape[0],
        k=k,
        architecture=architecture,
        d_out=d_out if transcodes else None,
        skip="W_skip" in mine,
        subtract_b_dec=False,
        unit_norm=False,
    )
    coder = build(shape, mine, file, **sites_of(hints, site, site_out))
    coder.fold(positive(1.0 if hints.scale is None else hints.scale, "the scale", file))
    return coder


def _by_folders(file: Path) -> tuple[str, str]:
    """(site read, site written or "") as the folders above say: ``…-pt-res/layer_20/…``.

    Those of attention and MLPs are read where this project has no site: before the output
    projection, and after Gemma's second norm.
    """
    parts = file.resolve().parts[:-1]
    layers = [found[1] for part in parts if (found := _LAYER.search(part))]
    if not layers:
        return "", ""
    number = int(layers[-1])
    for part in reversed(parts):
        if "transcoder" in part:
            return f"blocks.{number}.ln2.hook_normalized", f"blocks.{number}.hook_mlp_out"
        if re.search(r"-res(-|$)", part) or part.startswith("resid_post"):
            return f"resid_post.{number}", ""
    return "", ""
