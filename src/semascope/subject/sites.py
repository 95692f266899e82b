"""Hook points by name, found from a model's module tree rather than from its class.

The language model is the module that owns the input embedding; its decoder layers are the
longest list of layers under it. Vision layers are the longest list of attention layers
outside it, and the projector lies between the two.

==================  ==================================================================
``resid_pre.N``     what decoder layer N reads from the residual stream
``attn_out.N``      what its attention adds to the residual stream
``mlp_in.N``        what its MLP reads: the residual stream, normalised
``mlp_neurons.N``   the input of its MLP's down projection: one number a neuron
``mlp_out.N``       what its MLP adds to the residual stream
``resid_post.N``    the residual stream after layer N
``vision.N``        the output of vision layer N, shape (pictures or tiles, patches, width)
``projector``       vision features in the language model's space
==================  ==================================================================

Sites found by name are then verified by a pass (``measured_sites``): if a sublayer's output is
normalised before it is added, the site is the normalised output.

Sites joined by +, as in ``resid_post.6+resid_post.12``, are concatenated into one vector for each
token: the input of a crosscoder.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor, nn

from semascope.errors import SiteNotFound, SubjectError

ATTENTION = re.compile(r"^(self_?attn|self_attention|attn|attention|temporal_block)$")
MLP = re.compile(r"^(mlp|feed_?forward|ffn|ff|block_sparse_moe|moe)$")
DOWN = ("down_proj", "c_proj", "fc2", "dense_4h_to_h", "fc_out", "w2", "wo", "proj_out")
PROJECTORS = ("multi_modal_projector", "mm_projector", "projector", "connector", "aligner")


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a site is: the input or the output of a module."""

    module: nn.Module
    side: Literal["in", "out"]
    width: int
    scale: float = 1.0
    """Constant by which the model multiplies the output before adding it (Granite); sites hold the
    product."""
    normalised: bool = False
    """Whether the residual stream is normalised after the sum (OPT-350m, the first GPT)."""
    layer: nn.Module | None = None
    """The decoder layer, if the module's tensors have no batch axis, (B · T, width)."""


def find_sites(model: Any) -> dict[str, Hook]:
    """Every hook point of a model, in the order in which a forward pass reaches them."""
    path, language = language_model(model)
    d_model = text_width(model)
    found: dict[str, Hook] = {}
    for n, layer in enumerate(vision_layers(model, path)):
        found[f"vision.{n}"] = Hook(layer, "out", _norm_width(layer))
    projector = find_projector(model, path)
    if projector is not None:
        found["projector"] = Hook(projector, "out", d_model)
    for n, layer in enumerate(_longest_list(language)):
        found.update(_layer_sites(layer, n, d_model))
    return found


def _layer_sites(layer: nn.Module, n: int, d_model: int) -> dict[str, Hook]:
    """The six sites of one decoder layer, or as many as it has."""
    found = {f"resid_pre.{n}": Hook(layer, "in", d_model)}
    attention = _child(layer, ATTENTION)
    if attention is not None:
        found[f"attn_out.{n}"] = Hook(attention, "out", d_model)
    mlp = _child(layer, MLP)
    if mlp is not None:
        found[f"mlp_in.{n}"] = Hook(mlp, "in", d_model)
    down = _down_projection(mlp if mlp is not None else layer, d_model)
    if down is not None:
        found[f"mlp_neurons.{n}"] = Hook(down[0], "in", down[1])
    block = mlp if mlp is not None else (down[0] if down else None)
    if block is not None:
        found[f"mlp_out.{n}"] = Hook(block, "out", d_model)
    found[f"resid_post.{n}"] = Hook(layer, "out", d_model)
    return found


def language_model(model: Any) -> tuple[str, nn.Module]:
    """(dotted path, module) of the language model: it owns the input embedding and the layers.

    Raises:
        SubjectError: no decoder layers were found.
    """
    embedding = model.get_input_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    path = names.get(id(embedding), "")
    while "." in path:
        path = path.rpartition(".")[0]
        module = model.get_submodule(path)
        if _longest_list(module):
            return path, module
    if _longest_list(model):
        return "", model
    raise SubjectError(
        f"No decoder layers were found in {type(model).__name__}. A subject must be a causal "
        "language model, or one that reads pictures, with its layers in an nn.ModuleList."
    )


def text_width(model: Any) -> int:
    """Width of the residual stream."""
    config = model.config.get_text_config(decoder=True)
    width = getattr(config, "hidden_size", None) or getattr(config, "n_embd", None)
    return int(width or model.get_input_embeddings().weight.shape[1])


def vision_layers(model: Any, language: str) -> list[nn.Module]:
    """Layers of the vision tower: the longest list of attention layers outside the language."""
    return max(
        (
            list(module)
            for name, module in model.named_modules()
            if isinstance(module, nn.ModuleList)
            and not _under(name, language)
            and len(module)
            and _child(module[0], ATTENTION) is not None
            and _child(module[0], MLP) is not None
        ),
        key=len,
        default=[],
    )


def picture_layers(config: Any) -> int:
    """Number of first layers that vision features enter: Qwen3-VL's deepstack, Mllama's
    cross-attention."""
    crossed = getattr(config.get_text_config(decoder=True), "cross_attention_layers", None)
    if crossed:
        return int(max(crossed)) + 1
    vision = getattr(config, "vision_config", None)
    return len(getattr(vision, "deepstack_visual_indexes", None) or ())


