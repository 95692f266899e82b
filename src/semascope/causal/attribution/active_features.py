"""Activation mode: features that are unusually strong here, relative to their own maxima.

Features differ in scale, so an activation is compared with the feature's maximum on the corpus.
One forward pass to the deepest site, no gradient; it does not say what mattered to the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.causal.steering.units import Statistics, by_id, statistic
from semascope.dictionary.types import Dictionary
from semascope.subject.model import Subject
from semascope.subject.readable import readable
from semascope.subject.types import Batch, Edits


@dataclass(frozen=True, slots=True)
class ActiveFeature:
    """One feature that fires in the prompt."""

    key: str
    index: int
    activation: float
    """Its largest activation over the chosen tokens."""
    ratio: float
    """``activation`` as a share of the feature's maximum on the corpus."""
    row: int
    position: int
    """Token where it is largest."""
    tokens: int
    """Number of chosen tokens at which it fires."""


def active_features(
    subject: Subject,
    batch: Batch,
    dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
    statistics: Statistics,
    *,
    at: NDArray[np.bool_] | None = None,
    above: float = 0.0,
    edits: Edits | None = None,
    seen: Mapping[str, Tensor] | None = None,
) -> list[ActiveFeature]:
    """Features that fire at the chosen tokens, highest share of their maximum first.

    Args:
        subject: a ``Subject``.
        batch: prompts.
        dictionaries: whose features to list.
        statistics: with ``max`` of every dictionary.
        at: (T,) positions of the prompts; all real ones by default.
        above: least share of the maximum.
        edits: interventions under which the model runs.
        seen: (B, T, width) activations at each site, if known already.
    """
    known = by_id(dictionaries)
    with torch.no_grad():
        outputs = seen or subject.run(batch, [d.site for d in known.values()], edits=edits)
    active: list[ActiveFeature] = []
    for key, dictionary in known.items():
        x, mask = readable(dictionary.site, outputs[dictionary.site], batch, template=True)
        real = mask.cpu() if at is None else mask.cpu() & torch.from_numpy(at)
        rows, positions = real.nonzero(as_tuple=True)
        if not len(rows):
            continue
        codes = dictionary.encode(x[real].float())
        token, slot = (codes.values != 0).nonzero(as_tuple=True)
        feature = codes.indices[token, slot].cpu().numpy()
        values = codes.values[token, slot].float().cpu().numpy()
        token = token.cpu()
        maxima = statistic(statistics, key, "max")
        active += _peaks(
            key, feature, values, rows[token].numpy(), positions[token].numpy(), maxima
        )
    return sorted((f for f in active if f.ratio >= above), key=lambda f: -f.ratio)


def _peaks(
    key: str,
    feature: NDArray[np.int64],
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    positions: NDArray[np.int64],
    maxima: NDArray[np.floating],
) -> list[ActiveFeature]:
    """For each feature of (E,) entries, the strongest of them."""
    order = np.lexsort((-values, feature))
    ids, first, counts = np.unique(feature[order], return_index=True, return_counts=True)
    best = order[first]
    return [
        ActiveFeature(
            key=key,
            index=int(i),
            activation=float(values[b]),
            ratio=float(values[b] / maxima[i]) if maxima[i] > 0 else float("inf"),
            row=int(rows[b]),
            position=int(positions[b]),
            tokens=int(count),
        )
        for i, b, count in zip(ids, best, counts, strict=True)
    ]
