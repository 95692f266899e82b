"""Putting words into a model's mouth: probabilities of given tokens after a prompt.

Takes a prompt's batch and token ids that continue it; knows nothing of features. The maps
stay those of the prompt, so an edit sees the continuation as generated, exactly as it would
while decoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from semascope.errors import CausalError
from semascope.subject.types import Batch, Edits


class HasLogits(Protocol):
    """The part of a subject that scores tokens."""

    def logits(self, batch: Batch, *, edits: Edits = ...) -> Tensor:
        """(B, T, V)."""
        ...


def extend(batch: Batch, continuations: Sequence[Sequence[int]]) -> Batch:
    """The batch with each row continued by given ids, padded on the right.

    Right padding is invisible to a causal model: no real token can look at it. Raises
    CausalError where rows are padded on the right already.
    """
    ids: Tensor = batch.inputs["input_ids"]  # (B, T)
    if len(continuations) != len(ids):
        raise CausalError(f"{len(continuations)} continuations for {len(ids)} prompts.")
    if not bool(batch.mask[:, -1].all()):
        raise CausalError("Prompts that are padded on the right cannot be continued as a batch.")
    longest = max(map(len, continuations))
    tail = torch.zeros((len(ids), longest), dtype=ids.dtype)  # (B, L)
    real = torch.zeros_like(tail)
    for row, continuation in enumerate(continuations):
        tail[row, : len(continuation)] = torch.as_tensor(continuation, dtype=ids.dtype)
        real[row, : len(continuation)] = 1
    return replace(batch, inputs=_extended(batch.inputs, tail, real))


def _extended(inputs: Mapping[str, Any], tail: Tensor, real: Tensor) -> dict[str, Any]:
    """Inputs with (B, L) more tokens; type ids of text are 0, positions count on."""
    ids: Tensor = inputs["input_ids"]
    extended = dict(inputs)
    for name, value in inputs.items():
        if not isinstance(value, Tensor) or value.shape != ids.shape:
            continue
        if name == "input_ids":
            more = tail
        elif name == "attention_mask":
            more = real
        elif name == "position_ids":
            more = value[:, -1:].cpu() + torch.arange(1, tail.shape[1] + 1)
        else:
            more = torch.zeros_like(tail)
        extended[name] = torch.cat([value, more.to(value.device, value.dtype)], dim=1)
    return extended


def answer_logprobs(
    subject: HasLogits, batch: Batch, answers: Sequence[Sequence[int]], edits: Edits
) -> list[Tensor]:
    """For each row, (L_row, V) float32 log-probabilities, in nats, at each token of its answer.

    Row i of the result is the distribution from which the answer's token i would be drawn,
    given the prompt and the answer's tokens before it.
    """
    start = batch.inputs["input_ids"].shape[1] - 1
    with torch.no_grad():
        logits = subject.logits(extend(batch, answers), edits=edits)  # (B, T + L, V)
    return [
        logits[row, start : start + len(answer)].float().log_softmax(-1)
        for row, answer in enumerate(answers)
    ]


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """KL(before ‖ after) in nats over the last axis of two sets of log-probabilities."""
    kl = (before.exp() * (before - after)).nan_to_num(0.0)
    return kl.sum(-1).clamp_min(0.0)
