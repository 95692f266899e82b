"""Phases 3 and 4 of attribution: scores of features from a gradient, and what is left over.

Runs no model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from semascope.causal.attribution.result import SiteAttribution
from semascope.causal.attribution.watched_run import WatchedRun
from semascope.causal.steering.units import dictionary_id, output_site
from semascope.dictionary.types import Codes, Dictionary, gain

_GATHER = 1 << 22
"""Numbers of W_dec in memory at a time (16 MB in float32)."""


def reconstruct(dictionary: Dictionary, codes: Codes, x: Tensor) -> Tensor:
    """(N, d_out) x̂; the decoder of a skip transcoder or of normed inputs reads its input too."""
    return dictionary.decode(codes, x).float()


def account(
    dictionary: Dictionary, codes: Codes, run: WatchedRun, gradient: Tensor, z: Codes | None = None
) -> SiteAttribution:
    """Phases 3 and 4 for one dictionary.

    Args:
        dictionary: whose features.
        codes: (N, k) the active features, which define the error.
        run: activations at its sites.
        gradient: (R, T, d_out).
        z: the codes to score, if not all of ``codes``; same shape.
    """
    real = run.real_at(output_site(dictionary))
    g = gradient[real]  # (N, d_out)
    y = run.seen[output_site(dictionary)][real].float()  # (N, d_out)
    x = run.seen[dictionary.site][real].float()  # (N, d_in)
    # Phase 4: error and bias
    silent = Codes(torch.zeros_like(codes.values), codes.indices)
    error = y - reconstruct(dictionary, codes, x).to(y.device)  # (N, d_out)
    base = reconstruct(dictionary, silent, x).to(y.device)  # (N, d_out): without any feature
    # Phase 3: scores of the active features
    slopes = directional(dictionary, codes.indices.to(g.device), g)  # (N, k)
    times = gain(dictionary, x)  # (N, 1)
    if times is not None:
        slopes = slopes * times.to(slopes)
    values = (codes if z is None else z).values.to(g.device).float()
    token, slot = (values != 0).nonzero(as_tuple=True)  # (E,)
    rows, positions = real.nonzero(as_tuple=True)  # (N,)
    return SiteAttribution(
        key=dictionary_id(dictionary),
        row=rows[token].cpu().numpy().astype(np.int32),
        position=positions[token].cpu().numpy().astype(np.int32),
        feature=codes.indices.to(g.device)[token, slot].cpu().numpy(),
        activation=values[token, slot].cpu().numpy(),
        score=(values * slopes)[token, slot].cpu().numpy(),
        error=_spread(error, g, real),
        bias=_spread(base, g, real),
        total=_spread(y, g, real),
        gain=None if times is None else times[token, 0].cpu().numpy().astype(np.float32),
    )


def directional(dictionary: Dictionary, indices: Tensor, g: Tensor) -> Tensor:
    """(N, k) W_dec[indices] · g, never dense in the width.

    Args:
        indices: (N, k) features.
        g: (N, d_out) one gradient a token.
    """
    if 4 * indices.shape[1] >= dictionary.width:
        # Most features are active (neurons): one product over all beats gathering rows.
        every = dictionary.directions(torch.arange(dictionary.width, device=indices.device))
        return (g @ every.to(g.device, g.dtype).T).gather(1, indices)
    step = max(1, _GATHER // max(1, indices.shape[1] * g.shape[1]))
    parts = [
        torch.einsum(
            "nkd,nd->nk",
            dictionary.directions(indices[i : i + step].flatten())
            .to(g.device, g.dtype)
            .view(-1, indices.shape[1], g.shape[1]),
            g[i : i + step],
        )
        for i in range(0, len(g), step)
    ]
    return torch.cat(parts) if parts else g.new_zeros(indices.shape)


def features_part(dictionary: Dictionary, codes: Codes, run: WatchedRun) -> Tensor:
    """(N, d_out) Σ z W_dec: the reconstruction less what it is without any feature."""
    x = run.seen[dictionary.site][run.real_at(dictionary.site)].float()
    silent = Codes(torch.zeros_like(codes.values), codes.indices)
    return reconstruct(dictionary, codes, x) - reconstruct(dictionary, silent, x)


def _spread(part: Tensor, g: Tensor, real: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(R, T) part · g at real tokens, 0 at padding."""
    spread = g.new_zeros(real.shape)
    spread[real] = (part * g).sum(-1)
    return spread.cpu().numpy().astype(np.float32)
