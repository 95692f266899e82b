"""A conversation as the model reads it, and the token of it to explain.

``Conversation`` holds the prompt, the answer so far and the interventions; ``TokenTarget`` is the
metric of one token at one position; ``read_tokens`` gives the probability of every token. A
``PassCache`` caches the forward pass for the next question about the same conversation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.causal.attribution.forced_tokens import ForcedTokens, extend
from semascope.causal.attribution.pass_cache import CachedPass, PassCache, key_of
from semascope.causal.attribution.watched_run import sites_of
from semascope.causal.steering.interventions import Intervention, Where, dump
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.causal.steering.token_masks import select
from semascope.corpus.sample import Sample
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.types import PICTURE_KINDS, Batch, Edits, Kind, Role, TokenMap

_ROWS = 64
"""Positions whose full distributions are in memory at a time."""


@dataclass(frozen=True, eq=False)
class Conversation:
    """A conversation, the ids that followed it, and the interventions it runs under."""

    steerable: SteerableModel
    """The model with the dictionaries that are explained."""
    sample: Sample
    prefill: str = ""
    answer: tuple[int, ...] = ()
    interventions: tuple[Intervention, ...] = ()
    pass_cache: PassCache | None = None
    """Caches forward passes between questions; one cache serves one model."""
    editable: SteerableModel | None = None
    """The model with all dictionaries that interventions name; None: only those explained."""

    @cached_property
    def batch(self) -> Batch:
        """The prompt alone."""
        batch: Batch = self.steerable.subject.encode(
            [self.sample], answer=self.prefill, max_tokens=None
        )
        return batch

    @cached_property
    def whole(self) -> ForcedTokens:
        """The prompt and the answer."""
        return extend(self.batch, [self.answer])

    @cached_property
    def edits(self) -> Edits:
        """Edits for ``interventions``, by site."""
        return self.edits_of(self.interventions)

    def edits_of(self, interventions: Sequence[Intervention]) -> Edits:
        """Edits for these interventions alone. CausalError where they cannot be done."""
        return (self.editable or self.steerable).edits(interventions)

    def cached_pass(self, make: bool = True) -> CachedPass | None:
        """The cached pass over prompt and answer; ``make`` runs and caches it, if possible."""
        if self.pass_cache is None:
            return None
        cached = self.pass_cache.get(self._key, self.whole)
        if cached is None and make:
            subject, sites = self.steerable.subject, self._sites
            cached = self.pass_cache.make(self._key, subject, self.whole, sites, self.edits)
        return cached

    @cached_property
    def _sites(self) -> list[str]:
        return sites_of(self.steerable.dictionaries.values())[0]

    @cached_property
    def _key(self) -> str:
        changes = json.dumps(dump(self.interventions)) if self.edits else ""
        return key_of(self.steerable.subject, self.whole, self._sites, changes)

    @property
    def map(self) -> TokenMap:
        """Token map of the prompt."""
        return self.batch.maps[0]

    @property
    def total(self) -> int:
        """Number of tokens of prompt and answer together."""
        return len(self.map) + len(self.answer)

    def text(self, position: int) -> str:
        """One token as text; empty for image tokens."""
        if position >= len(self.map):
            return str(self.steerable.subject.encoder.text(self.answer[position - len(self.map)]))
        return "" if self.map.kinds[position] in PICTURE_KINDS else self.map.tokens[position]

    def chosen(self, where: Where) -> NDArray[np.bool_]:
        """(total,) bool: positions that ``where`` selects. CausalError if it selects none."""
        mask = select(where, self.map, self.total)[: self.total]
        if not mask.any():
            raise CausalError("No token of this conversation is selected: choose other tokens.")
        return mask


@dataclass(frozen=True, slots=True)
class TokenTarget:
    """Metric: log-probability, in nats, of one token at one position.

    With ``against``, its logit minus that of another token at the same position.
    """

    position: int
    token: int
    before: tuple[int, ...] = ()
    """The answer's tokens before the position."""
    against: int | None = None
    back: int = 0
    """Number of tokens from the position to the end of the prompt; negative in the answer."""

    @property
    def name(self) -> str:
        """Name of the metric."""
        return "logprob" if self.against is None else "logit_diff"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        """One copy of the prompt, continued to the position."""
        return (self.before,)

    def measure(self, logits: Tensor, ends: Tensor) -> Tensor:
        """(1, T, V) -> (1,)."""
        at = int(ends[0]) - self.back - 1
        row = logits[:, at].float()  # (1, V)
        if self.against is None:
            return row.log_softmax(-1)[:, self.token]
        return row[:, self.token] - row[:, self.against]

    def probability(self, conversation: Conversation, edits: Edits) -> float:
        """Probability of the token under ``edits``: one forward pass, or a cached part of it."""
        unchanged = edits is conversation.edits
        cached, start = conversation.cached_pass(make=unchanged), self.position - 1
        forced = extend(conversation.batch, [self.before])
        with torch.no_grad():
            if cached is not None and unchanged:
                logits = cached.logits(start, start + 1)
            else:
                length = forced.batch.inputs["input_ids"].shape[1]
                begin = None if cached is None else cached.begin(edits, length)
                logits = conversation.steerable.subject.logits(
                    forced.batch, edits=edits, start=start, begin=begin
                )
        return float(logits[0, 0].float().softmax(-1)[self.token])


