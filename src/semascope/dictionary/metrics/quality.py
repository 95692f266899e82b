"""How good a dictionary is, for all tokens and for each kind of token.

Every figure is exact over the tokens given: sums are float64 and merged at the end, so the
explained variance is 1 − SSE / SSE of the mean of the very same tokens. Kinds are integers here;
who calls knows their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.dictionary.training.batches import ActivationBatch
from semascope.dictionary.types import Dictionary
from semascope.errors import DictionaryError

DENSITY_EDGES = np.linspace(-7, 0, 29)
"""log10 of the share of tokens on which a feature is active; four bins a decade."""


@dataclass(frozen=True, slots=True)
class GroupQuality:
    """Over the tokens of one kind, or over all."""

    tokens: int
    fvu: float
    """Σ‖x̂ − x‖² / Σ‖x − mean‖²."""
    explained_variance: float
    """1 − FVU."""
    mse: float
    """Mean over tokens of ‖x̂ − x‖²."""
    cosine: float
    """Mean over tokens of cos(x̂, x)."""
    norm_ratio: float
    """Σ‖x̂‖ / Σ‖x‖: below 1 where activations shrink."""
    l0: float
    """Mean active latents a token."""
    dead_fraction: float
    """Share of latents never active on these tokens."""
    density: tuple[int, ...]
    """Latents by log10 density, in the bins of ``DENSITY_EDGES``; never active ones are not in."""


@dataclass(frozen=True, slots=True)
class Quality:
    """The report of a dictionary."""

    all: GroupQuality
    groups: Mapping[int, GroupQuality]
    """By kind."""
    crowding: Mapping[str, float]
    """Each feature's largest decoder cosine with another: mean, median, p95, and the share above
    0.9 (near duplicates)."""

    def __repr__(self) -> str:
        return (
            f"Quality(FVU {self.fvu:.4f}, L0 {self.l0:.1f}, dead {self.all.dead_fraction:.1%}, "
            f"{self.all.tokens} tokens)"
        )

    def _repr_html_(self) -> str:
        from semascope import html

        rows = [(name, v) for name, v in asdict(self.all).items() if isinstance(v, int | float)]
        return html.block(html.line(repr(self), strong=True), html.table(rows))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the figures for all at the top, groups and crowding beneath."""
        return {
            **asdict(self.all),
            "groups": {str(kind): asdict(group) for kind, group in self.groups.items()},
            "crowding": dict(self.crowding),
        }

    @property
    def fvu(self) -> float:
        """Over all tokens."""
        return self.all.fvu

    @property
    def explained_variance(self) -> float:
        """Over all tokens."""
        return self.all.explained_variance

    @property
    def l0(self) -> float:
        """Over all tokens."""
        return self.all.l0

    @property
    def dead_fraction(self) -> float:
        """Over all tokens."""
        return self.all.dead_fraction


class _Sums:
    """What one group adds up to."""

    def __init__(self, width: int, d_out: int) -> None:
        self.tokens = 0
        self.sse = self.square = self.cosine = self.norm = self.norm_hat = 0.0
        self.total = torch.zeros(d_out, dtype=torch.float64)
        self.fired = torch.zeros(width, dtype=torch.int64)

    def result(self) -> GroupQuality:
        """The figures."""
        n = max(1, self.tokens)
        mean_part = float(self.total.square().sum()) / n
        spread = max(self.square - mean_part, 1e-300)
        share = self.fired.double() / n
        alive = share[self.fired > 0].clamp_min(10.0 ** DENSITY_EDGES[0]).log10().numpy()
        return GroupQuality(
            tokens=self.tokens,
            fvu=self.sse / spread,
            explained_variance=1 - self.sse / spread,
            mse=self.sse / n,
            cosine=self.cosine / n,
            norm_ratio=self.norm_hat / max(self.norm, 1e-300),
            l0=float(self.fired.sum()) / n,
            dead_fraction=float((self.fired == 0).double().mean()),
            density=tuple(int(c) for c in np.histogram(alive, DENSITY_EDGES)[0]),
        )


@torch.no_grad()
def quality(coder: Dictionary, batches: Iterable[ActivationBatch]) -> Quality:
    """Measure a dictionary on batches of activations; tokens of kind 0 are left out.

    Raises:
        DictionaryError: there was no token.
    """
    groups: dict[int, _Sums] = {}
    offset: Tensor | None = None
    for batch in batches:
        batch = batch.kept()
        if not len(batch.x):
            continue
        target = batch.x if batch.target is None else batch.target
        if offset is None:
            offset = target.double().mean(0)  # (d_out,) near the mean: keeps the sums well scaled
        codes = coder.encode(batch.x)
        x_hat = coder.decode(codes, batch.x)
        for kind in torch.unique(batch.kind).tolist():
            at = batch.kind == kind
            sums = groups.setdefault(kind, _Sums(coder.width, target.shape[1]))
            _add(sums, target[at], x_hat[at], codes.values[at], codes.indices[at], offset)
    if not groups:
        raise DictionaryError("There is no token to measure the dictionary on.")
    return Quality(
        all=_merged(list(groups.values())).result(),
        groups={kind: groups[kind].result() for kind in sorted(groups)},
        crowding=crowding(coder),
    )


def _add(
    sums: _Sums, x: Tensor, x_hat: Tensor, values: Tensor, indices: Tensor, offset: Tensor
) -> None:
    """Add (n, d) tokens to a group."""
    x, x_hat = x.double(), x_hat.double()
    shifted = x - offset
    norm, norm_hat = x.norm(dim=1), x_hat.norm(dim=1)  # (n,)
    sums.tokens += len(x)
    sums.sse += float((x_hat - x).square().sum())
    sums.square += float(shifted.square().sum())
    sums.total += shifted.sum(0)
    sums.cosine += float(((x * x_hat).sum(1) / (norm * norm_hat).clamp_min(1e-300)).sum())
    sums.norm += float(norm.sum())
    sums.norm_hat += float(norm_hat.sum())
    sums.fired += torch.bincount(indices[values != 0], minlength=len(sums.fired))


def _merged(parts: list[_Sums]) -> _Sums:
    """The sums of several groups."""
    whole = _Sums(len(parts[0].fired), len(parts[0].total))
    for part in parts:
        for name, value in vars(part).items():
            setattr(whole, name, getattr(whole, name) + value)
    return whole


@torch.no_grad()
def crowding(coder: Dictionary, *, sample: int = 4096, seed: int = 0) -> dict[str, float]:
    """How close directions lie: the largest cosine with any other, of ``sample`` features."""
    ids = torch.randperm(coder.width, generator=torch.Generator().manual_seed(seed))[:sample]
    every = _unit(coder.directions(torch.arange(coder.width)))  # (F, d)
    best: list[NDArray[np.float32]] = []
    for part in torch.split(ids, 512):
        cosine = every[part] @ every.t()  # (512, F)
        cosine[torch.arange(len(part)), part] = -1
        best.append(cosine.amax(1).numpy())
    nearest = np.concatenate(best)
    return {
        "mean": float(nearest.mean()),
        "median": float(np.median(nearest)),
        "p95": float(np.quantile(nearest, 0.95)),
        "above_0.9": float((nearest > 0.9).mean()),
    }


def _unit(rows: Tensor) -> Tensor:
    rows = rows.float().cpu()
    return torch.nn.functional.normalize(rows, dim=1)
