"""Verifies sites by one short pass: their shapes, and what attention and MLP really add.

Module names alone mislead. BLOOM's and MPT's sublayers return the residual stream with their own
share added; Gemma 2's and OLMo 2's outputs pass a normalisation before they are added; Granite's
are scaled; OPT's MLP has no batch axis; Gemma 3n has four streams. So in each decoder layer we look
for the modules whose outputs, times a constant, add up to the layer's update:

    resid_post = resid_pre + a · attn_out + m · mlp_out

A site for which this fails is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from semascope.subject.generation.decoding import FOREIGN
from semascope.subject.sites import Hook

TOKENS = 8
EXACT, ROUGH = (1e-4, 1e-5), (0.03, 2**-7)
"""Allowed error as a share of the layer's update, and of the stream: in float32, and below."""


@dataclass(frozen=True, slots=True)
class MeasuredSites:
    """The sites of a model, and why others that its module names suggest are left out."""

    hooks: Mapping[str, Hook]
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Why a site is left out."""
    proved: bool = False
    """Whether a pass was made; it is not if the model cannot read text alone."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """First input and first output of a module; None for what is no tensor."""

    module: nn.Module
    read: Tensor | None
    made: Tensor | None


@dataclass(frozen=True, slots=True)
class _Share:
    """A module whose (T, d) output may be what a sublayer adds."""

    module: nn.Module
    made: Tensor


def measure(model: Any, hooks: Mapping[str, Hook], noise: tuple[float, float]) -> MeasuredSites:
    """The sites of ``hooks`` corrected by a pass over a few tokens (``noise``: ``allowed``)."""
    layers = {n: hooks[f"resid_pre.{n}"].module for n in _numbers(hooks)}
    try:
        seen = _watch(model, layers)
    except FOREIGN:
        return MeasuredSites(hooks)
    found, gone = dict(hooks), {}
    for n in layers:
        own = {name: hook for name, hook in hooks.items() if _is_of(name, n)}
        for name, outcome in _layer(own, n, layers[n], seen, noise).items():
            if isinstance(outcome, Hook):
                found[name] = outcome
            else:
                del found[name]
                gone[name] = outcome
    return MeasuredSites(found, gone, proved=True)


def allowed(model: Any) -> tuple[float, float]:
    """Allowed rounding error for the model's dtype: share of a layer's update, and of the
    stream."""
    quantised = getattr(model.config, "quantization_config", None) is not None
    return EXACT if model.dtype == torch.float32 and not quantised else ROUGH


def ordinary_ids(model: Any, count: int = TOKENS) -> list[int]:
    """Token ids spread over the vocabulary, without special tokens of the config."""
    rows = len(model.get_input_embeddings().weight)
    config = model.config
    special: set[int] = set()
    for part in (config, config.get_text_config(decoder=True)):
        for name, value in vars(part).items():
            if name.endswith(("token_id", "token_index")):
                special.update(v for v in (value if isinstance(value, list) else [value]) if v)
    free = [i for i in range(rows // 3, rows) if i not in special]
    return free[:: max(1, len(free) // count)][:count]


def _numbers(hooks: Mapping[str, Hook]) -> list[int]:
    stems = (name.partition(".") for name in hooks)
    return [int(number) for stem, _, number in stems if stem == "resid_pre"]


def _is_of(name: str, n: int) -> bool:
    stem, _, number = name.partition(".")
    return number == str(n) and stem != "vision"


def _watch(model: Any, layers: Mapping[int, nn.Module]) -> dict[int, _Seen]:
    """Inputs and outputs of the layers and of the modules in them, by the module's id."""
    kept: dict[int, _Seen] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        kept[id(module)] = _Seen(module, reads.pop(id(module), None), _first(output))

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        given = kwargs.get("hidden_states", next(iter(kwargs.values()), None))
        first = _first(args[0] if args else given)
        if first is not None:
            reads[id(module)] = first

    reads: dict[int, Tensor] = {}
    handles = []
    for layer in layers.values():
        for module in _within(layer):
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(note))
    ids = torch.tensor([ordinary_ids(model)], device=model.get_input_embeddings().weight.device)
    try:
        with torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
            mask = torch.ones_like(ids)
            model(input_ids=ids, attention_mask=mask, use_cache=False, return_dict=True)
    finally:
        for handle in handles:
            handle.remove()
    return kept


