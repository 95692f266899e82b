"""Are two dictionaries the same function: codes, outputs and sites, where features are active.

Knows tensors only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.types import Codes
from semascope.errors import NotFinite

TOLERANCE = 1e-4
"""Largest relative difference of two that are the same but for float32's order of sums."""
SIZES = (1.0, 3.0, 10.0)
"""Sizes of made-up inputs, in multiples of what biases and thresholds ask for."""


@dataclass(frozen=True, slots=True)
class DictionaryComparison:
    """Of one dictionary with another on the same tokens."""

    codes: float
    """‖z − z′‖ / ‖z‖ over all tokens."""
    outputs: float
    """‖x̂ − x̂′‖ / ‖x̂‖ over all tokens."""
    l0: float
    """Mean active latents a token; at 0 nothing was compared."""
    moved: tuple[str, ...]
    """Sites that differ, each as a sentence's part."""

    def fault(self, tolerance: float = TOLERANCE) -> str:
        """Why the two are not the same, or ""."""
        if self.l0 == 0:
            return "no feature was active on any token that was tried, so nothing was compared"
        if not (self.codes <= tolerance and self.outputs <= tolerance):
            return (
                f"codes differ by {self.codes:.1e} and outputs by {self.outputs:.1e} (relative), "
                f"and {tolerance:.0e} is the limit"
            )
        return "; ".join(self.moved)


@torch.no_grad()
def compare(one: SparseCoder, other: SparseCoder, x: Tensor) -> DictionaryComparison:
    """Two dictionaries on (N, d_in) tokens.

    Raises:
        NotFinite: NaN or infinity in a code or an output.
    """
    codes = [coder.encode(x) for coder in (one, other)]
    outputs = [coder.decode(z, x) for coder, z in zip((one, other), codes, strict=True)]
    for coder, z, out in zip((one, other), codes, outputs, strict=True):
        if not bool(z.values.isfinite().all() and out.isfinite().all()):
            raise NotFinite(
                f"Dictionary {coder.name!r} gives NaN or infinity on finite activations: its "
                "weights are too large for float32, or damaged."
            )
    dense = [_dense(z, one.width) for z in codes]
    pairs = (("reads", one.site, other.site), ("writes", one.site_out, other.site_out))
    return DictionaryComparison(
        codes=_relative(*dense),
        outputs=_relative(*outputs),
        l0=float((dense[0] != 0).sum(1).float().mean()),
        moved=tuple(
            f"it {what} at {was or 'no site'}, and what was written at {now or 'no site'}"
            for what, was, now in pairs
            if was != now
        ),
    )


@torch.no_grad()
def probes(coder: SparseCoder, tokens: int = 64, seed: int = 0) -> Tensor:
    """(3 N, d_in) made-up inputs at the scale that the dictionary's biases and thresholds expect.

    Random directions about b_dec, of such sizes that pre-activations are 1, 3 and 10 times the
    root mean square of the encoder's biases and thresholds.
    """
    drawn = torch.randn((tokens, coder.d_in), generator=torch.Generator().manual_seed(seed))
    if coder.cfg.layer_norm:
        return torch.cat([drawn * size for size in SIZES])
    theta = getattr(coder.activation, "threshold", torch.zeros(()))
    level = max(float(t.float().square().mean().sqrt()) for t in (coder.b_enc, theta))
    product = float((drawn @ coder.W_enc.float().t()).square().mean().sqrt())
    size = level / product if level > 0 and product > 0 else 1.0
    around = coder.b_dec if coder.cfg.subtract_b_dec else torch.zeros(coder.d_in)
    return torch.cat([around + drawn * size * times for times in SIZES])


def _dense(codes: Codes, width: int) -> Tensor:
    """(N, F); entries of value 0 are padding."""
    spread = codes.values.new_zeros((len(codes.values), width), dtype=torch.float64)
    return spread.scatter_add(1, codes.indices, codes.values.double())


def _relative(a: Tensor, b: Tensor) -> float:
    """‖a − b‖ / ‖a‖; 0 where both are 0, infinity where only a is or the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    gap, size = float((a.double() - b.double()).norm()), float(a.double().norm())
    return gap / size if size else (0.0 if gap == 0 else float("inf"))