def find_projector(model: Any, language: str) -> nn.Module | None:
    """The module that maps vision features to the language model's width, by its usual names."""
    modules: list[tuple[str, nn.Module]] = [
        (n, m) for n, m in model.named_modules() if n and not _under(n, language)
    ]
    for wanted in (*PROJECTORS, "merger"):
        for name, module in modules:
            if name.rpartition(".")[2] == wanted and not isinstance(module, nn.ModuleList):
                return module
    return None


def resolve(patterns: str | Iterable[str], known: Iterable[str]) -> list[str]:
    """Site names for a comma list with wildcards, in forward order, each once.

    Raises ``SiteNotFound`` naming what exists when a pattern matches nothing.
    """
    known = list(known)
    wanted = patterns.split(",") if isinstance(patterns, str) else list(patterns)
    chosen: set[str] = set()
    for pattern in (p.strip() for p in wanted):
        if not pattern:
            continue
        matched = [name for name in known if fnmatchcase(name, pattern)]
        if not matched:
            raise SiteNotFound(_not_found(pattern, known))
        chosen.update(matched)
    if not chosen:
        raise SiteNotFound(f"No site was named. This model has: {summary(known)}.")
    return [name for name in known if name in chosen]


JOIN = "+"
"""Joins the names of sites that are concatenated."""


def parts_of(names: Iterable[str]) -> list[str]:
    """The single sites in names, some of them joined by +; each once."""
    return list(dict.fromkeys(part for name in names for part in name.split(JOIN)))


def side_by_side(found: Mapping[str, Tensor], name: str) -> Tensor:
    """(B, T, d) at a site, or (B, T, Σ d) at the sites that ``name`` joins by +.

    Raises:
        SubjectError: the joined sites do not have the same tokens.
    """
    if name in found:
        return found[name]
    parts = [found[part] for part in name.split(JOIN)]
    if len({part.shape[:-1] for part in parts}) > 1:
        raise SubjectError(
            f"{name} cannot be concatenated: these sites do not have the same tokens. "
            "Join sites of the language model."
        )
    return torch.cat([part.to(parts[0].device) for part in parts], dim=-1)


def summary(known: Iterable[str]) -> str:
    """Site names in short: ``resid_post.0–23, projector``."""
    groups: dict[str, list[int]] = {}
    for name in known:
        stem, _, number = name.partition(".")
        groups.setdefault(stem, [])
        if number:
            groups[stem].append(int(number))
    return ", ".join(f"{s}.{min(n)}–{max(n)}" if n else s for s, n in groups.items())


def _not_found(pattern: str, known: list[str]) -> str:
    close = difflib.get_close_matches(pattern, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"This model has no site {pattern!r}.{hint} It has: {summary(known)}."


def _under(name: str, parent: str) -> bool:
    return parent != "" and (name == parent or name.startswith(parent + "."))


def _longest_list(module: nn.Module) -> list[nn.Module]:
    """The longest list of decoder layers under a module: direct children go first."""
    found = [list(c) for c in module.children() if _is_layers(c)]
    found = found or [list(m) for m in module.modules() if _is_layers(m)]
    return max(found, key=len, default=[])


def _is_layers(module: nn.Module) -> TypeGuard[nn.ModuleList]:
    return (
        isinstance(module, nn.ModuleList)
        and len(module) > 0
        and any(True for _ in module[0].children())
        and any("norm" in n.lower() or n.startswith("ln") for n, _ in module[0].named_children())
    )


def _child(layer: nn.Module, pattern: re.Pattern[str]) -> nn.Module | None:
    return next((m for n, m in layer.named_children() if pattern.match(n)), None)


def _down_projection(mlp: nn.Module, d_model: int) -> tuple[nn.Module, int] | None:
    """(module, neurons) of the linear map back to the residual stream, by its usual names."""
    for name in DOWN:
        module = getattr(mlp, name, None)
        weight = getattr(module, "weight", None)
        if not isinstance(module, nn.Module) or weight is None:
            continue
        # Conv1D (GPT-2) keeps its weight as (in, out), Linear as (out, in).
        fan_in = getattr(module, "in_features", None) or weight.shape[0]
        return module, int(fan_in)
    return None


def _norm_width(layer: nn.Module) -> int:
    """Width of a vision layer, from its first normalisation's weight."""
    for name, module in layer.named_modules():
        weight = getattr(module, "weight", None)
        if "norm" in name.lower() and weight is not None and weight.ndim == 1:
            return int(weight.shape[0])
    return 0


def final_norm_weight(language: nn.Module, d_model: int) -> Tensor:
    """(d,) the scale of the normalisation before the unembedding; ones where there is none.

    Measured rather than read: some families store the scale less one. A vector of alternating
    signs has mean 0 and size 1, so that what a normalisation makes of it is its scale.
    """
    named = reversed(list(language.named_children()))
    norm = next((m for n, m in named if "norm" in n or n == "ln_f"), None)
    weight = getattr(norm, "weight", None)
    if norm is None or weight is None:
        return torch.ones(d_model)
    signs = torch.ones(d_model, device=weight.device, dtype=weight.dtype)
    signs[1::2] = -1
    with torch.no_grad():
        # The odd part leaves out a bias.
        scale: Tensor = (norm(signs[None]) - norm(-signs[None]))[0].float() / 2 * signs.float()
    return scale
