"""Forward passes that begin half-way: what the first layers would make is known, and they are
skipped, and with them the vision tower.

Nothing here says whether a model can do so: layers that are handed more than the residual stream
by those before them cannot be skipped. Whoever begins half-way compares once with a whole pass.
Knows layers and tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from semascope.errors import SubjectError
from semascope.subject.sites import Hook

STEM = "resid_post"
Begin = tuple[str, Tensor]
"""A site ``resid_post.N``, and (B, T, d) what stands there before any edit of it."""


def before(site: str) -> str:
    """The site at which a pass may begin that is watched or changed at ``site``; empty where there
    is none."""
    stem, _, number = site.partition(".")
    if stem == STEM:
        return site
    return f"{STEM}.{int(number) - 1}" if number.isdigit() and int(number) > 0 else ""


def unseen(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs of a forward pass without what the vision tower reads."""
    return {name: value for name, value in inputs.items() if not name.startswith("pixel_values")}


@contextmanager
def begun(hooks: Mapping[str, Hook], begin: Begin | None) -> Iterator[None]:
    """Have the layers up to a site pass on what they get, and the last of them what is known."""
    if begin is None:
        yield
        return
    site, x = begin
    if before(site) != site or site not in hooks:
        raise SubjectError(f"A pass begins at {STEM}.N, not at {site}.")
    last = int(site.partition(".")[2])
    layers: list[nn.Module] = [hooks[f"{STEM}.{n}"].module for n in range(last + 1)]
    for layer in layers:
        vars(layer)["forward"] = _give(x) if layer is layers[-1] else _pass_on
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def key_of_inputs(inputs: Mapping[str, Any], about: object, without: Collection[str] = ()) -> str:
    """A hash of what goes into a pass, ``without`` some of it, and of what else makes it."""
    found = hashlib.blake2b(repr(about).encode(), digest_size=16)
    for name, value in sorted(inputs.items()):
        if name in without:
            continue
        found.update(name.encode())
        if isinstance(value, Tensor):
            found.update(repr(tuple(value.shape)).encode())
            found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        else:
            found.update(repr(value).encode())
    return found.hexdigest()


def ends_alike(begun_pass: Callable[[], Tensor], whole_pass: Callable[[], Tensor]) -> bool:
    """Whether a pass that begins half-way ends as a whole one does; both give (B, 1, V) logits."""
    with torch.no_grad():
        try:
            short = begun_pass()
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
            return False  # a layer misses what was skipped
        whole = whole_pass()
    return short.shape == whole.shape and torch.allclose(short, whole, rtol=1e-4, atol=1e-4)


def _pass_on(*args: Any, **kwargs: Any) -> Any:
    return args[0] if args else kwargs["hidden_states"]


def _give(x: Tensor) -> Callable[..., Tensor]:
    def give(*_: Any, **__: Any) -> Tensor:
        return x

    return give
