"""TopK through a cheap product in bfloat16, proved exact, for processors that have one.

The bf16 product names ``keep`` > k candidates a token; these are scored again in float32. That is
the true top-k wherever the k-th score exceeds what the best candidate left out could have: its bf16
score plus a bound on the rounding, by Cauchy–Schwarz on the very rounding errors of x and W. Tokens
without that proof go through the whole product in float32. Knows tensors only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semascope.dictionary.kernels.sparse import block_rows, gather_dot
from semascope.dictionary.kernels.topk import select_topk, tile_rows, topk

KEEP = 2
"""Candidates for each latent wanted."""
HALF_ULP = 2.0**-8
"""Relative rounding of a bf16 result, doubled for safety."""


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a bf16 product is faster than a float32 one here, from what the processor says."""
    if device.type != "cpu":
        return False
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in tests)


@torch.no_grad()
def select_topk_prefiltered(
    centred: Tensor, weight: Tensor, bias: Tensor, k: int, *, prove: bool = True
) -> tuple[Tensor, Tensor, int]:
    """(N, D) -> the k largest pre-activations and their latents, (N, k); unproved tokens.

    Without ``prove`` the candidates are trusted: values stay exact, the choice is bf16's, and a GPU
    need not wait for the host.
    """
    n, width = centred.shape[0], weight.shape[0]
    keep = min(width, max(KEEP * k, k + 8))
    low_bias = bias.bfloat16()
    bias_error = (bias - low_bias.float()).abs().max()
    low_weight, weight_error, weight_norm = _rounded(weight)
    values = centred.new_empty((n, k))
    indices = torch.empty((n, k), dtype=torch.int64, device=centred.device)
    unproved: list[Tensor] = []
    rows = tile_rows(width, centred.device, n)
    for start in range(0, n, rows):
        x = centred[start : start + rows]
        low = x.bfloat16()
        rough = torch.nn.functional.linear(low, low_weight, low_bias).float()  # (rows, F)
        scores, candidates = topk(rough, keep)
        exact = gather_dot(x, weight, candidates) + bias[candidates]  # (rows, keep)
        best, at = exact.topk(k, dim=1, sorted=False)
        values[start : start + rows] = best
        indices[start : start + rows] = candidates.gather(1, at)
        if prove and keep < width:
            norm, error = x.norm(dim=1), (x - low.float()).norm(dim=1)  # (rows,)
            bound = error * weight_norm + low.float().norm(dim=1) * weight_error + bias_error
            bound += HALF_ULP * rough.abs().amax(1) + 1e-6 * norm * weight_norm
            proved = best.amin(1) >= scores.amin(1) + bound
            unproved.append(start + (~proved).nonzero().squeeze(1))
    again = torch.cat(unproved) if unproved else indices.new_zeros(0)
    if len(again):
        values[again], indices[again] = select_topk(centred[again], weight, bias, k)
    return values, indices, len(again)


def _rounded(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(F, D) -> in bfloat16; the largest norm of a row's rounding error, and of a row."""
    low = torch.empty_like(weight, dtype=torch.bfloat16)
    size = block_rows(weight.shape[1]) if weight.device.type == "cpu" else len(weight)
    errors, norms = [], []
    for rows, into in zip(torch.split(weight, size), torch.split(low, size), strict=True):
        into.copy_(rows)
        norms.append(torch.linalg.vector_norm(rows, dim=1).amax())
        errors.append(torch.linalg.vector_norm(rows - into.float(), dim=1).amax())
    return low, torch.stack(errors).amax(), torch.stack(norms).amax()
