"""What the formats share: weights by our names, into a coder and out of it; torch's pickles.

Our names: ``W_enc`` (F, D), ``b_enc`` (F), ``W_dec`` (F, D_out), ``b_dec`` (D_out), ``W_skip``
(D_out, D) and ``activation.*``.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig
from semascope.dictionary.files import write_whole
from semascope.errors import FormatError


def build(
    shape: CoderConfig,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    name: str = "main",
    site: str = "",
) -> SparseCoder:
    """A coder of this shape with these tensors, in float32, ready to be read.

    Raises:
        FormatError: a tensor is missing or of another shape.
    """
    coder = SparseCoder(shape, name=name, site=site, seed=None)
    mine = coder.state_dict()
    wrong = [
        f"{key} {tuple(t.shape) if t is not None else 'missing'} for {tuple(want.shape)}"
        for key, want in mine.items()
        if (t := tensors.get(key)) is None or t.shape != want.shape
    ]
    if wrong:
        raise FormatError(f"{path}: tensors do not fit the configuration: {'; '.join(wrong)}.")
    coder.load_state_dict({key: tensors[key].to(want.dtype) for key, want in mine.items()})
    return coder.eval().requires_grad_(False)


def need(tensors: Mapping[str, Any], path: Path, *names: str) -> list[Tensor]:
    """The named tensors, or a FormatError that lists those which are not there."""
    missing = [n for n in names if not isinstance(tensors.get(n), Tensor)]
    if missing:
        raise FormatError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(tensors)}.")
    return [tensors[n].float() for n in names]


KEPT = "kept_keys"
"""Where our notes in a foreign configuration hold keys of yet another one."""


def unknown(cfg: Mapping[str, Any], known: Collection[str], notes: Any = None) -> dict[str, Any]:
    """Keys of a configuration that mean nothing here, with those that were carried in notes."""
    carried = notes.get(KEPT, {}) if isinstance(notes, Mapping) else {}
    return {**carried, **{key: value for key, value in cfg.items() if key not in known}}


def weights(coder: SparseCoder) -> dict[str, Tensor]:
    """Its tensors by our names, detached, on the CPU."""
    return {name: t.detach().cpu() for name, t in coder.state_dict().items()}


def plain(coder: SparseCoder, format_name: str) -> None:
    """FormatError where the coder is more than a plain SAE or transcoder of one site."""
    cfg = coder.cfg
    what = "a crosscoder" if cfg.parts else "a dictionary of layer-normed inputs"
    if cfg.parts or cfg.layer_norm:
        raise FormatError(f"{format_name} has no way to say {what}; write it as sparsify's.")


def thresholds(values: Tensor) -> Tensor:
    """Thresholds for activations that a rectifier keeps from being negative: never below 0."""
    return values.float().clamp_min(0)


def refuse_pickle(path: Path, allowed: bool) -> None:
    """FormatError where a pickle is not trusted in so many words."""
    if not allowed:
        raise FormatError(
            f"{path} is a pickle, a kind of file that can hold code. If you trust where it came "
            "from, say so: --trust-pickle on the command line, allow_pickle=True in Python. Even "
            "then only tensors and plain values are read."
        )


def read_pickle(path: Path) -> dict[str, Any]:
    """A torch file of tensors and plain values; code in it is never run.

    Raises:
        FormatError: it holds more than that, or is cut short.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise FormatError(
            f"{path} cannot be read as a file of tensors; it is cut short, or would run code "
            f"when read ({str(error).splitlines()[0]})."
        ) from error
    if not isinstance(value, dict):
        raise FormatError(f"{path} holds a {type(value).__name__}, not named tensors.")
    return value


def write_pickle(path: Path, value: Mapping[str, Any]) -> None:
    """torch.save, atomically."""
    write_whole(path, lambda at: torch.save(dict(value), at))
