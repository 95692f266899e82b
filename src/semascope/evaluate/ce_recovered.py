"""Cross-entropy recovered, and KL, with a dictionary spliced into the model.

The site's activations are replaced by their reconstruction, and the model's next-token predictions
are compared with those of the unchanged model and those with the site set to zero. On the vision
side every patch with an image token is replaced, and predictions count from the first image token
on: those before it cannot change. The model only has to give logits under edits.
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
"""(T,) 0 where the dictionary does not read and activations stay as they are."""


def real(map_: TokenMap) -> NDArray[np.int8]:
    """(T,) every position but padding."""
    out: NDArray[np.int8] = (map_.kinds != Kind.PAD).astype(np.int8)
    return out


class HasLogits(Protocol):
    """A model that gives logits under edits."""

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
        """(CE_zero − CE_spliced) / (CE_zero − CE_clean): 1 means nothing is lost, 0 that as much is
        lost as by zeros; NaN where zeros lose nothing."""
        span = self.ce_zero - self.ce_clean
        return (self.ce_zero - self.ce_spliced) / span if span else float("nan")


def splice(coder: Dictionary, reads: Reads = real, site: str = "") -> Edit:
    """An edit that replaces the activations that are read by their reconstruction.

    ``site`` is where, by default the dictionary's own.
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
    """An edit that sets the activations that are read to 0, the baseline."""
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
    """Measure by kind of the token that predicts; key 0 is all of them.

    Args:
        site: where to splice; by default the dictionary's own.
        reads: which positions; by default all but padding. Leave out first tokens: their norm is
            many times that of the others, and a dictionary that never saw them breaks the model.

    Raises:
        DictionaryError: the dictionary names no site, or nothing was predicted.
    """
    site = site or coder.site
    if not site:
        raise DictionaryError(f"Dictionary {coder.name!r} names no site: give one to splice it at.")
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
            batch_sums = stacked[:, kinds == kind].sum(1).cpu()
            sums[kind] = sums.get(kind, torch.zeros(5, dtype=torch.float64)) + batch_sums
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
    """(B, T − 1) next ids, and the kind of the token that predicts, 0 if it does not count.

    With ``pictured``, tokens before the first picture do not count.
    """
    ids = torch.as_tensor(np.stack([m.ids for m in batch.maps]), device=device)
    kinds = torch.as_tensor(np.stack([m.kinds for m in batch.maps]), device=device).long()
    counted = (kinds[:, :-1] != Kind.PAD) & (kinds[:, 1:] == Kind.TEXT)
    if pictured:
        counted &= (kinds[:, :-1] == Kind.IMAGE).cumsum(1) > 0
    return ids[:, 1:].clamp_min(0), torch.where(counted, kinds[:, :-1], 0)


@dataclass(frozen=True, slots=True)
class _Place:
    """The entries of a site's activations that a dictionary reads."""

    site: str
    reads: Reads

    def where(self, new: Tensor, old: Tensor, context: EditContext) -> Tensor:
        """``new`` where the dictionary reads, ``old`` elsewhere; both in the site's shape."""
        rows = np.stack([self.reads(m) != 0 for m in context.maps])
        if is_pictured(self.site):
            layout = VisionPatches.of(self.site, old, context.maps)
            read = torch.as_tensor(rows, device=old.device).unsqueeze(2)  # (B, T, 1)
            none = torch.zeros_like(old[..., :1], dtype=torch.bool)
            return torch.where(layout.gather(read, none), new, old)
        read = torch.as_tensor(rows[:, context.start :], device=new.device)[:, : new.shape[1]]
        if read.shape[1] < new.shape[1]:  # generated tokens, past the prompt's map, are all read
            generated = read.new_ones((len(read), new.shape[1] - read.shape[1]))
            read = torch.cat([read, generated], dim=1)
        return torch.where(read.unsqueeze(2), new, old)
