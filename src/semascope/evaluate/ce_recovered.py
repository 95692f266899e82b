"""What a dictionary costs the model: cross-entropy recovered, and KL, with it spliced in.

The site's activations are replaced by their reconstruction, at every real token, and the model's
next-token predictions compared with those of the model as it is and with those after setting the
site to zero. On the vision side that is every patch that an image token stands for, and predictions
count from the first image token on: those before it cannot change. Knows a model only as something
that gives logits under edits; no tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.dictionary.types import Dictionary
from semascope.errors import DictionaryError
from semascope.subject.patches import VisionPatches, has_patch, is_pictured
from semascope.subject.types import Batch, Edit, EditContext, Edits, Kind, TokenMap

Reads = Callable[[TokenMap], NDArray[np.int8]]
"""(T,) not 0 where a dictionary reads; elsewhere the activations stay as they are."""


def real(map_: TokenMap) -> NDArray[np.int8]:
    """(T,) every position but padding."""
    out: NDArray[np.int8] = (map_.kinds != Kind.PAD).astype(np.int8)
    return out


class HasLogits(Protocol):
    """A subject, as far as this module is concerned."""

    def logits(self, batch: Batch, *, edits: Edits) -> Tensor:
        """(B, T, V) under edits by site."""
        ...


@dataclass(frozen=True, slots=True)
class CERecovered:
    """Means over predictions, in nats."""

    predictions: int
    ce_clean: float
    ce_spliced: float
    ce_zero: float
    kl: float
    """KL(clean ‖ spliced)."""

    @property
    def recovered(self) -> float:
        """(CE_zero − CE_spliced) / (CE_zero − CE_clean): 1 is no loss, 0 is no better than zero."""
        span = self.ce_zero - self.ce_clean
        return (self.ce_zero - self.ce_spliced) / span if span else float("nan")


def splice(coder: Dictionary, reads: Reads = real, site: str = "") -> Edit:
    """An edit that puts the reconstruction in the place of the activations that are read.

    ``site`` is where, if not the dictionary's own.
    """
    at = _Place(site or coder.site, reads)

    def edit(hidden: Tensor, context: EditContext) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        flat = hidden.reshape(-1, hidden.shape[-1]).float()  # (B T, d)
        codes = coder.encode(flat)
        x_hat = coder.decode(codes, flat)
        return at.where(x_hat.to(hidden).view_as(hidden), hidden, context)

    return edit


def zero(reads: Reads = real, site: str = "") -> Edit:
    """The baseline: the activations that are read at a site set to 0."""
    at = _Place(site, reads)

    def edit(hidden: Tensor, context: EditContext) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        return at.where(torch.zeros_like(hidden), hidden, context)

    return edit


@torch.no_grad()
def spliced(
    subject: HasLogits,
    batches: Iterable[Batch],
    coder: Dictionary,
    *,
    site: str = "",
    reads: Reads = real,
) -> Mapping[int, CERecovered]:
    """Measure by kind of the token that predicts; kind 0 holds the figures for all.

    Args:
        site: where to splice; by default the dictionary's own.
        reads: which positions; by default all but padding. First tokens, whose norm is many
            times the others', break the model when a dictionary that never saw them replaces them.

    Raises:
        DictionaryError: the dictionary names no site, or nothing was predicted.
    """
    site = site or coder.site
    if not site:
        raise DictionaryError(f"Dictionary {coder.name!r} names no site; say where to splice it.")
    sums: dict[int, torch.Tensor] = {}
    pictured = is_pictured(site)
    for batch in batches:
        if pictured and not any(bool(has_patch(m).any()) for m in batch.maps):
            continue
        clean = _predictions(subject.logits(batch, edits={}))
        with_codes = _predictions(subject.logits(batch, edits={site: splice(coder, reads, site)}))
        without = _predictions(subject.logits(batch, edits={site: zero(reads, site)}))
        ids, kinds = _targets(batch, clean.device, pictured)
        parts = [
            -clean.gather(2, ids[..., None]).squeeze(2),
            -with_codes.gather(2, ids[..., None]).squeeze(2),
            -without.gather(2, ids[..., None]).squeeze(2),
            (clean.exp() * (clean - with_codes)).sum(2),
        ]
        stacked = torch.stack([torch.ones_like(parts[0]), *parts]).double()  # (5, B, T - 1)
        for kind in torch.unique(kinds[kinds > 0]).tolist():
            here = stacked[:, kinds == kind].sum(1).cpu()
            sums[kind] = sums.get(kind, torch.zeros(5, dtype=torch.float64)) + here
    if not sums:
        why = f"{site} reads pictures, and no words follow one" if pictured else (
            "every sequence has fewer than two tokens"
        )  # fmt: skip
        raise DictionaryError(f"Nothing was predicted: {why}.")
    sums[0] = torch.stack(list(sums.values())).sum(0)
    return {kind: _result(total) for kind, total in sorted(sums.items())}


def _result(total: Tensor) -> CERecovered:
    count, clean, with_codes, without, kl = total.tolist()
    return CERecovered(int(count), clean / count, with_codes / count, without / count, kl / count)


def _predictions(logits: Tensor) -> Tensor:
    """(B, T, V) -> (B, T − 1, V) log-probabilities of the next token."""
    return torch.log_softmax(logits[:, :-1].float(), dim=-1)


def _targets(batch: Batch, device: torch.device, pictured: bool) -> tuple[Tensor, Tensor]:
    """(B, T − 1) next ids, and the kind of the token that predicts, 0 where none is asked.

    ``pictured``: of those that come before every picture, none is asked.
    """
    ids = torch.as_tensor(np.stack([m.ids for m in batch.maps]), device=device)
    kinds = torch.as_tensor(np.stack([m.kinds for m in batch.maps]), device=device).long()
    asked = (kinds[:, :-1] != Kind.PAD) & (kinds[:, 1:] == Kind.TEXT)
    if pictured:
        asked &= (kinds[:, :-1] == Kind.IMAGE).cumsum(1) > 0
    return ids[:, 1:].clamp_min(0), torch.where(asked, kinds[:, :-1], 0)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a dictionary reads: which entries of what runs through its site."""

    site: str
    reads: Reads

    def where(self, new: Tensor, old: Tensor, context: EditContext) -> Tensor:
        """``new`` where the dictionary reads, ``old`` elsewhere; both as the site has them."""
        rows = np.stack([self.reads(m) != 0 for m in context.maps])
        if is_pictured(self.site):
            layout = VisionPatches.of(self.site, old, context.maps)
            read = torch.as_tensor(rows, device=old.device).unsqueeze(2)  # (B, T, 1)
            none = torch.zeros_like(old[..., :1], dtype=torch.bool)
            return torch.where(layout.gather(read, none), new, old)
        here = torch.as_tensor(rows[:, context.start :], device=new.device)[:, : new.shape[1]]
        if here.shape[1] < new.shape[1]:  # generated tokens, past the prompt's map, are all real
            grown = here.new_ones((len(here), new.shape[1] - here.shape[1]))
            here = torch.cat([here, grown], dim=1)
        return torch.where(here.unsqueeze(2), new, old)
