"""The geometric median of points: where b_dec starts (Bricken et al. 2023, training appendix)."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def geometric_median(points: Tensor, *, iterations: int = 100, tolerance: float = 1e-5) -> Tensor:
    """(N, D) -> (D,): the point of least summed distance, by Weiszfeld's iteration.

    It starts at the mean and stops when a step is less than ``tolerance`` of the points' mean
    distance, or after ``iterations``.
    """
    centre = points.mean(0)  # (D,)
    for _ in range(iterations):
        distance = torch.linalg.vector_norm(points - centre, dim=1)  # (N,)
        mean = float(distance.mean())
        if mean == 0:
            return centre
        weight = 1 / distance.clamp_min(1e-8 * mean)  # (N,)
        after = weight @ points / weight.sum()
        moved = float(torch.linalg.vector_norm(after - centre))
        centre = after
        if moved < tolerance * mean:
            break
    return centre
