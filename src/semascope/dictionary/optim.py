"""Optimisers by name, and the learning rate at a step. Knows parameters, not what they mean."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, optim
from torch.optim import Optimizer

from semascope.dictionary.config import TrainConfig


def make_optimizers(
    parameters: Sequence[Tensor], config: TrainConfig, lr: float
) -> list[Optimizer]:
    """The optimisers that together move ``parameters``."""
    if config.optimizer == "adamw":
        return [optim.AdamW(parameters, lr, weight_decay=config.weight_decay, fused=True)]
    return [optim.Adam(parameters, lr, fused=True)]


def ramp_at(step: int, config: TrainConfig) -> float:
    """Share of the peak learning rate at ``step``: linear warm-up, level, linear decay to 0."""
    warm = round(config.warmup * config.steps)
    fall = round(config.decay * config.steps)
    factor = min(1.0, (step + 1) / warm) if warm else 1.0
    if fall:
        factor = min(factor, (config.steps - step) / fall)
    return max(0.0, factor)


def k_at(step: int, config: TrainConfig) -> int:
    """Active latents at ``step``: ``k_start`` falling linearly to ``k``."""
    if config.k_start <= config.k:
        return config.k
    done = min(1.0, step / max(1.0, config.k_decay * config.steps))
    return round(config.k_start + done * (config.k - config.k_start))


def sparsity_at(step: int, config: TrainConfig) -> float:
    """Share of the sparsity penalty at ``step``: linear from 0."""
    warm = config.sparsity_warmup * config.steps
    return min(1.0, (step + 1) / warm) if warm else 1.0
