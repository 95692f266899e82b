"""Names and contents of the caches of decoding models, for all versions of transformers.

transformers 5.24 renamed ``past_key_values`` (and Mamba's ``cache_params``) to ``cache``, both as
an argument of a forward pass and as a field of its output; RWKV has a ``state``. This module says
how a model takes its cache, where it returns it, and how many tokens it holds. An unknown cache is
a ``SubjectError``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from semascope.errors import SubjectError

NAMES = ("cache", "past_key_values", "cache_params", "state")
"""Names of the cache argument, the newest first."""
_READ: ContextVar[int | None] = ContextVar("tokens_read", default=None)


def parameters(module: Any) -> set[str]:
    """Names of the arguments of a module's forward."""
    return set(inspect.signature(module.forward).parameters)


def cache_name(module: Any) -> str | None:
    """Name of the cache argument of a model's forward; None if there is none."""
    accepted = parameters(module)
    return next((name for name in NAMES if name in accepted), None)


def cache_of(output: Any) -> Any:
    """The cache in a forward pass's output, or None.

    Only names that the output's class declares are read: the old name would warn under
    transformers 5.24.
    """
    if not isinstance(output, Mapping) and not hasattr(output, "__dict__"):
        return None
    declared = getattr(type(output), "__dataclass_fields__", None)
    names = output.keys() if declared is None and isinstance(output, Mapping) else declared or ()
    fields = output if declared is None and isinstance(output, Mapping) else vars(output)
    found = (fields.get(name) for name in NAMES if name in names)
    return next((cache for cache in found if cache is not None), None)


def hidden_of(output: Any) -> Tensor:
    """(B, T, d) last hidden state in the output of a decoder stack.

    Raises:
        SubjectError: the output is neither a tensor nor begins with one.
    """
    found = getattr(output, "last_hidden_state", None)
    if found is None:
        found = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(found, Tensor):
        raise SubjectError(
            f"The language model returns {type(output).__name__}, which has no last hidden state: "
            "this version of transformers, or the model's own code, is not supported."
        )
    return found


def tokens_held(cache: Any) -> int:
    """Number of tokens that a cache holds.

    Raises:
        SubjectError: the cache does not report it.
    """
    ask = getattr(cache, "get_seq_length", None)
    if ask is None and isinstance(cache, (tuple, list)) and cache:
        return _legacy(cache)
    fresh = getattr(cache, "has_previous_state", None)
    try:
        if ask is not None:
            return int(ask())
    except (ValueError, IndexError, AttributeError, NotImplementedError, TypeError) as error:
        if callable(fresh) and not _answers(fresh):
            return 0
        raise SubjectError(_unknown(cache)) from error
    raise SubjectError(_unknown(cache))


def first_position(kwargs: Mapping[str, Any]) -> int:
    """Position of the first token of a forward pass, from the arguments of its decoder stack.

    Raises:
        SubjectError: a cache that does not report how many tokens it holds.
    """
    known = _READ.get()
    if known is not None:
        return known
    cache = next((kwargs[name] for name in NAMES if kwargs.get(name) is not None), None)
    return 0 if cache is None else tokens_held(cache)


@contextmanager
def starting_at(position: int) -> Iterator[None]:
    """Forward passes in this block begin at ``position``, whatever their cache reports."""
    token = _READ.set(position)
    try:
        yield
    finally:
        _READ.reset(token)


def takes_part_of_logits(model: nn.Module) -> bool:
    """Whether the model can compute the logits of some positions only."""
    return "logits_to_keep" in parameters(model)


def rope_owner(model: nn.Module) -> Any:
    """The module that keeps multimodal rotary offsets between calls (Qwen-VL), or None."""
    return next((m for m in model.modules() if hasattr(m, "get_rope_index")), None)


def _legacy(cache: Any) -> int:
    """Length of a cache that is a tuple of (keys, values) by layer, keys (B, heads, T, d)."""
    keys = cache[0][0] if isinstance(cache[0], (tuple, list)) and cache[0] else None
    if isinstance(keys, Tensor) and keys.ndim == 4:
        return int(keys.shape[-2])
    raise SubjectError(_unknown(cache))


def _answers(ask: Any) -> bool:
    """The result of ``has_previous_state``; True if it fails."""
    try:
        return bool(ask())
    except (ValueError, IndexError, TypeError):
        return True


def _unknown(cache: Any) -> str:
    return (
        f"This model decodes with a cache ({type(cache).__name__}) that does not say how many "
        "tokens it holds, so edits would not know the position of their tokens: use "
        "Subject.generate, which counts tokens itself, or pass no cache."
    )
