"""Reads and edits activations with torch hooks.

``capture`` reads sites, ``editing`` changes them. Both remove their hooks when the block ends,
also after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semascope.errors import SubjectError
from semascope.subject.generation.cache import first_position
from semascope.subject.patches import is_pictured, sees
from semascope.subject.sites import Hook
from semascope.subject.types import Edit, EditContext, Edits, TokenMap


class DeepestSiteReached(Exception):
    """Ends a forward pass once its deepest requested site has been read."""


@contextmanager
def editing(
    sites: Mapping[str, Hook], language: nn.Module, edits: Edits, maps: tuple[TokenMap, ...]
) -> Iterator[None]:
    """Apply each edit at its site while the block runs.

    Edits receive the position of the tensor's first token at every forward pass, at prefill and
    while decoding (``generation.cache``).
    """
    start = [0]

    def note_start(_: nn.Module, __: Any, kwargs: dict[str, Any]) -> None:
        start[0] = first_position(kwargs)

    with ExitStack() as stack:
        if edits:
            handle = language.register_forward_pre_hook(note_start, with_kwargs=True)
            stack.callback(handle.remove)
        for name, edit in edits.items():
            change = _changer(edit, start, maps)
            # Before all other hooks: transformers records hidden states by hooks too (LLaVA reads
            # those of its vision tower), and must record the edited ones.
            stack.callback(_attach(sites[name], change, first=True))
        yield


@dataclass(frozen=True, slots=True)
class RowFork:
    """An edit that copies one row into several, before another edit of the same site."""

    rows: int
    before: Edit | None = None

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        x = x.expand(self.rows, *x.shape[1:])
        return x if self.before is None else self.before(x, context)


def forked(edits: Edits, site: str, rows: int, sites: Mapping[str, Hook]) -> Edits:
    """The edits with a fork at a site. SubjectError if an edit would come before the fork."""
    order = list(sites)
    early = [name for name in edits if order.index(name) < order.index(site)]
    if early:
        raise SubjectError(f"Rows that fork at {site} cannot be edited before it, at {early[0]}.")
    return {**edits, site: RowFork(rows, edits.get(site))}


@contextmanager
def capture(
    sites: Mapping[str, Hook], names: list[str], *, stop: bool
) -> Iterator[dict[str, Tensor]]:
    """Collect the activations at ``names`` (in forward order); with ``stop``, end the pass there.

    Activations are read after the edits of their site. A vision site that runs twice, for images
    and then for videos, holds both, one after the other.

    Raises:
        SubjectError: images and videos differ in shape at a site.
    """
    kept: dict[str, Tensor] = {}
    deepest = names[-1] if stop and names else None

    def keeper(name: str) -> Callable[[Tensor], None]:
        def keep(x: Tensor) -> None:
            if name != deepest and not x.requires_grad:
                x = x.clone()  # later layers may change it in place (Falcon)
            kept[name] = _joined(name, kept[name], x) if name in kept else x
            if name == deepest:
                raise DeepestSiteReached

        return keep

    with ExitStack() as stack:
        for name in names:
            stack.callback(_attach(sites[name], keeper(name)))
        with suppress(DeepestSiteReached):
            yield kept


def passed_twice(names: list[str], inputs: Mapping[str, Any]) -> bool:
    """Whether the deepest site is on the vision side and runs twice: for images, then videos."""
    both = {"pixel_values", "pixel_values_videos"} <= inputs.keys()
    return both and bool(names) and is_pictured(names[-1])


def reached(names: list[str], inputs: Mapping[str, Any]) -> bool:
    """Whether any of these sites runs: vision sites do only with a picture."""
    return sees(inputs) or not all(map(is_pictured, names))


def _joined(name: str, images: Tensor, videos: Tensor) -> Tensor:
    if images.shape[1:] != videos.shape[1:]:
        raise SubjectError(
            f"{name} gives {tuple(images.shape[1:])} for an image and {tuple(videos.shape[1:])} "
            "for a frame: put images and videos into separate samples."
        )
    return torch.cat([images, videos])


def _changer(edit: Edit, start: list[int], maps: tuple[TokenMap, ...]) -> Callable[[Tensor], Any]:
    def change(x: Tensor) -> Tensor:
        return edit(x, EditContext(start=start[0], maps=maps))

    return change


def _attach(
    hook: Hook, visit: Callable[[Tensor], Tensor | None], *, first: bool = False
) -> Callable[[], None]:
    """Hook ``visit`` to a module's input or output; a tensor that it returns replaces the value."""
    with ExitStack() as stack:
        if hook.scale != 1.0:
            visit = _scaled(visit, hook.scale)
        if hook.layer is not None:
            visit, handle = _with_rows(visit, hook.layer)
            stack.callback(handle.remove)
        if hook.side == "out":
            after = hook.module.register_forward_hook(_on_output(visit), prepend=first)
            stack.callback(after.remove)
        else:
            before = hook.module.register_forward_pre_hook(_on_input(visit), with_kwargs=True)
            stack.callback(before.remove)
        return stack.pop_all().close


def _scaled(
    visit: Callable[[Tensor], Tensor | None], scale: float
) -> Callable[[Tensor], Tensor | None]:
    """Visit a module's output times the constant by which the model multiplies it."""

    def visit_product(x: Tensor) -> Tensor | None:
        changed = visit(x * scale)
        return None if changed is None else changed / scale

    return visit_product


def _with_rows(
    visit: Callable[[Tensor], Tensor | None], layer: nn.Module
) -> tuple[Callable[[Tensor], Tensor | None], Any]:
    """Visit (B · T, d) as (B, T, d); B is the batch size of the layer's input."""
    rows = [1]

    def note(x: Tensor) -> None:
        rows[0] = x.shape[0]

    def visit_rows(x: Tensor) -> Tensor | None:
        changed = visit(x.view(rows[0], -1, x.shape[-1]))
        return None if changed is None else changed.reshape(x.shape)

    return visit_rows, layer.register_forward_pre_hook(_on_input(note), with_kwargs=True)


def _on_output(visit: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
    def after(_: nn.Module, __: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, (tuple, list)) else output
        changed = visit(first)
        if changed is None:
            return None
        if isinstance(output, (tuple, list)):
            return (changed, *output[1:])
        return changed

    return after


def _on_input(visit: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            changed = visit(args[0])
            return None if changed is None else ((changed, *args[1:]), kwargs)
        name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
        changed = visit(kwargs[name])
        return None if changed is None else (args, {**kwargs, name: changed})

    return before
