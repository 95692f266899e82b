"""The forward passes of the checks, each made once: two prompts, alone and in a batch.

If the subject reads pictures, the first prompt has one and the second two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semascope.corpus.sample import Sample
from semascope.errors import SubjectError
from semascope.subject import hooks
from semascope.subject.generation.decoding import DecodingStream, grown, tolerance
from semascope.subject.model import Subject
from semascope.subject.patches import is_pictured
from semascope.subject.types import Batch, EditContext, Side

WORDS = (
    "A red circle is to the left of the blue square.",
    "How many birds do you see there, and which of them is nearest to the old house?",
)
SIZE = (96, 64)
STEPS = 1


@dataclass(frozen=True, slots=True, eq=False)
class CheckedPass:
    """One forward pass over a whole batch."""

    batch: Batch
    logits: Tensor
    """(B, T, V)."""
    sites: dict[str, Tensor]
    hidden: tuple[Tensor, ...] | None
    """transformers' hidden states, (B, T, d) each; None if the model returns none."""


class CheckedSubject:
    """A subject and the forward passes of its checks."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.tolerance = tolerance(subject.model)

    @cached_property
    def samples(self) -> list[Sample]:
        """Two samples of different lengths, with one picture and two if the subject reads pictures.

        If it reads one picture at most, each has one.
        """
        if not self.subject.has_vision:
            return _samples(0, 0)
        try:
            self.subject.encode(_samples(1, 2)[1:], max_tokens=None)
        except SubjectError:
            return _samples(1, 1)
        return _samples(1, 2)

    @cached_property
    def alone(self) -> list[CheckedPass]:
        """Each sample by itself."""
        return [self.run([sample], "right") for sample in self.samples]

    @cached_property
    def right(self) -> CheckedPass:
        """Both in one batch, the shorter padded on the right."""
        return self.run(self.samples, "right")

    @cached_property
    def left(self) -> CheckedPass:
        """Both in one batch, the shorter padded on the left."""
        return self.run(self.samples, "left")

    def run(self, samples: list[Sample], side: Side) -> CheckedPass:
        """One pass, with every site and the logits of every position."""
        return self.over(self.subject.encode(samples, max_tokens=None, side=side))

    def over(self, batch: Batch) -> CheckedPass:
        """One pass over a batch."""
        subject = self.subject
        names = list(subject.hooks)
        with torch.no_grad(), hooks.capture(subject.hooks, names, stop=False) as kept:
            out = subject.model(
                **batch.inputs, use_cache=False, return_dict=True, output_hidden_states=True
            )
        return CheckedPass(batch, out.logits.float(), kept, getattr(out, "hidden_states", None))

    @cached_property
    def longer(self) -> Tensor:
        """(T + 1, V) logits of one whole pass over the first sample and one more token."""
        subject, inputs = self.subject, self.alone[0].batch.inputs
        mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 1), value=1)
        longer = grown(subject.model, inputs, self.next_token, mask)
        with torch.no_grad():
            out = subject.model(**longer, use_cache=False, return_dict=True)
        found: Tensor = out.logits[0].float()
        return found

    @property
    def next_token(self) -> Tensor:
        """(1,) the token that follows the first sample."""
        return torch.tensor(self.subject.words[:1], device=self.subject.device)

    @cached_property
    def decoded(self) -> tuple[Tensor, list[tuple[int, int]]]:
        """(V,) logits after that token by decoding, and (start, tokens) that an edit received at
        each pass."""
        subject = self.subject
        site = list(subject.hooks)[-1]
        starts: list[tuple[int, int]] = []

        def note(x: Tensor, context: EditContext) -> Tensor:
            starts.append((context.start, x.shape[1]))
            return x

        batch, how = self.alone[0].batch, subject.decodes
        stream = DecodingStream(subject.model, batch.inputs, cached=how.cached, masked=how.masked)
        with subject.editing({site: note}, batch.maps):
            stream.prefill()
            return stream.decode(self.next_token)[0], starts

    def is_token_site(self, name: str) -> bool:
        """Whether a site holds one vector for each token of the prompt."""
        return not is_pictured(name)


def _samples(*pictures: int) -> list[Sample]:
    """A sample for each count of pictures."""
    return [
        Sample(f"check-{n}", text=text, images=tuple(_picture(n + k) for k in range(count)))
        for n, (text, count) in enumerate(zip(WORDS, pictures, strict=True))
    ]


def unpadded(x: Tensor, mask: Tensor) -> Tensor:
    """(T, …) one row without padding."""
    return x[mask.to(x.device)]


def _picture(seed: int) -> Image.Image:
    """A picture of smooth colours, another for each seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(SIZE, Image.Resampling.BILINEAR)
