"""Forced tokens: probabilities of given tokens after a prompt.

Takes batches padded on the right (as ``Subject.encode`` makes them) and token ids that continue
their rows. Maps cover the prompts only, so that an edit sees every continuation as generated,
exactly as while decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.patches import VisionPatches
from semascope.subject.prefix import Begin
from semascope.subject.types import Batch, Edit, EditContext, Edits

Begins = Callable[[Any, Batch, Edits], Begin | None]
"""Where a pass of a batch under edits may resume (``PrefixCache.begin``)."""


@dataclass(frozen=True, slots=True, eq=False)
class ForcedTokens:
    """A batch whose rows are continued by given tokens."""

    batch: Batch
    """Rows of prompt, continuation, padding; the maps cover the prompts only."""
    ends: Tensor
    """(R,) int64: number of tokens of each prompt."""


def extend(batch: Batch, continuations: Sequence[Sequence[int]]) -> ForcedTokens:
    """Continue each row by given ids (none: ``()``), still padded on the right.

    Right padding is invisible to a causal model: no real token can look at it. Raises
    CausalError where rows are padded on the left.
    """
    ids: Tensor = batch.inputs["input_ids"]  # (R, T)
    if len(continuations) != len(ids):
        raise CausalError(f"{len(continuations)} continuations for {len(ids)} prompts.")
    if not bool(batch.mask[:, 0].all()):
        raise CausalError("Prompts that are padded on the left cannot be continued as a batch.")
    ends = batch.mask.sum(1).cpu()  # (R,)
    total = max(int(e) + len(c) for e, c in zip(ends, continuations, strict=True))
    inputs: dict[str, Any] = {}
    for name, value in batch.inputs.items():
        if isinstance(value, Tensor) and value.shape == ids.shape:
            inputs[name] = _continued(name, value, ends, continuations, total)
        else:
            inputs[name] = value
    maps = tuple(m.at(slice(0, int(end))) for m, end in zip(batch.maps, ends, strict=True))
    return ForcedTokens(replace(batch, inputs=inputs, maps=maps), ends)


def _continued(
    name: str, value: Tensor, ends: Tensor, continuations: Sequence[Sequence[int]], total: int
) -> Tensor:
    """(R, T) -> (R, total) one per-token input; type ids of text are 0."""
    result = value.new_zeros((len(value), total))
    for row, (end, continuation) in enumerate(zip(ends.tolist(), continuations, strict=True)):
        stop = end + len(continuation)
        result[row, :end] = value[row, :end]
        if name == "input_ids":
            result[row, end:stop] = torch.as_tensor(continuation, dtype=value.dtype)
        elif name == "attention_mask":
            result[row, end:stop] = 1
        elif name == "position_ids" and end:
            result[row, end:] = value[row, end - 1] + torch.arange(1, total - end + 1)
    return result


def repeat(batch: Batch, copies: int) -> Batch:
    """Each prompt ``copies`` times, the copies next to each other.

    Inputs that are not one row a prompt (flattened tiles, say) are repeated whole, which is
    right for a single prompt only. Raises CausalError where that would mix pictures up.
    """
    rows = len(batch.maps)
    if copies == 1:
        return batch
    inputs: Mapping[str, Any] = {
        name: _repeated(name, value, rows, copies) if isinstance(value, Tensor) else value
        for name, value in batch.inputs.items()
    }
    maps = tuple(m for m in batch.maps for _ in range(copies))
    ids = tuple(i for i in batch.sample_ids for _ in range(copies))
    return Batch(inputs=inputs, maps=maps, sample_ids=ids)


def _repeated(name: str, value: Tensor, rows: int, copies: int) -> Tensor:
    """One input with each prompt's rows repeated."""
    if rows == 1:
        return value.repeat(copies, *[1] * (value.ndim - 1))
    if value.shape[0] == rows:
        return value.repeat_interleave(copies, dim=0)
    raise CausalError(
        f"'{name}' does not hold one row a prompt, so several prompts cannot be copied together: "
        "give them one at a time."
    )


def parting(subject: Subject, forced: ForcedTokens, edits: Edits) -> str:
    """The site where copies of one prompt first differ, if what is before it can be run once.

    Empty where it cannot: several rows, nothing edited, or a subject or site that does not allow
    it (``Subject.can_fork``).
    """
    if len(forced.ends) != 1 or not edits:
        return ""
    first = next(site for site in subject.hooks if site in edits)
    return first if subject.can_fork(first) else ""


def answer_logprobs(
    subject: Subject,
    batch: Batch,
    answers: Sequence[Sequence[int]],
    edits: Edits,
    begins: Begins | None = None,
) -> list[Tensor]:
    """For each row, (L_row, V) float32 log-probabilities, in nats, at each token of its answer.

    Row i of the result is the distribution from which the answer's token i would be drawn,
    given the prompt and the answer's tokens before it. ``begins`` says where the pass may begin.
    """
    forced = extend(batch, answers)
    start = int(forced.ends.min()) - 1  # nothing is read of logits before it
    begin = begins(subject, forced.batch, edits) if begins is not None else None
    with torch.no_grad():
        logits: Tensor = subject.logits(
            forced.batch, edits=edits, start=start, begin=begin
        )  # (R, T', V)
    return [
        logits[row, end : end + len(answer)].float().log_softmax(-1)
        for row, (end, answer) in enumerate(
            zip((forced.ends - 1 - start).tolist(), answers, strict=True)
        )
    ]


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """(…, V) two sets of log-probabilities -> (…,) KL(before ‖ after), in nats."""
    kl = (before.exp() * (before - after)).nan_to_num(0.0)
    return kl.sum(-1).clamp_min(0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Remove:
    """An edit that subtracts a fixed tensor, after another edit of the same site."""

    part: Tensor
    """(R, T, d)"""
    before: Edit | None = None

    def __call__(self, x: Tensor, context: EditContext) -> Tensor:
        if self.before is not None:
            x = self.before(x, context)
        part = self.part.to(x.device, x.dtype)
        if x.shape[:-1] != part.shape[:-1]:  # a site of the vision side: patches, not tokens
            part = VisionPatches.of("this site", x, context.maps).gather(part, torch.zeros_like(x))
        return x - part
