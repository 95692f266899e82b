"""Which tokens a dictionary reads: one rule for training, evidence, attribution and steering.

Three things decide it:

* The *kind* of a token. Dictionaries learn from text and image tokens; padding, template and
  control tokens and image-row separators are left out.
* The *first token* of a prompt, whose norm is many times that of the others whatever it says
  ("massive activations", Sun et al. 2024).
* *Attention sinks* further on, which are found by their norm (``sinks``).

At sites of the vision side, only image tokens that a patch stands for have activations
(``patches``), and no first token needs to be left out.

``read_kinds`` and ``read_positions`` decide by kind and place alone, before the model runs;
``readable`` also leaves out the sinks of what the model computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.subject.patches import has_patch, is_pictured, laid_out
from semascope.subject.sinks import TIMES, sinks
from semascope.subject.types import Batch, Kind, TokenMap

READ = (Kind.TEXT, Kind.IMAGE, Kind.TILE)
"""Kinds of tokens that a dictionary learns from."""
REAL = tuple(kind for kind in Kind if kind != Kind.PAD)
"""Every kind but padding."""


def read_kinds(
    token_map: TokenMap,
    site: str = "",
    *,
    kinds: Sequence[int] = READ,
    skip_first: bool = True,
) -> NDArray[np.int8]:
    """(T,) the kind of each token that a dictionary of ``site`` reads, 0 elsewhere.

    Args:
        token_map: of the prompt.
        site: where the dictionary reads; by default a site of the language model.
        kinds: kinds of tokens that are read.
        skip_first: leave out the first token; sites of the vision side have no such token.
    """
    read = np.isin(token_map.kinds, kinds)
    if is_pictured(site):
        read &= has_patch(token_map)
    elif skip_first:
        read[np.flatnonzero(token_map.kinds != Kind.PAD)[:1]] = False
    return np.where(read, token_map.kinds, 0).astype(np.int8)


def read_positions(
    maps: Sequence[TokenMap],
    length: int,
    *,
    start: int = 0,
    site: str = "",
    kinds: Sequence[int] = READ,
) -> NDArray[np.bool_]:
    """(R, length) bool: the tokens that a dictionary reads among ``length`` from ``start`` on.

    Positions past the end of a prompt were generated, and are read.
    """
    out = np.ones((len(maps), length), dtype=np.bool_)
    for row, token_map in zip(out, maps, strict=True):
        prompt = read_kinds(token_map, site, kinds=kinds)[start : start + length] != 0
        row[: len(prompt)] = prompt
    return out


def without_sinks(
    activations: Sequence[Tensor], tokens: Tensor | None = None, times: float = TIMES
) -> Tensor:
    """(R, T) bool: ``tokens`` without those that are an attention sink at any of the sites.

    Args:
        activations: (R, T, d) of each site.
        tokens: (R, T) bool, tokens to choose from; all by default.
        times: how many times as long as the median token a sink is.
    """
    if tokens is None:
        first = activations[0]
        tokens = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
    kept = tokens
    for x in activations:
        kept = kept & ~sinks(x, tokens.to(x.device), times).to(tokens.device)
    return kept


def readable(
    site: str, x: Tensor, batch: Batch, *, template: bool = False
) -> tuple[Tensor, Tensor]:
    """Activations of a site by token, and which of these tokens a dictionary reads.

    Args:
        site: where the activations are from.
        x: what passed there: (R, T, d), or (pictures, patches, d) on the vision side.
        batch: the prompts.
        template: include the first token and those of the template, unless they are sinks:
            attribution and steering may ask about them although no dictionary learnt from them.

    Returns:
        (R, T, d) activations and (R, T) bool.

    Raises:
        SubjectError: patches and image tokens are not one to one (``patches``).
    """
    x, has_activation = laid_out(site, x, batch)
    if template:
        tokens = batch.mask if has_activation is None else has_activation
    else:
        read = read_positions(batch.maps, x.shape[1], site=site)
        tokens = torch.from_numpy(read).to(x.device)
    return x, without_sinks([x], tokens)
