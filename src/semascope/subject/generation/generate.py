"""Answers, token by token, with the distribution that each token came from.

A greedy or sampling loop of our own over the model's forward pass (``decoding``), so that edits
act at prefill and at every generated token alike and a sink may stop it anywhere. It can be taken
a token at a time, and the model may do other things between two of them.
Knows a batch and how tokens are chosen; nothing of what the edits are.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from semascope.subject.generation.decoding import DecodingPlan, DecodingStream
from semascope.subject.inputs.encoding import Encoder
from semascope.subject.types import Batch, Generation, TokenChoice, TokenSink

USUAL = DecodingPlan(cached=True, batched=True)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    """0 takes the likeliest token."""
    seed: int = 0
    top: int = 5
    """How many alternatives are told for each token."""
    top_p: float = 1.0
    """Nucleus sampling (Holtzman et al. 2020): draw from the fewest tokens, likeliest first, whose
    probabilities reach this share. 1 draws from all."""


@dataclass(slots=True)
class _Answer:
    """One row as it grows."""

    tokens: list[TokenChoice] = field(default_factory=list)
    stopped: str = ""


def generate(
    model: Any,
    encoder: Encoder,
    batch: Batch,
    sampling: Sampling,
    *,
    eos: frozenset[int],
    sinks: Sequence[TokenSink | None] = (),
    decodes: DecodingPlan = USUAL,
) -> list[Generation]:
    """Answer every row of a left-padded batch. Hooks, if any, are already on."""
    steps = generating(model, encoder, batch, sampling, eos=eos, sinks=sinks, decodes=decodes)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            answers: list[Generation] = done.value
            return answers


def generating(
    model: Any,
    encoder: Encoder,
    batch: Batch,
    sampling: Sampling,
    *,
    eos: frozenset[int],
    sinks: Sequence[TokenSink | None] = (),
    decodes: DecodingPlan = USUAL,
) -> Generator[None, None, list[Generation]]:
    """The same, a token of each row at a time; the answers are what it returns.

    Each row draws from its own generator, so an answer does not depend on its neighbours.
    ``decodes`` says whether the model's cache is used.
    """
    rows = len(batch.maps)
    answers = [_Answer() for _ in range(rows)]
    draws = [torch.Generator().manual_seed(sampling.seed) for _ in range(rows)]
    listeners = [*sinks, *[None] * (rows - len(sinks))]
    stream = DecodingStream(model, batch.inputs, cached=decodes.cached, masked=decodes.masked)
    logits = stream.prefill()  # (B, V)
    for step in range(sampling.max_new_tokens):
        ids = _choose(_sayable(logits, encoder), sampling, draws)
        told = _told(logits, ids, sampling.top, encoder, eos)
        for n, choice in enumerate(told):
            _extend(answers[n], choice, eos, listeners[n])
        if all(answer.stopped for answer in answers) or step + 1 == sampling.max_new_tokens:
            break
        yield
        logits = stream.decode(ids)
    prompts = batch.mask.sum(1).tolist()
    return [_finish(a, int(p), encoder, eos) for a, p in zip(answers, prompts, strict=True)]


def _sayable(logits: Tensor, encoder: Encoder) -> Tensor:
    """(B, V) logits by which a token is chosen: an answer never holds the tokens that stand for
    pictures and videos, or whoever reads on from it would look for a picture there."""
    ids = [i for i in encoder.shown_ids if i < logits.shape[-1]]
    return (
        logits.index_fill(-1, torch.tensor(ids, device=logits.device), -torch.inf)
        if ids
        else logits
    )


def _choose(logits: Tensor, sampling: Sampling, draws: list[torch.Generator]) -> Tensor:
    """(B,) the next token of each row."""
    if sampling.temperature <= 0:
        return logits.argmax(-1)
    shares = (logits / sampling.temperature).softmax(-1).cpu()
    if sampling.top_p < 1:
        shares = _nucleus(shares, sampling.top_p)
    picked = [torch.multinomial(p, 1, generator=g) for p, g in zip(shares, draws, strict=True)]
    return torch.cat(picked).to(logits.device)


def _nucleus(shares: Tensor, top_p: float) -> Tensor:
    """(B, V) probabilities without the tail past ``top_p``; the likeliest token always stays."""
    ordered, places = shares.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered  # (B, V) the share of likelier tokens
    return torch.zeros_like(shares).scatter(-1, places, ordered * (before < max(top_p, 1e-12)))


def _told(
    logits: Tensor, ids: Tensor, top: int, encoder: Encoder, eos: frozenset[int]
) -> list[TokenChoice]:
    """Each row's token with its log-probability, its rivals and the entropy, in nats."""
    logp = logits.log_softmax(-1)  # (B, V)
    entropy = (logp.exp() * -logp.clamp(min=-1e4)).sum(-1).tolist()
    best = logp.topk(min(top, logp.shape[-1]), dim=-1)
    chosen = logp.gather(1, ids[:, None])[:, 0].tolist()
    out = []
    for n, token in enumerate(ids.tolist()):
        rivals = zip(best.indices[n].tolist(), best.values[n].tolist(), strict=True)
        told = tuple((i, encoder.text(i), lp) for i, lp in rivals)
        words, ends = encoder.text(token), token in eos
        out.append(TokenChoice(token, words, chosen[n], told, entropy[n], ends))
    return out


def _extend(
    answer: _Answer, choice: TokenChoice, eos: frozenset[int], sink: TokenSink | None
) -> None:
    if answer.stopped:
        return
    answer.tokens.append(choice)
    if sink is not None and sink(choice):
        answer.stopped = "cancelled"
    elif choice.id in eos:
        answer.stopped = "eos"


def _finish(answer: _Answer, prompt: int, encoder: Encoder, eos: frozenset[int]) -> Generation:
    ids = [choice.id for choice in answer.tokens if choice.id not in eos]
    text = encoder.tokenizer.decode(ids, skip_special_tokens=True)
    return Generation(text, tuple(answer.tokens), prompt, answer.stopped or "length")
