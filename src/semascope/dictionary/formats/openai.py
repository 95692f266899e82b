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
from semascope.dictionary.config import CoderConfig
from semascope.dictionary.formats.common import (
    build,
    need,
    read_pickle,
    refuse_pickle,
    weights,
    write_pickle,
)
from semascope.errors import FormatError

FILE = "openai.pt"


def recognises(path: Path) -> bool:
    """A ``.pt`` file that is not dictionary_learning's, or a folder that we wrote one into."""
    if path.is_file():
        return path.suffix == ".pt" and not path.name.startswith("ae")
    return (path / FILE).is_file()


def read(path: Path, *, allow_pickle: bool = False) -> SparseCoder:
    """The coder of a file; only where pickles are allowed."""
    file = path if path.is_file() else path / FILE
    refuse_pickle(file, allow_pickle)
    state = read_pickle(file)
    names = "encoder.weight", "latent_bias", "decoder.weight", "pre_bias"
    weight, b_enc, decoder, b_dec = need(state, file, *names)
    activation = state.get("activation", "ReLU")
    if activation not in ("ReLU", "TopK"):
        raise FormatError(f"{file} asks for activation {activation!r}; ReLU and TopK can be read.")
    topk = activation == "TopK"
    shape = CoderConfig(
        d_in=weight.shape[1],
        width=weight.shape[0],
        k=int(state["activation_state_dict"]["k"]) if topk else 1,
        architecture="topk" if topk else "relu",
        unit_norm=False,
        layer_norm=topk,
    )
    ours = {"W_enc": weight, "b_enc": b_enc, "W_dec": decoder.t(), "b_dec": b_dec}
    return build(shape, ours, file)


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
