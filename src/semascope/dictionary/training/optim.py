"""Optimisers by name, and what changes with the step: learning rate, k, penalty.

Knows parameters by their shape, not by what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, optim
from torch.optim import Optimizer

from semascope.dictionary.config import TrainConfig

BIAS_RATE = 2e-4
"""Adam's rate for biases beside Muon, at width 2¹⁴."""


def make_optimizers(
    parameters: Sequence[Tensor], config: TrainConfig, lr: float
) -> list[Optimizer]:
    """The optimisers that together move ``parameters``; each group keeps its ``peak`` rate."""
    if config.optimizer == "muon":
        matrices = [p for p in parameters if p.ndim == 2]
        others = [p for p in parameters if p.ndim != 2]
        rate = lr * BIAS_RATE / 2e-3
        made: list[Optimizer] = [Muon(matrices, lr)]
        made += [optim.Adam(others, rate, fused=True)] if others else []
    elif config.optimizer == "signum":
        made = [Signum(parameters, lr)]
    elif config.optimizer == "adamw":
        made = [optim.AdamW(parameters, lr, weight_decay=config.weight_decay, fused=True)]
    else:
        made = [optim.Adam(parameters, lr, fused=True)]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return made


def optimizer_state(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    """An optimiser's state from tensors named ``prefix`` + "parameter.entry"."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name[len(prefix) :].split(".")
            state.setdefault(int(index), {})[key] = tensor
    return state


class Signum(Optimizer):
    """Sign of the momentum (Bernstein et al. 2018): one buffer, every weight moves by ±lr."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                average = _momentum(self.state[parameter], parameter, group["momentum"])
                # Directions, not lengths, are what a row of a dictionary learns: scale by the
                # root mean square that a unit row has.
                size = parameter.shape[-1] ** -0.5 if parameter.ndim == 2 else 0.1
                parameter.add_(average.sign(), alpha=-group["lr"] * size)


class Muon(Optimizer):
    """Momentum made orthogonal by Newton–Schulz (Jordan et al. 2024), for matrices alone."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                average = _momentum(self.state[parameter], parameter, group["momentum"])
                ahead = parameter.grad.lerp(average, group["momentum"])  # Nesterov
                rows, columns = parameter.shape
                size = max(1.0, rows / columns) ** 0.5
                parameter.add_(orthogonal(ahead), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """(m, n) -> nearly U Vᵀ of its singular value decomposition, by a quintic iteration.

    Singular values end between about 0.7 and 1.2, which the method is content with.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.t() if tall else matrix
    x = x / x.norm().clamp_min(1e-12)
    for _ in range(iterations):
        gram = x @ x.t()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.t() if tall else x


def _momentum(state: dict[str, Any], parameter: Tensor, beta: float) -> Tensor:
    """The running mean of the gradient, updated."""
    if "average" not in state:
        state["average"] = torch.zeros_like(parameter)
    average: Tensor = state["average"]
    assert parameter.grad is not None
    return average.lerp_(parameter.grad, 1 - beta)


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