def token_target(
    conversation: Conversation, position: int | None = None, against: int | None = None
) -> TokenTarget:
    """The metric of one token, by default the answer's last, or the likeliest next one.

    Args:
        conversation: prompt and answer.
        position: of the token, counted over prompt and answer.
        against: id of a rival token, for a logit difference.

    Raises:
        CausalError: position 0 or out of range, an image token, or an id that is no token.
    """
    start = len(conversation.map)
    check_ids(
        conversation.steerable.subject,
        (*conversation.answer, *(() if against is None else (against,))),
    )
    if position is None:
        if not conversation.answer:
            return TokenTarget(start, _likeliest(conversation), (), against)
        position = conversation.total - 1
    if not 1 <= position < conversation.total:
        raise CausalError(
            f"There is no token to explain at position {position}: give one from 1 to "
            f"{conversation.total - 1}."
        )
    if position >= start:
        at = position - start
        return TokenTarget(
            position, conversation.answer[at], conversation.answer[:at], against, start - position
        )
    if conversation.map.kinds[position] in PICTURE_KINDS:
        raise CausalError(
            "Image tokens are not predicted, so none can be explained: use mode activation to see "
            "what fires there, or restrict the features to that place (at)."
        )
    return TokenTarget(position, int(conversation.map.ids[position]), (), against, start - position)


def check_ids(subject: Subject, ids: Sequence[int]) -> None:
    """Raise CausalError for an id outside the vocabulary, or that of an image token."""
    vocabulary = int(subject.embeddings().shape[0])
    if any(not 0 <= i < vocabulary for i in ids):
        raise CausalError(f"Token ids of this model are 0 to {vocabulary - 1}.")
    for i in ids:
        if i in subject.encoder.shown_ids:
            raise CausalError(f"Token {i} is an image token, which no answer contains.")


def _likeliest(conversation: Conversation) -> int:
    cached = conversation.cached_pass()
    with torch.no_grad():
        if cached is not None:
            return int(
                cached.logits(len(conversation.map) - 1, len(conversation.map))[0, 0].argmax()
            )
        logits = conversation.steerable.subject.logits(
            conversation.batch, edits=conversation.edits, start=len(conversation.map) - 1
        )
    return int(logits[0, 0].argmax())


@dataclass(frozen=True, slots=True)
class ConversationToken:
    """One token of a conversation with its probability."""

    id: int
    text: str
    kind: str
    role: str
    logprob: float | None
    """Log-probability of the token, nats; None for the first token and for image tokens."""
    entropy: float | None
    """Entropy of the distribution that predicts it, nats."""
    top: tuple[tuple[int, str, float], ...]
    """(id, text, log-probability) of the likeliest tokens at this position."""
    image: int | None
    rect: tuple[float, float, float, float] | None


def read_tokens(conversation: Conversation, top: int = 5) -> list[ConversationToken]:
    """Every token of prompt and answer with its own probability, under the interventions."""
    subject = conversation.steerable.subject
    check_ids(subject, conversation.answer)
    cached = conversation.cached_pass(make=False)
    with torch.no_grad():
        logits = (
            cached.logits(0, conversation.total)
            if cached is not None
            else subject.logits(conversation.whole.batch, edits=conversation.edits)
        )[0]  # (T, V)
    ids = [*conversation.map.ids.tolist(), *conversation.answer]
    tokens: list[ConversationToken] = []
    for first in range(0, conversation.total, _ROWS):
        # The row before a token predicts it; the first token has none.
        rows = logits[max(0, first - 1) : min(first + _ROWS, conversation.total) - 1].float()
        logp = rows.log_softmax(-1)
        begin = max(1, first)
        if first == 0:
            tokens.append(_token(conversation, ids, 0, None, 0))
        tokens += [_token(conversation, ids, begin + n, row, top) for n, row in enumerate(logp)]
    return tokens


def _token(
    conversation: Conversation, ids: Sequence[int], position: int, logp: Tensor | None, top: int
) -> ConversationToken:
    """One token; ``logp``, (V,), are the log-probabilities that predict it."""
    prompt = position < len(conversation.map)
    kind = Kind(int(conversation.map.kinds[position])) if prompt else Kind.TEXT
    role = Role(int(conversation.map.roles[position])) if prompt else Role.ASSISTANT
    pictured = kind in PICTURE_KINDS
    rect = conversation.map.rects[position] if prompt and pictured else None
    predicted = None if pictured else logp
    rivals: tuple[tuple[int, str, float], ...] = ()
    if predicted is not None and top:
        best = predicted.topk(min(top, len(predicted)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        rivals = tuple((i, conversation.steerable.subject.encoder.text(i), p) for i, p in pairs)
    return ConversationToken(
        id=int(ids[position]),
        text=conversation.text(position),
        kind=kind.name.lower(),
        role=role.name.lower(),
        logprob=None if predicted is None else float(predicted[ids[position]]),
        entropy=None
        if predicted is None
        else float(-(predicted.exp() * predicted.clamp_min(-1e4)).sum()),
        top=rivals,
        image=int(conversation.map.image[position]) if prompt and pictured else None,
        rect=tuple(float(v) for v in rect)  # type: ignore[arg-type]  # four of them
        if rect is not None and bool(np.isfinite(rect).all())
        else None,
    )
