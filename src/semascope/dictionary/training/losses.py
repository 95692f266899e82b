"""Losses as functions that are passed: (coder, pass, step) -> a scalar.

Each value is this micro-batch's share of the whole batch's loss, so that shares add up to exactly
the loss of the batch in one piece. Knows neither optimiser nor data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.dictionary.config import TrainConfig
from semascope.dictionary.forward_pass import Coder, Pass
from semascope.dictionary.kernels.sparse import decode


@dataclass(frozen=True, slots=True)
class LossContext:
    """What a loss may know about the moment."""

    variance: Tensor
    """() Σ‖target − mean‖² over the whole batch."""
    tokens: int
    """Of the whole batch."""
    dead: Tensor
    """(n,) latents that have been silent for too long."""
    k: int
    """Active latents now."""
    ramp: float
    """Factor of the sparsity penalty now, from 0 to 1."""
    dead_in_all: int = -1
    """Dead latents of all processes that hold a share of the dictionary; −1: ``dead`` is all."""
    total: Callable[[Tensor], Tensor] | None = None
    """Sums a tensor over the processes that share the batch; None where there is but one."""


Loss = Callable[[Coder, Pass, LossContext], Tensor]


def fvu(coder: Coder, done: Pass, step: LossContext) -> Tensor:
    """() fraction of variance unexplained: Σ‖x̂ − x‖² / Σ‖x − mean‖²."""
    return (done.x_hat - done.target).square().sum() / step.variance


def auxk(weight: float = 1 / 32, k_aux: int = 0) -> Loss:
    """Dead latents model what the others leave over (Gao et al. 2024, appendix A.2).

    The residual is a constant here, and b_dec, which it already lacks, is not added again. Scaled
    down while fewer than ``k_aux`` latents are dead; 0 takes d_out / 2.
    """

    def loss(coder: Coder, done: Pass, step: LossContext) -> Tensor:
        """Share of the residual's variance that dead latents leave, weighted."""
        count = len(step.dead) if step.dead_in_all < 0 else step.dead_in_all
        if not count:
            return done.x_hat.new_zeros(())
        wanted = k_aux or max(1, coder.d_out // 2)
        k = min(wanted, count)
        guess = coder.from_some(done.centred.detach(), step.dead, k)  # (N, d_out)
        left = done.residual
        spread, tokens = _spread(left), len(done.x)
        if step.total is not None:
            spread, tokens = _spread_over_all(left, step.total)
        share = tokens / step.tokens * k / wanted
        return weight * share * (guess - left).square().sum() / spread

    return loss


def _spread(rows: Tensor) -> Tensor:
    """Σ‖row − mean‖², never 0."""
    return (rows - rows.mean(0)).square().sum().clamp_min(torch.finfo(rows.dtype).tiny)


def _spread_over_all(rows: Tensor, total: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
    """The same over the rows of all processes, and how many these are."""
    sums = total(torch.cat([rows.sum(0), rows.new_tensor([len(rows)])]).double())  # (d + 1,)
    mean, tokens = sums[:-1] / sums[-1], int(sums[-1])
    spread = total((rows - mean.to(rows.dtype)).square().sum())
    return spread.clamp_min(torch.finfo(rows.dtype).tiny), tokens


def multi_topk(weight: float = 1 / 8, factor: int = 4) -> Loss:
    """FVU with ``factor`` · k latents, so that the code degrades gently (Gao et al. 2024, 4.3)."""

    def loss(coder: Coder, done: Pass, step: LossContext) -> Tensor:
        """FVU of the wider code, weighted."""
        wider = coder(done.x, done.target, k=min(factor * step.k, coder.width))
        return weight * fvu(coder, wider, step)

    return loss


def matryoshka(coder: Coder, done: Pass, step: LossContext) -> Tensor:
    """() mean FVU over the prefixes of the dictionary (Bussmann et al. 2025).

    The latents of each prefix must reconstruct alone, so that general features come first.
    """
    total = fvu(coder, done, step)
    for prefix in coder.cfg.prefixes[:-1]:
        if done.z is not None:
            part = done.z[:, :prefix] @ coder.W_dec[:prefix]
        else:
            assert done.values is not None and done.groups is not None
            inside = done.values * (done.groups.indices < prefix)
            part = decode(inside, coder.W_dec, done.groups, tangent=coder.cfg.unit_norm)
        x_hat = coder.add_skip(part + coder.b_dec, done.x)
        total = total + (x_hat - done.target).square().sum() / step.variance
    return total / max(1, len(coder.cfg.prefixes))


def common_losses(config: TrainConfig) -> Sequence[Loss]:
    """FVU (of every prefix), with AuxK and Multi-TopK where the configuration wants them."""
    losses: list[Loss] = [matryoshka if config.prefixes else fvu]
    if config.auxk:
        losses.append(auxk(config.auxk, config.k_aux))
    if config.multi_topk:
        losses.append(multi_topk(config.multi_topk))
    return losses
