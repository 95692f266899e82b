"""What the formats share: weights by our names, into a coder and out of it; foreign bytes.

Our names: ``W_enc`` (F, D), ``b_enc`` (F), ``W_dec`` (F, D_out), ``b_dec`` (D_out), ``W_skip``
(D_out, D) and ``activation.*``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig
from semascope.dictionary.formats.fields import CheckpointHints, flag, is_pointer
from semascope.dictionary.formats.sites import ours as our_site
from semascope.errors import FormatError
from semascope.files import read_tensors, write_whole

KEPT = "kept_keys"
"""Where our notes in a foreign configuration hold keys of yet another one."""
UNIT = 1e-3
"""Decoder rows whose norms are this close to 1 are taken as unit rows."""


def build(
    shape: CoderConfig,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    name: str = "main",
    site: str = "",
    site_out: str = "",
) -> SparseCoder:
    """A coder of this shape with these tensors, in float32, ready to be read.

    Raises:
        FormatError: a tensor is missing, of another shape, or holds NaN or infinity.
    """
    weight = tensors.get("W_enc")
    if weight is None or tuple(weight.shape) != (shape.width, shape.d_in):  # before memory is taken
        given = "missing" if weight is None else tuple(weight.shape)
        raise FormatError(
            f"{path}: tensors do not fit the configuration: W_enc {given} for "
            f"{(shape.width, shape.d_in)}."
        )
    coder = SparseCoder(shape, name=name, site=our_site(site), seed=None)
    coder.site_out = our_site(site_out)
    mine = coder.state_dict()
    wrong = [
        f"{key} {tuple(t.shape) if t is not None else 'missing'} for {tuple(want.shape)}"
        for key, want in mine.items()
        if (t := tensors.get(key)) is None or t.shape != want.shape
    ]
    if wrong:
        raise FormatError(f"{path}: tensors do not fit the configuration: {'; '.join(wrong)}.")
    for key in mine:
        bad = int((~torch.isfinite(tensors[key])).sum())
        if bad:
            raise FormatError(
                f"{path}: {key} holds NaN or infinity in {bad} of {tensors[key].numel()} numbers. "
                "The file is damaged, or its precision was too small for its weights."
            )
    coder.load_state_dict({key: tensors[key].to(want.dtype) for key, want in mine.items()})
    return coder.eval().requires_grad_(False)


def need(tensors: Mapping[str, Any], path: Path, **shapes: int) -> list[Tensor]:
    """The named tensors in float32, each with its number of axes.

    Raises:
        FormatError: lists those that are missing, or says which has other axes or numbers.
    """
    names = {name.replace("__", "."): axes for name, axes in shapes.items()}
    missing = [n for n in names if not isinstance(tensors.get(n), Tensor)]
    if missing:
        held = ", ".join(map(str, list(tensors)[:12])) or "nothing"
        raise FormatError(f"{path} lacks {', '.join(missing)}; it holds {held}.")
    found = []
    for name, axes in names.items():
        tensor: Tensor = tensors[name]
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            raise FormatError(f"{path}: {name} is of {tensor.dtype}, and weights are fractions.")
        if tensor.ndim != axes or (tensor.numel() == 0):
            raise FormatError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, and {axes} axes are read there."
            )
        found.append(tensor.detach().to("cpu", torch.float32).clone())
    return found


def check_unused(tensors: Mapping[str, Any], used: set[str], path: Path) -> None:
    """FormatError for tensors that are part of no calculation known here."""
    left = sorted(str(name) for name in tensors if name not in used)
    if left:
        raise FormatError(
            f"{path} holds {', '.join(left[:6])}, and what it does to the result is not known "
            "here; without it the dictionary would be another."
        )


def unit_rows(w_dec: Tensor) -> bool:
    """Whether all rows that are not zero have norm 1, so that rescaling by them does nothing."""
    norm = w_dec.norm(dim=1)
    return bool((((norm - 1).abs() < UNIT) | (norm == 0)).all())


def fold_decoder_norms(mine: dict[str, Tensor], path: Path) -> None:
    """Fold norms that the encoder's product is multiplied by; a row of zeros stays silent.

    Raises:
        FormatError: the matrices are not of as many latents.
    """
    counts = {name: len(mine[name]) for name in ("W_enc", "b_enc", "W_dec")}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} of {count}" for name, count in counts.items())
        raise FormatError(f"{path}: tensors are not of as many latents: {said}.")
    norm = mine["W_dec"].norm(dim=1)  # (F,)
    mine["W_enc"] = mine["W_enc"] * norm.unsqueeze(1)
    mine["b_enc"] = mine["b_enc"] * norm
    mine["W_dec"] = mine["W_dec"] / norm.clamp_min(torch.finfo(norm.dtype).tiny).unsqueeze(1)


def weights(coder: SparseCoder) -> dict[str, Tensor]:
    """Its tensors by our names, detached, on the CPU."""
    return {name: t.detach().cpu() for name, t in coder.state_dict().items()}


def plain(coder: SparseCoder, format_name: str, *, layer_norm: bool = False) -> None:
    """FormatError where the coder is more than a plain SAE or transcoder of one site."""
    cfg = coder.cfg
    what = "a crosscoder" if cfg.parts else "a dictionary of layer-normed inputs"
    if cfg.parts or (cfg.layer_norm and not layer_norm):
        raise FormatError(f"{format_name} has no way to say {what}; write it as sparsify's.")


def thresholds(values: Tensor) -> Tensor:
    """Thresholds for activations that a rectifier keeps from being negative: never below 0."""
    return values.float().clamp_min(0)


def scale_missing(path: Path, why: str) -> FormatError:
    """The error for a scale that is neither folded nor known."""
    return FormatError(
        f"{path}: {why}, and the factor is not in the folder. Without it every activation would be "
        f"wrong. Give the factor that activations were multiplied by in training "
        f"({flag('scale', 'S')}: the square root of d over the mean norm; 1 if it is folded into "
        "the weights already)."
    )


def positive(value: float | None, what: str, path: Path) -> float:
    """A factor above 0."""
    if value is None or not 0 < value < 1e30:
        raise FormatError(f"{path}: {what} is {value}, not a number above 0.")
    return float(value)


def weights_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    return read_tensors(path)[0]


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
    value = _foreign(
        path,
        lambda: torch.load(path, map_location="cpu", weights_only=True),
        "as a file of tensors; it is cut short, or would run code when read",
    )
    if not isinstance(value, dict):
        raise FormatError(f"{path} holds a {type(value).__name__}, not named tensors.")
    return value


def read_npz(path: Path) -> dict[str, Tensor]:
    """The arrays of a NumPy archive as tensors; pickled objects in it are refused."""

    def work() -> dict[str, Tensor]:
        # The file is opened here, as NumPy leaves it open where its end is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.ascontiguousarray(archive[name])) for name in archive}

    found: dict[str, Tensor] = _foreign(path, work, "as a NumPy archive of numbers")
    return found


def _foreign(path: Path, work: Callable[[], Any], what: str) -> Any:
    """What a library reads from bytes of unknown origin; on damaged ones it raises anything."""
    if is_pointer(path):
        raise FormatError(f"{path} is a git-lfs pointer, not the file: run git lfs pull.")
    try:
        return work()
    except MemoryError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise FormatError(f"{path} cannot be read {what} ({lines[0][:200]}).") from error


def write_pickle(path: Path, value: Mapping[str, Any]) -> None:
    """torch.save, atomically."""
    write_whole(path, lambda at: torch.save(dict(value), at))


def sites_of(hints: CheckpointHints, site: str, site_out: str = "") -> dict[str, str]:
    """The sites to build with: a hint goes before what the file says."""
    return {"site": hints.site or site, "site_out": hints.site_out or site_out}
