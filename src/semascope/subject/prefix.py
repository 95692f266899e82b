"""Forward passes that resume mid-stack from known activations, skipping the layers below.

Not every architecture can resume: layers may receive more than the residual stream from those
below. Callers must compare once with a full pass (``ends_alike``).
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
"""A site ``resid_post.N``, and its (B, T, d) activations before any edit of them."""


def before(site: str) -> str:
    """The deepest site at which a pass may resume that reads or edits ``site``; '' for none."""
    stem, _, number = site.partition(".")
    if stem == STEM:
        return site
    return f"{STEM}.{int(number) - 1}" if number.isdigit() and int(number) > 0 else ""


def unseen(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs of a forward pass without pictures and videos."""
    return {name: value for name, value in inputs.items() if not name.startswith("pixel_values")}


@contextmanager
def begun(hooks: Mapping[str, Hook], begin: Begin | None) -> Iterator[None]:
    """While the block runs, skip the layers up to a site: the last returns the known activations.

    Raises:
        SubjectError: the site is not a ``resid_post.N`` of the model.
    """
    if begin is None:
        yield
        return
    site, x = begin
    if before(site) != site or site not in hooks:
        raise SubjectError(f"A pass can resume at {STEM}.N only, not at {site}.")
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
    """Hash of a pass's inputs, except those named in ``without``, and of ``about``."""
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
    """Whether a resumed pass gives the logits of a full one; both return (B, 1, V) logits."""
    with torch.no_grad():
        try:
            short = begun_pass()
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
            return False  # a layer needs what was skipped
        whole = whole_pass()
    return short.shape == whole.shape and torch.allclose(short, whole, rtol=1e-4, atol=1e-4)


def _pass_on(*args: Any, **kwargs: Any) -> Any:
    return args[0] if args else kwargs["hidden_states"]


def _give(x: Tensor) -> Callable[..., Tensor]:
    def give(*_: Any, **__: Any) -> Tensor:
        return x

    return give
