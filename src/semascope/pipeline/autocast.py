"""A subject whose passes over a corpus multiply in bfloat16, where that is worth it.

Processors with bfloat16 units multiply it more than twice as fast as float32. The weights, what
runs along the residual stream and all sums stay float32 (``torch.autocast``), so that of the
embedded model's activations no more than a ten-thousandth of the variance changes. It is for
reading much: answers, attribution and steering run in the subject's own precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from semascope.dictionary.kernels.topk_bf16 import has_fast_bf16

if TYPE_CHECKING:
    from torch import Tensor

    from semascope.config import TrainOptions
    from semascope.subject.model import Subject
    from semascope.subject.protocols import ActivationSource
    from semascope.subject.types import Batch


def reader(subject: Subject, options: TrainOptions) -> ActivationSource:
    """What reads the corpus to train, gather and score: the subject, or it in bfloat16."""
    return AutocastSubject(subject) if halves(subject, options) else subject


def halves(subject: ActivationSource, options: TrainOptions) -> bool:
    """Whether products are in bfloat16 while a corpus is read.

    By itself only where the processor says that it is faster, and no precision was asked for.
    """
    if options.autocast != "auto":
        return options.autocast == "on"
    own = subject.dtype == torch.float32 and options.dtype == "auto"
    return own and has_fast_bf16(torch.device(subject.device))


class AutocastSubject:
    """A subject whose ``run`` multiplies in bfloat16; in all else the subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def run(self, batch: Batch, sites: Sequence[str], **more: Any) -> Mapping[str, Tensor]:
        """As the subject's own, and in its dtype."""
        with torch.autocast(torch.device(self.subject.device).type, torch.bfloat16):
            found = self.subject.run(batch, sites, **more)
        return {site: x.to(self.subject.dtype) for site, x in found.items()}
