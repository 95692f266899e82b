"""Forward passes that begin half-way: what the first layers would make is known, and they are
skipped, and with them the vision tower.

Nothing here says whether a model can do so: layers that are handed more than the residual stream
by those before them cannot be skipped. Whoever begins half-way compares once with a whole pass.
Knows layers and tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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


def _pass_on(*args: Any, **kwargs: Any) -> Any:
    return args[0] if args else kwargs["hidden_states"]


def _give(x: Tensor) -> Callable[..., Tensor]:
    def give(*_: Any, **__: Any) -> Tensor:
        return x

    return give