def _within(layer: nn.Module) -> Iterator[nn.Module]:
    """A layer, its children and theirs."""
    yield layer
    for child in layer.children():
        yield child
        yield from child.children()


def _first(value: Any) -> Tensor | None:
    """A copy of the first tensor in a module's input or output; later code may change the
    tensor."""
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return None
    return first.detach().float().cpu().clone()


def _layer(
    own: Mapping[str, Hook],
    n: int,
    layer: nn.Module,
    seen: Mapping[int, _Seen],
    noise: tuple[float, float],
) -> dict[str, Hook | str]:
    """By site of one layer: its hook, or why there is none."""
    out: dict[str, Hook | str] = {}
    for name, named in own.items():
        out[name] = _shaped(name, named, layer, seen)
    whole = seen.get(id(layer))
    if whole is None or whole.read is None or whole.made is None:
        return out
    wanted = [f"{stem}.{n}" for stem in ("attn_out", "mlp_out")]
    names = [name for name in wanted if isinstance(out.get(name), Hook)]
    if any(isinstance(out[f"{stem}.{n}"], str) for stem in ("resid_pre", "resid_post")):
        reason = "this model has no residual stream of one vector for each token"
        return out | dict.fromkeys(names, reason)
    hooks = [out[name] for name in names]
    shares = [_candidates(h, layer, own, seen) for h in hooks if isinstance(h, Hook)]
    width = own[f"resid_pre.{n}"].width
    x, y = (t.reshape(-1, width) for t in (whole.read, whole.made))
    chosen = _explain(shares, x, y, layer, seen, noise) if shares else None
    for at, name in enumerate(names):
        hook = out[name]
        if chosen is None:
            out[name] = (
                "neither its module nor one inside returns what the layer adds to the residual "
                f"stream (resid_post.{n} − resid_pre.{n})"
            )
        elif isinstance(hook, Hook):
            out[name] = _flattened(replace(hook, **chosen[at]), layer, seen)
    return out


def _shaped(name: str, hook: Hook, layer: nn.Module, seen: Mapping[int, _Seen]) -> Hook | str:
    """The hook, marked if its tensors lack the batch axis; or why there is none."""
    what = seen.get(id(hook.module))
    if what is None:
        return "its module does not run in a forward pass of this model"
    return _flattened(hook, layer, seen)


def _flattened(hook: Hook, layer: nn.Module, seen: Mapping[int, _Seen]) -> Hook | str:
    what = seen[id(hook.module)]
    x = what.read if hook.side == "in" else what.made
    if x is None:
        return "its module returns no tensor of activations"
    if x.shape == (1, TOKENS, hook.width):
        return hook
    if x.shape == (TOKENS, hook.width) and hook.module is not layer:
        return replace(hook, layer=layer)
    return (
        f"it holds {tuple(x.shape)} for one text of {TOKENS} tokens, not (1, {TOKENS}, "
        f"{hook.width})"
    )


def _candidates(
    hook: Hook, layer: nn.Module, own: Mapping[str, Hook], seen: Mapping[int, _Seen]
) -> list[_Share]:
    """Modules whose output may be what a sublayer adds: the sublayer, a normalisation of its
    output, or a projection in it."""
    made = seen[id(hook.module)].made
    found = [hook.module]
    if made is not None:
        found += [c for c in layer.children() if c is not hook.module and _reads(c, made, seen)]
    found += list(hook.module.children())
    return [share for module in found if (share := _share(module, hook.width, seen)) is not None]


