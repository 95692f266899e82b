"""By what activations are multiplied while a dictionary trains, and how that is undone after.

Every site is brought to a mean norm of √d (Templeton et al. 2024), so that one learning rate fits
all: a transcoder's target apart from its input, and each site of a crosscoder by itself, since the
site of the largest norm would otherwise own the loss.

Where a common offset is many times what differs between tokens, that norm is the offset's: scaled
by it, what is to be learnt would be many times too small beside learning rates, penalties and
first thresholds. The offset is then taken away first, and given back to the biases after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import TrainConfig
from semascope.dictionary.training.checks import input_scale

OFFSET = 4.0
"""Mean vectors longer than so many times tokens' mean distance from them are taken away."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Factors of what goes in and of what is to come out, and offsets taken away before."""

    unit: float = 1.0
    """Of the input, and so of the codes; of a crosscoder, the geometric mean of ``parts``."""
    target: float = 1.0
    """Of what is reconstructed."""
    parts: tuple[float, ...] = ()
    """Of each site of a crosscoder."""
    offset: tuple[float, ...] = ()
    """(d_in,) taken from the input first; empty where there is none worth it."""
    target_offset: tuple[float, ...] = ()
    """(d_out,) taken from what a transcoder is to give."""

    @classmethod
    def of(cls, config: TrainConfig, x: Tensor, target: Tensor | None) -> Scaling:
        """Measured on (N, d_in) activations and, for a transcoder, (N, d_out) targets."""
        if not config.normalize_input:
            return cls()
        widths = list(config.parts) or [x.shape[1]]
        offset = _offset(torch.split(x, widths, dim=1))
        x = _less(x, offset)
        if config.parts:
            parts = tuple(input_scale(p) for p in torch.split(x, widths, dim=1))
            mean = math.exp(sum(map(math.log, parts)) / len(parts))
            return cls(mean, mean, parts, offset)
        unit = input_scale(x)
        away: tuple[float, ...] = ()
        if target is not None and config.transcode:
            away = _offset([target])
            target = _less(target, away)
        apart = target is not None and config.transcode and not config.unit_norm
        onto = input_scale(target) if apart and target is not None else unit
        return cls(unit, onto, (), offset, away)

    def into(self, x: Tensor, config: TrainConfig) -> Tensor:
        """(N, d_in) as the dictionary in training reads it."""
        x = _less(x, self.offset)
        if self.parts:
            return x * self._columns(x, config.parts)
        return x * self.unit if self.unit != 1 else x

    def onto(self, target: Tensor) -> Tensor:
        """(N, d_out) as a transcoder in training is to give it."""
        target = _less(target, self.target_offset)
        return target * self.target if self.target != 1 else target

    def undo(self, coder: SparseCoder) -> None:
        """Fold the factors into the weights, so that the coder reads and gives what sites hold."""
        if self.parts:
            coder.fold_columns(self.unit, self._columns(coder.W_enc, coder.cfg.parts))
        else:
            coder.fold(self.unit, self.target if coder.cfg.transcodes else None)
        away = self.target_offset if coder.cfg.transcodes else self.offset
        coder.move(_vector(self.offset, coder.W_enc), _vector(away, coder.b_dec))

    def meta(self) -> dict[str, Any]:
        """As JSON."""
        scaling = {"target": self.target, "parts": list(self.parts)}
        for name in ("offset", "target_offset"):
            if getattr(self, name):
                scaling[name] = list(getattr(self, name))
        return {"scale": self.unit, "scaling": scaling}

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Scaling:
        """What ``meta`` wrote; states of before hold one factor alone."""
        unit, more = float(meta["scale"]), meta.get("scaling", {})
        lists = (tuple(map(float, more.get(n, ()))) for n in ("parts", "offset", "target_offset"))
        return cls(unit, float(more.get("target", unit)), *lists)

    def tensor(self, device: torch.device) -> Tensor:
        """The factors in one float64 vector, to be sent to other processes."""
        lists = (self.parts, self.offset, self.target_offset)
        every = [self.unit, self.target, *(n for each in lists for n in (len(each), *each))]
        return torch.tensor(every, dtype=torch.float64, device=device)

    @classmethod
    def from_tensor(cls, factors: Tensor) -> Scaling:
        """What ``tensor`` made."""
        unit, target, *rest = factors.tolist()
        lists: list[tuple[float, ...]] = []
        for _ in range(3):
            size = int(rest[0])
            lists.append(tuple(rest[1 : 1 + size]))
            rest = rest[1 + size :]
        return cls(unit, target, *lists)

    def _columns(self, like: Tensor, widths: tuple[int, ...]) -> Tensor:
        """(Σ d,) the factor of each column of sites side by side."""
        each = torch.tensor(self.parts, dtype=like.dtype, device=like.device)
        return each.repeat_interleave(torch.tensor(widths, device=like.device))


def _offset(parts: Sequence[Tensor]) -> tuple[float, ...]:
    """The mean of (N, d) activations of each site, where one is far longer than the spread."""
    means = [part.double().mean(0) for part in parts]
    spreads = [
        float((part.double() - mean).norm(dim=1).mean())
        for part, mean in zip(parts, means, strict=True)
    ]
    large = any(
        float(mean.norm()) > OFFSET * spread > 0
        for mean, spread in zip(means, spreads, strict=True)
    )
    return tuple(torch.cat(means).tolist()) if large else ()


def _vector(values: tuple[float, ...], like: Tensor) -> Tensor | None:
    return torch.tensor(values, dtype=like.dtype, device=like.device) if values else None


def _less(x: Tensor, offset: tuple[float, ...]) -> Tensor:
    """(N, d) less an offset, where there is one."""
    away = _vector(offset, x)
    return x if away is None else x - away
