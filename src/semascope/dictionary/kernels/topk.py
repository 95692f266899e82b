"""Which latents are on: pre-activations made a tile of tokens at a time and reduced at once.

(N, F) pre-activations are the largest thing in a sparse autoencoder's (SAE) step and nothing but
their few largest is wanted, so they are never stored whole.

Shapes: N tokens, D inputs, F latents, k entries a token. Knows tensors only.
"""

from __future__ import annotations

import torch
from torch import Tensor

TILE_BYTES = 31 << 20
"""Pre-activations held at a time on a CPU. The product packs all weights anew for each tile, so few
are better; but above 32 MiB glibc maps fresh memory for every one, and pages are faulted in."""
ROOM_BYTES = 38 << 20
"""The same, where the memory outlives the call."""
TILE_ROWS = 1024
"""Tokens in a tile at most: a narrow dictionary's tile is to stay in a last-level cache."""
GPU_TILE_BYTES = 1 << 30
FAN = 4
"""Latents behind one maximum, at every level of the selection."""
FEW = 16
"""Tokens from which a tree pays: below, as in decoding, calls cost more than they save."""


class TileBuffer:
    """Memory for a tile of pre-activations, kept between steps; for one thread at a time."""

    def __init__(self) -> None:
        self.kept: Tensor | None = None

    def take(self, rows: int, width: int, like: Tensor) -> Tensor:
        """(rows, width), with anything in it."""
        if self.kept is None or self.kept.numel() < rows * width or self.kept.dtype != like.dtype:
            self.kept = like.new_empty(rows * width)
        return self.kept[: rows * width].view(rows, width)


def topk(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Exact k largest of each row of (N, F), unsorted: (N, k) values and indices.

    By a tree of maxima on a CPU. Latents are striped over ``FAN`` rows, and only the k stripes with
    the largest maxima, themselves found so, can hold one of the k largest values; ties may fall
    either way, as in ``torch.topk``.
    """
    n, width = pre.shape
    stripes = width // FAN
    if pre.device.type != "cpu" or n < FEW or width % FAN or stripes <= 2 * k:
        return torch.topk(pre, k, dim=1, sorted=False)
    best = topk(pre.view(n, FAN, stripes).amax(1), k)[1]  # (N, k)
    members = best.unsqueeze(1) + torch.arange(0, width, stripes).view(1, FAN, 1)
    members = members.reshape(n, FAN * k)
    values, at = torch.topk(pre.gather(1, members), k, dim=1, sorted=False)
    return values, members.gather(1, at)


def select_topk(
    centred: Tensor, weight: Tensor, bias: Tensor, k: int, room: TileBuffer | None = None
) -> tuple[Tensor, Tensor]:
    """(N, D) centred inputs -> the k largest pre-activations and their latents, (N, k) each.

    Pre-activations are made a tile of tokens at a time, in ``room`` where there is one.
    """
    n, width = centred.shape[0], weight.shape[0]
    rows = tile_rows(width, centred.device, n, TILE_BYTES if room is None else ROOM_BYTES)
    values = centred.new_empty((n, k))
    indices = torch.empty((n, k), dtype=torch.int64, device=centred.device)
    shape = (min(rows, n), width)
    tile = centred.new_empty(shape) if room is None else room.take(*shape, centred)
    for start in range(0, n, rows):
        part = centred[start : start + rows]
        pre = torch.addmm(bias, part, weight.t(), out=tile[: len(part)])  # (rows, F)
        values[start : start + rows], indices[start : start + rows] = topk(pre, k)
    return values, indices


def tile_rows(width: int, device: torch.device, tokens: int, budget: int = TILE_BYTES) -> int:
    """How many of ``tokens`` tokens' pre-activations are made at a time: equal tiles on a CPU."""
    if device.type != "cpu":
        return max(64, GPU_TILE_BYTES // (4 * width) // 64 * 64)
    most = min(TILE_ROWS, max(64, budget // (4 * width)))
    tiles = max(1, -(-tokens // most))
    return -(-tokens // (64 * tiles)) * 64 or 64


def select_above(
    centred: Tensor, weight: Tensor, bias: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor]:
    """(N, D) centred inputs -> every pre-activation above its threshold () or (F,).

    Returns (N, m) values and indices, m the most that any token has (at least 1); shorter rows are
    padded with value 0.
    """
    n, width = centred.shape[0], weight.shape[0]
    rows = tile_rows(width, centred.device, n)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, n, rows):
        pre = torch.addmm(bias, centred[start : start + rows], weight.t())  # (rows, F)
        token, latent = (pre > threshold).nonzero(as_tuple=True)
        found.append((token + start, latent, pre[token, latent]))
    if not found:
        return centred.new_zeros((0, 1)), torch.zeros((0, 1), dtype=torch.int64)
    token, latent, value = (torch.cat(part) for part in zip(*found, strict=True))
    return pad_entries(token, latent, value, n)


def pad_entries(token: Tensor, latent: Tensor, value: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Entries in token order, (E,) each -> (N, m) values and indices, padded with value 0."""
    counts = torch.bincount(token, minlength=tokens)  # (N,)
    most = max(1, int(counts.max())) if tokens else 1
    column = torch.arange(len(token), device=token.device)
    column = column - (torch.cumsum(counts, 0) - counts)[token]  # (E,) place within the token
    at = token * most + column
    values = torch.zeros(tokens * most, dtype=value.dtype, device=value.device)
    indices = torch.zeros(tokens * most, dtype=torch.int64, device=value.device)
    values = values.index_copy(0, at, value)
    indices.index_copy_(0, at, latent)
    return values.view(tokens, most), indices.view(tokens, most)