def _reads(module: nn.Module, made: Tensor, seen: Mapping[int, _Seen]) -> bool:
    """Whether a module's input is exactly the output of another."""
    what = seen.get(id(module))
    read = None if what is None else what.read
    return (
        read is not None
        and read.numel() == made.numel()
        and torch.equal(read.flatten(), made.flatten())
    )


def _share(module: nn.Module, width: int, seen: Mapping[int, _Seen]) -> _Share | None:
    what = seen.get(id(module))
    if what is None or what.made is None or what.made.numel() != TOKENS * width:
        return None
    return _Share(module, what.made.reshape(-1, width))


def _explain(
    shares: Sequence[Sequence[_Share]],
    x: Tensor,
    y: Tensor,
    layer: nn.Module,
    seen: Mapping[int, _Seen],
    noise: tuple[float, float],
) -> list[dict[str, Any]] | None:
    """Module and factor of each sublayer, so that they add up to y − x; None if no choice does."""
    if not all(shares):
        return None
    for chosen in sorted(
        product(*map(enumerate, shares)), key=lambda c: sum(rank for rank, _ in c)
    ):
        parts = [share for _, share in chosen]
        for others in _others(parts, x.shape[1], layer, seen):
            factors = _factors([*(p.made for p in parts), *others], y - x, y, noise)
            if factors is not None:
                found = zip(parts, factors, strict=False)
                return [{"module": part.module, "scale": factor} for part, factor in found]
    if _normalised_after([own[0] for own in shares], x, y, layer, seen, noise):
        return [{"module": own[0].module, "normalised": True} for own in shares]
    return None


def _others(
    parts: Sequence[_Share], width: int, layer: nn.Module, seen: Mapping[int, _Seen]
) -> Iterator[list[Tensor]]:
    """What else the layer may add: nothing, or, if one sublayer is known (a Mamba mixer beside an
    MLP, say), the output of one of its other children."""
    yield []
    if len(parts) > 1:
        return
    for child in layer.children():
        share = _share(child, width, seen)
        if share is not None and child is not parts[0].module:
            yield [share.made]


def _factors(
    parts: Sequence[Tensor], added: Tensor, stream: Tensor, noise: tuple[float, float]
) -> list[float] | None:
    """Factor of each part in the sum; None if the parts do not add up.

    The first token is left out: its norm may be hundreds of times that of the others.
    """
    columns = torch.stack([part[1:].flatten() for part in parts], 1).double()  # (N, parts)
    target = added[1:].flatten().double()
    if not bool(torch.isfinite(columns).all() and torch.isfinite(target).all()):
        return None  # NaN weights: the model check reports them
    most = noise[0] * float(target.norm()) + noise[1] * float(stream[1:].norm())
    if float((columns.sum(1) - target).norm()) <= most:
        return [1.0] * len(parts)
    found = torch.linalg.lstsq(columns, target[:, None]).solution[:, 0]
    if float((columns @ found - target).norm()) > most or float(found.abs().min()) < 1e-3:
        return None
    return [round(float(f), 6) for f in found]


def _normalised_after(
    parts: Sequence[_Share],
    x: Tensor,
    y: Tensor,
    layer: nn.Module,
    seen: Mapping[int, _Seen],
    noise: tuple[float, float],
) -> bool:
    """Whether the stream is normalised after each part is added (OPT-350m, the first GPT)."""
    stream = x
    for part in parts:
        for child in layer.children():
            what = seen.get(id(child))
            if what is None or what.read is None or what.made is None:
                continue
            if what.read.numel() != stream.numel() or what.made.numel() != stream.numel():
                continue
            read = what.read.reshape(stream.shape)
            if _factors([part.made], read - stream, read, noise) == [1.0]:
                stream = what.made.reshape(stream.shape)
                break
        else:
            return False
    return bool(torch.allclose(stream, y, rtol=noise[0], atol=1e-5))
