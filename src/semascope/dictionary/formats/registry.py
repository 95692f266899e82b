"""Which format a path holds, found by looking; nothing is imported from any other library."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import ArchitectureName
from semascope.dictionary.formats import (
    dictionary_learning,
    llamascopium,
    openai,
    saelens,
    scopes,
    sparsify,
)
from semascope.dictionary.formats.common import KEPT
from semascope.dictionary.formats.fields import CheckpointHints, is_pointer
from semascope.dictionary.formats.sites import known
from semascope.errors import DictionaryError, FormatError

log = logging.getLogger(__name__)
FORMATS: dict[str, ModuleType] = {
    "sparsify": sparsify,
    "llamascopium": llamascopium,
    "saelens": saelens,
    "dictionary_learning": dictionary_learning,
    "scopes": scopes,
    "openai": openai,
}
"""By name, in the order in which they are tried. multimodal-sae's checkpoints are sparsify's with a
key more; scopes are Gemma Scope, Gemma Scope 2, Llama Scope and Qwen Scope, which are read only."""
DEPTH, FEW = 3, 8
"""How far beneath a folder dictionaries are looked for, and how many are named."""


def detect(path: Path | str) -> str:
    """The name of the format that a path holds.

    Raises:
        FormatError: nothing is there, or nothing known; the message says what was seen.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FormatError(f"There is nothing at {path}; check the path.")
    found = _recognised(path)
    if found:
        return found
    beneath = _beneath(path)
    if beneath:
        names = ", ".join(str(folder.relative_to(path)) for folder in beneath[:FEW])
        more = f" and {len(beneath) - FEW} more" if len(beneath) > FEW else ""
        raise FormatError(
            f"{path} is no dictionary but a folder of {len(beneath)}: {names}{more}. Name one, as "
            f"in {beneath[0]}."
        )
    raise FormatError(
        f"{path} is in no known format. {_saw(path)} Known: {', '.join(FORMATS)}; their files are "
        "sae.safetensors, sae_weights.safetensors, ae.pt, params.npz, params.safetensors, "
        "hyperparams.json with checkpoints/, layerN.sae.pt, and a .pt of openai's."
    )


def load(
    path: Path | str,
    *,
    allow_pickle: bool = False,
    architecture: ArchitectureName | None = None,
    k: int | None = None,
    threshold: float | None = None,
    scale: float | None = None,
    subtract_b_dec: bool | None = None,
    site: str = "",
    site_out: str = "",
) -> SparseCoder:
    """Read a dictionary from a folder or file of any known format.

    The arguments after ``allow_pickle`` are for checkpoints whose files do not say them; one that
    contradicts the files is refused.

    Args:
        allow_pickle: read torch's ``.pt`` files too (tensors and plain values only; a file that
            would run code is refused even then).
        architecture: topk, batchtopk, jumprelu, relu or gated.
        k: active latents a token.
        threshold: one threshold of all latents, in the units of the stored weights.
        scale: what activations were multiplied by in training, where that is not folded into the
            weights; 1 where it is.
        subtract_b_dec: whether b_dec is subtracted from the input.
        site: where it reads, in place of what the files say, e.g. ``resid_post.12``.
        site_out: where a transcoder writes, likewise.

    Raises:
        FormatError: nothing is there, it is cut short, unknown, a pickle, or lacks a value that
            decides the result; the message says which.
    """
    path = Path(path).expanduser()
    if architecture is not None and architecture not in get_args(ArchitectureName):
        names = ", ".join(get_args(ArchitectureName))
        raise FormatError(f"No architecture is called {architecture!r}; there are {names}.")
    if k is not None and k < 1:
        raise FormatError(f"k is {k}, and at least one latent must be active.")
    hints = CheckpointHints(architecture, k, threshold, scale, subtract_b_dec, site, site_out)
    module = FORMATS[detect(path)]
    try:
        coder: SparseCoder = module.read(path, allow_pickle=allow_pickle, hints=hints)
    except FormatError:
        raise
    except DictionaryError as error:  # a shape that cannot be
        raise FormatError(f"{path}: {error}") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from error
    _agrees(coder, hints, path)
    if not all(bool(t.isfinite().all()) for t in coder.state_dict().values()):
        raise FormatError(f"{path}: its scale is so extreme that weights overflow float32.")
    if coder.cfg.extra:
        log.warning("%s: keys without a meaning here, kept: %s", path, sorted(coder.cfg.extra))
    for place in (coder.site, coder.site_out):
        if place and not known(place):
            log.warning("%s: %s is no site by this project's names; kept as it is", path, place)
    return coder


def _agrees(coder: SparseCoder, hints: CheckpointHints, path: Path) -> None:
    """FormatError for a hint that the files contradict: it is never passed over in silence."""
    cfg = coder.cfg
    given: list[tuple[str, Any, Any]] = [("architecture", hints.architecture, cfg.architecture)]
    if cfg.architecture == "topk" or hints.architecture == "batchtopk":
        given.append(("k", hints.k, cfg.k))
    if not cfg.transcodes:
        given.append(("subtract_b_dec", hints.subtract_b_dec, cfg.subtract_b_dec))
    if hints.threshold is not None and not hasattr(coder.activation, "threshold"):
        raise FormatError(f"{path}: a threshold was given, and a {cfg.architecture} has none.")
    for name, said, found in given:
        if said is not None and said != found:
            raise FormatError(f"{path}: {name} is {found} by its files, and {said} was given.")


def save(
    coder: SparseCoder,
    path: Path | str,
    *,
    to: str = "sparsify",
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a dictionary; by default in our own format, which is sparsify's with keys added.

    Raises:
        FormatError: no such format, or one that cannot say what this dictionary is.
    """
    if to not in FORMATS:
        raise FormatError(f"No format is called {to!r}; there are {', '.join(FORMATS)}.")
    carried = {KEPT: coder.cfg.extra} if coder.cfg.extra and to != sparsify.NAME else {}
    FORMATS[to].write(coder, Path(path), {**carried, **(notes or {})})


def convert(
    source: Path | str,
    target: Path | str,
    *,
    to: str = "sparsify",
    allow_pickle: bool = False,
    **hints: Any,
) -> tuple[str, SparseCoder]:
    """Read one format, write another; the source's format and the dictionary.

    ``hints`` are those of ``load``.
    """
    name = detect(source)
    coder = load(source, allow_pickle=allow_pickle, **hints)
    save(coder, target, to=to)
    return name, coder


def _recognised(path: Path) -> str:
    """The name of the format, or ""."""
    return next((name for name, module in FORMATS.items() if module.recognises(path)), "")


def _beneath(path: Path) -> list[Path]:
    """Dictionaries in the folders beneath, at most ``DEPTH`` levels down."""
    if not path.is_dir():
        return []
    found: list[Path] = []
    level = [path]
    for _ in range(DEPTH):
        folders = [sub for folder in level for sub in _folders(folder)]
        found += [folder for folder in folders if _recognised(folder)]
        level = [folder for folder in folders if folder not in found]
    files = path.iterdir()
    return found or sorted(f for f in files if f.is_file() and _recognised(f))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted((f for f in folder.iterdir() if f.is_dir()), key=_natural)
    except OSError:
        return []


def _natural(path: Path) -> list[tuple[int, str]]:
    """layers.2 before layers.10."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)
    ]


def _saw(path: Path) -> str:
    if path.is_file():
        return "It is a git-lfs pointer." if is_pointer(path) else "It is a file of its own."
    names = sorted(p.name for p in path.iterdir())
    return f"It holds {', '.join(names[:8]) or 'nothing'}."
