"""A cache of the first layers' output, for prompts that run again under other edits.

A search tries hundreds of interventions on the same few prompts, all of them at the same site or
later, so the layers before it and the vision tower run once.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from semascope.causal.attribution.pass_cache import base_of
from semascope.subject.model import Subject
from semascope.subject.prefix import Begin, ends_alike, key_of_inputs
from semascope.subject.types import Batch, Edits

MOST = 1 << 28
"""Default bytes of a cache."""


class PrefixCache:
    """The residual streams used last, at most ``most`` bytes of them.

    Nothing is cached for a model that cannot resume mid-stack (its layers take more than the
    residual stream): the first resumed pass is compared with a full one, for each kind of input.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._proved: dict[tuple[str, ...], bool] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def begin(self, subject: Subject, batch: Batch, edits: Edits) -> Begin | None:
        """Where a pass of this batch under these edits may resume; None to run it whole."""
        site = base_of(subject, (), edits) if edits else ""
        kind = (site, str(id(subject)), *sorted(batch.inputs))
        if not site or self._proved.get(kind) is False:
            return None
        key = key_of_inputs(batch.inputs, (id(subject), site))
        if key not in self._kept:
            with torch.no_grad():
                self._kept[key] = subject.run(batch, [site])[site]
        self._kept.move_to_end(key)
        x = self._kept[key]
        while sum(map(_bytes, self._kept.values())) > self.most and self._kept:
            self._kept.popitem(last=False)
        if kind not in self._proved:
            self._proved[kind] = _same(subject, batch, (site, x))
        return (site, x) if self._proved[kind] else None


def _bytes(x: Tensor) -> int:
    return x.element_size() * x.nelement()


def _same(subject: Subject, batch: Batch, begin: Begin) -> bool:
    """Whether a pass that resumes there gives the logits of a full one."""
    last = batch.inputs["input_ids"].shape[1] - 1
    return ends_alike(
        lambda: subject.logits(batch, start=last, begin=begin),
        lambda: subject.logits(batch, start=last),
    )
