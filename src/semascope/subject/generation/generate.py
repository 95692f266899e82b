"""Generates answers token by token, with the distribution of each token.

This is our own greedy or sampling loop over the model's forward pass (``decoding``), so that edits
act at prefill and at every generated token, a sink can stop it anywhere, and the model can be used
between two tokens.
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
    """Number of alternatives reported for each token."""
    top_p: float = 1.0
    """Nucleus sampling (Holtzman et al. 2020): draw from the fewest most likely tokens whose
    probabilities sum to this. 1 draws from all."""


@dataclass(slots=True)
class _Answer:
    """One row during generation."""

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
    """Answer every row of a left-padded batch. Edits, if any, are already hooked."""
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
    """``generate`` as a generator: yields after each token of all rows, returns the answers.

    Each row has its own random generator, so an answer does not depend on the other rows.
    ``decodes`` says whether the model's cache is used.
    """
    rows = len(batch.maps)
    answers = [_Answer() for _ in range(rows)]
    draws = [torch.Generator().manual_seed(sampling.seed) for _ in range(rows)]
    listeners = [*sinks, *[None] * (rows - len(sinks))]
    stream = DecodingStream(model, batch.inputs, cached=decodes.cached, masked=decodes.masked)
    logits = stream.prefill()  # (B, V)
    for step in range(sampling.max_new_tokens):
        ids = _choose(_text_only(logits, encoder), sampling, draws)
        choices = _choices(logits, ids, sampling.top, encoder, eos)
        for n, choice in enumerate(choices):
            _extend(answers[n], choice, eos, listeners[n])
        if all(answer.stopped for answer in answers) or step + 1 == sampling.max_new_tokens:
            break
        yield
        logits = stream.decode(ids)
    prompts = batch.mask.sum(1).tolist()
    return [_finish(a, int(p), encoder, eos) for a, p in zip(answers, prompts, strict=True)]


def _text_only(logits: Tensor, encoder: Encoder) -> Tensor:
    """(B, V) logits without image and video tokens: an answer with one could not be read again,
    as it would need a picture."""
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
    """(B, V) probabilities without the tail past ``top_p``; the most likely token always stays."""
    ordered, places = shares.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered  # (B, V) probability of more likely tokens
    return torch.zeros_like(shares).scatter(-1, places, ordered * (before < max(top_p, 1e-12)))


def _choices(
    logits: Tensor, ids: Tensor, top: int, encoder: Encoder, eos: frozenset[int]
) -> list[TokenChoice]:
    """Each row's token with its log-probability, the most likely tokens and the entropy in nats."""
    logp = logits.log_softmax(-1)  # (B, V)
    entropy = (logp.exp() * -logp.clamp(min=-1e4)).sum(-1).tolist()
    best = logp.topk(min(top, logp.shape[-1]), dim=-1)
    chosen = logp.gather(1, ids[:, None])[:, 0].tolist()
    out = []
    for n, token in enumerate(ids.tolist()):
        rivals = zip(best.indices[n].tolist(), best.values[n].tolist(), strict=True)
        top_tokens = tuple((i, encoder.text(i), lp) for i, lp in rivals)
        words, ends = encoder.text(token), token in eos
        out.append(TokenChoice(token, words, chosen[n], top_tokens, entropy[n], ends))
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
