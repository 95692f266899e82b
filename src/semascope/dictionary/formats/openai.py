"""openai/sparse_autoencoder: one ``.pt`` of tensors and two plain values.

``pre_bias`` (D), ``latent_bias`` (F), ``encoder.weight`` (F, D), ``decoder.weight`` (D, F), three
running statistics (F), ``activation`` and, for TopK, ``activation_state_dict`` with k. There TopK
goes with a layer norm of every token, undone on the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import ArchitectureName, CoderConfig
from semascope.dictionary.formats.common import (
    build,
    check_unused,
    need,
    positive,
    read_pickle,
    refuse_pickle,
    sites_of,
    weights,
    write_pickle,
)
from semascope.dictionary.formats.fields import (
    CheckpointHints,
    ConfigFields,
    decided,
    flag,
    k_of,
    shown,
    whole,
)
from semascope.errors import FormatError

FILE = "openai.pt"


def recognises(path: Path) -> bool:
    """A ``.pt`` file that is not dictionary_learning's, or a folder that we wrote one into."""
    if path.is_file():
        return path.suffix == ".pt" and not path.name.startswith("ae")
    return (path / FILE).is_file()


def read(
    path: Path, *, allow_pickle: bool = False, hints: CheckpointHints | None = None
) -> SparseCoder:
    """The coder of a file; only where pickles are allowed."""
    hints, file = hints or CheckpointHints(), path if path.is_file() else path / FILE
    refuse_pickle(file, allow_pickle)
    state = read_pickle(file)
    weight, b_enc, decoder, b_dec = need(
        state, file, encoder__weight=2, latent_bias=1, decoder__weight=2, pre_bias=1
    )
    check_unused(state, _USED, file)
    topk = _activation(state, file, hints) == "topk"
    inner = (
        ConfigFields(state, file).part("activation_state_dict") if topk else ConfigFields({}, file)
    )
    if inner.text("postact_fn") not in (None, "ReLU"):
        raise FormatError(
            f"{file}: what follows TopK is {inner.text('postact_fn')!r}; only ReLU can be read."
        )
    said = inner.values.get("k")
    k = k_of(file, hints, None if said is None else whole(said, "k", file)) if topk else 1
    shape = CoderConfig(
        d_in=weight.shape[1],
        width=weight.shape[0],
        k=k,
        architecture="topk" if topk else "relu",
        unit_norm=False,
        layer_norm=topk,
    )
    mine = {"W_enc": weight, "b_enc": b_enc, "W_dec": decoder.t(), "b_dec": b_dec}
    coder = build(shape, mine, file, **sites_of(hints, ""))
    coder.fold(positive(1.0 if hints.scale is None else hints.scale, "the scale", file))
    return coder


_USED = {
    "encoder.weight",
    "latent_bias",
    "decoder.weight",
    "pre_bias",
    "activation",
    "activation_state_dict",
    "stats_last_nonzero",
    "latents_activation_frequency",
    "latents_mean_square",
}


def _activation(state: Mapping[str, Any], file: Path, hints: CheckpointHints) -> ArchitectureName:
    """topk or relu. Without the key the published files are ReLU, and those of the repository's
    train.py, which keep no mean squares, are TopK of inputs that someone else normalised."""
    known: dict[str, ArchitectureName] = {"ReLU": "relu", "TopK": "topk"}
    said = state.get("activation")
    if said is not None and (not isinstance(said, str) or said not in known):
        raise FormatError(f"{file} asks for activation {shown(said)}; ReLU and TopK can be read.")
    own = None if said is None else known[said]
    if own is None and "latents_mean_square" in state:
        own = "relu"
    name = flag("architecture", "relu or topk")
    found: ArchitectureName = decided("activation", file, name, own, hints.architecture)
    if found not in known.values():
        raise FormatError(f"{file}: an openai dictionary is relu or topk, not {found}.")
    return found


def write(coder: SparseCoder, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """One file; TopK only with a layer norm, ReLU only without."""
    cfg, ours = coder.cfg, weights(coder)
    topk = cfg.architecture == "topk"
    if cfg.transcodes or not cfg.subtract_b_dec or cfg.architecture not in ("topk", "relu"):
        raise FormatError("openai's format says TopK and ReLU SAEs only; write it as sparsify's.")
    if topk != cfg.layer_norm:
        raise FormatError(
            "openai's format ties TopK to a layer norm of the input, which this dictionary "
            f"{'lacks' if topk else 'has'}; write it as sparsify's."
        )
    state: dict[str, Any] = {
        "pre_bias": ours["b_dec"],
        "latent_bias": ours["b_enc"],
        "encoder.weight": ours["W_enc"],
        "decoder.weight": ours["W_dec"].t().contiguous(),
        "stats_last_nonzero": torch.zeros(cfg.width, dtype=torch.long),
        "latents_activation_frequency": torch.ones(cfg.width),
        "latents_mean_square": torch.ones(cfg.width),
        "activation": "TopK" if topk else "ReLU",
    }
    if topk:
        state["activation_state_dict"] = {"k": cfg.k, "postact_fn": "ReLU"}
    file = path if path.suffix == ".pt" else path / FILE
    write_pickle(file, state)
