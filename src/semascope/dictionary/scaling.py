"""By what activations are multiplied while a dictionary trains, and how that is undone after.

Every site is brought to a mean norm of √d (Templeton et al. 2024), so that one learning rate fits
all: a transcoder's target apart from its input, and each site of a crosscoder by itself, since the
site of the largest norm would otherwise own the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import TrainConfig
from semascope.dictionary.moments import input_scale


@dataclass(frozen=True, slots=True)
class Scaling:
    """Factors of what goes in and of what is to come out."""

    unit: float = 1.0
    """Of the input, and so of the codes; of a crosscoder, the geometric mean of ``parts``."""
    target: float = 1.0
    """Of what is reconstructed."""
    parts: tuple[float, ...] = ()
    """Of each site of a crosscoder."""

    @classmethod
    def of(cls, config: TrainConfig, x: Tensor, target: Tensor | None) -> Scaling:
        """Measured on (N, d_in) activations and, for a transcoder, (N, d_out) targets."""
        if not config.normalize_input:
            return cls()
        if config.parts:
            parts = tuple(input_scale(p) for p in torch.split(x, list(config.parts), dim=1))
            mean = math.exp(sum(map(math.log, parts)) / len(parts))
            return cls(mean, mean, parts)
        unit = input_scale(x)
        apart = target is not None and config.transcode and not config.unit_norm
        return cls(unit, input_scale(target) if apart and target is not None else unit)

    def into(self, x: Tensor, config: TrainConfig) -> Tensor:
        """(N, d_in) as the dictionary in training reads it."""
        if self.parts:
            return x * self._columns(x, config.parts)
        return x * self.unit if self.unit != 1 else x

    def onto(self, target: Tensor) -> Tensor:
        """(N, d_out) as a transcoder in training is to give it."""
        return target * self.target if self.target != 1 else target

    def undo(self, coder: SparseCoder) -> None:
        """Fold the factors into the weights, so that the coder reads and gives what sites hold."""
        if self.parts:
            coder.fold_columns(self.unit, self._columns(coder.W_enc, coder.cfg.parts))
        else:
            coder.fold(self.unit, self.target if coder.cfg.transcodes else None)

    def meta(self) -> dict[str, Any]:
        """As JSON."""
        return {"scale": self.unit, "scaling": {"target": self.target, "parts": list(self.parts)}}

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Scaling:
        """What ``meta`` wrote; states of before hold one factor alone."""
        unit, more = float(meta["scale"]), meta.get("scaling", {})
        return cls(unit, float(more.get("target", unit)), tuple(map(float, more.get("parts", ()))))

    def tensor(self, device: torch.device) -> Tensor:
        """The factors in one float64 vector, to be sent to other processes."""
        every = [self.unit, self.target, *self.parts]
        return torch.tensor(every, dtype=torch.float64, device=device)

    @classmethod
    def from_tensor(cls, factors: Tensor) -> Scaling:
        """What ``tensor`` made."""
        unit, target, *parts = factors.tolist()
        return cls(unit, target, tuple(parts))

    def _columns(self, like: Tensor, widths: tuple[int, ...]) -> Tensor:
        """(Σ d,) the factor of each column of sites side by side."""
        each = torch.tensor(self.parts, dtype=like.dtype, device=like.device)
        return each.repeat_interleave(torch.tensor(widths, device=like.device))
