"""One conversation as the model reads it, and the token of it that is asked about.

``Conversation`` holds the prompt, the answer so far and what is changed meanwhile; ``TokenTarget``
is the metric of one token at one position; ``read_tokens`` tells every token's own probability.
With a ``PassCache`` the forward pass is kept for the next question about the same conversation.
Knows subjects and interventions; nothing of pages, words or clusters.
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
from semascope.subject.types import Batch, Edits, Kind, Role, TokenMap

SEEN = (Kind.IMAGE, Kind.TILE, Kind.NEWLINE)
_ROWS = 64
"""Positions whose whole distributions are held at a time."""


@dataclass(frozen=True, eq=False)
class Conversation:
    """A conversation, the ids that followed it, and the interventions it runs under."""

    steerable: SteerableModel
    sample: Sample
    prefill: str = ""
    answer: tuple[int, ...] = ()
    interventions: tuple[Intervention, ...] = ()
    holder: PassCache | None = None
    """What keeps passes between questions; it serves one steerable."""

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
        """Of the interventions."""
        return self.steerable.edits(self.interventions)

    def held(self, make: bool = True) -> CachedPass | None:
        """The pass of prompt and answer, if it is held; ``make`` holds it, if that can be."""
        if self.holder is None:
            return None
        found = self.holder.get(self._key, self.whole)
        if found is None and make:
            subject, sites = self.steerable.subject, self._sites
            found = self.holder.make(self._key, subject, self.whole, sites, self.edits)
        return found

    @cached_property
    def _sites(self) -> list[str]:
        return sites_of(self.steerable.dictionaries.values())[0]

    @cached_property
    def _key(self) -> str:
        changes = json.dumps(dump(self.interventions)) if self.edits else ""
        return key_of(self.steerable.subject, self.whole, self._sites, changes)

    @property
    def map(self) -> TokenMap:
        """Of the prompt."""
        return self.batch.maps[0]

    @property
    def total(self) -> int:
        """Tokens of prompt and answer together."""
        return len(self.map) + len(self.answer)

    def text(self, position: int) -> str:
        """One token as text; empty where it is of a picture."""
        if position >= len(self.map):
            return str(self.steerable.subject.encoder.text(self.answer[position - len(self.map)]))
        return "" if self.map.kinds[position] in SEEN else self.map.tokens[position]

    def chosen(self, where: Where) -> NDArray[np.bool_]:
        """(total,) the positions that ``where`` means; CausalError where it means none."""
        mask = select(where, self.map, self.total)[: self.total]
        if not mask.any():
            raise CausalError("No token of this conversation is meant: choose others.")
        return mask


@dataclass(frozen=True, slots=True)
class TokenTarget:
    """Log-probability, in nats, of one token at one position, given all that stands before it.

    With ``against``, its logit less that of another token there.
    """

    position: int
    token: int
    before: tuple[int, ...] = ()
    """The answer's tokens before the position."""
    against: int | None = None
    back: int = 0
    """How many tokens before the prompt's end the position is; below 0 in the answer."""

    @property
    def name(self) -> str:
        """What a table calls it."""
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

    def probability(self, asked: Conversation, edits: Edits) -> float:
        """Of the token under ``edits``: one forward pass, or less of it where one is held."""
        own = edits is asked.edits
        held, start = asked.held(make=own), self.position - 1
        forced = extend(asked.batch, [self.before])
        with torch.no_grad():
            if held is not None and own:
                logits = held.logits(start, start + 1)
            else:
                length = forced.batch.inputs["input_ids"].shape[1]
                begin = None if held is None else held.begin(edits, length)
                logits = asked.steerable.subject.logits(
                    forced.batch, edits=edits, start=start, begin=begin
                )
        return float(logits[0, 0].float().softmax(-1)[self.token])


def said(
    asked: Conversation, position: int | None = None, against: int | None = None
) -> TokenTarget:
    """The token asked about: at a position, or the answer's last, or the one that would come next.

    Raises CausalError for a position that nothing stands before, or that holds a picture.
    """
    start = len(asked.map)
    check_ids(asked.steerable.subject, (*asked.answer, *(() if against is None else (against,))))
    if position is None:
        if not asked.answer:
            return TokenTarget(start, _likeliest(asked), (), against)
        position = asked.total - 1
    if not 1 <= position < asked.total:
        raise CausalError(
            f"There is no token to ask about at position {position}: name one of 1 … "
            f"{asked.total - 1}."
        )
    if position >= start:
        at = position - start
        return TokenTarget(position, asked.answer[at], asked.answer[:at], against, start - position)
    if asked.map.kinds[position] in SEEN:
        raise CausalError(
            "A token of a picture is not predicted, so nothing speaks for it: ask what fires there "
            "(mode activation), or name it as the place whose features count (at)."
        )
    return TokenTarget(position, int(asked.map.ids[position]), (), against, start - position)


def check_ids(subject: Subject, ids: Sequence[int]) -> None:
    """CausalError for an id that the subject has no token for, or that stands for a picture."""
    vocabulary = int(subject.embeddings().shape[0])
    if any(not 0 <= i < vocabulary for i in ids):
        raise CausalError(f"A token's id lies in 0 … {vocabulary - 1}.")
    for i in ids:
        if i in subject.encoder.shown_ids:
            raise CausalError(f"Token {i} stands for a picture: no answer holds it.")


def _likeliest(asked: Conversation) -> int:
    held = asked.held()
    with torch.no_grad():
        if held is not None:
            return int(held.logits(len(asked.map) - 1, len(asked.map))[0, 0].argmax())
        logits = asked.steerable.subject.logits(
            asked.batch, edits=asked.edits, start=len(asked.map) - 1
        )
    return int(logits[0, 0].argmax())


@dataclass(frozen=True, slots=True)
class ConversationToken:
    """One token of a conversation, as the model read it."""

    id: int
    text: str
    kind: str
    role: str
    logprob: float | None
    """Of itself, nats; None for the first token and for those of pictures."""
    entropy: float | None
    """Of the distribution that it came from, nats."""
    top: tuple[tuple[int, str, float], ...]
    """(id, text, logprob) of the likeliest tokens here."""
    image: int | None
    rect: tuple[float, float, float, float] | None


def read_tokens(asked: Conversation, top: int = 5) -> list[ConversationToken]:
    """Every token of prompt and answer with its own probability, under the interventions."""
    subject = asked.steerable.subject
    check_ids(subject, asked.answer)
    held = asked.held(make=False)
    with torch.no_grad():
        logits = (
            held.logits(0, asked.total)
            if held is not None
            else subject.logits(asked.whole.batch, edits=asked.edits)
        )[0]  # (T, V)
    ids = [*asked.map.ids.tolist(), *asked.answer]
    told: list[ConversationToken] = []
    for first in range(0, asked.total, _ROWS):
        # The row before a token predicts it; the first token has none.
        rows = logits[max(0, first - 1) : min(first + _ROWS, asked.total) - 1].float()
        logp = rows.log_softmax(-1)
        begin = max(1, first)
        if first == 0:
            told.append(_token(asked, ids, 0, None, 0))
        told += [_token(asked, ids, begin + n, row, top) for n, row in enumerate(logp)]
    return told


def _token(
    asked: Conversation, ids: Sequence[int], position: int, logp: Tensor | None, top: int
) -> ConversationToken:
    """One token; ``logp`` is (V,) log-probabilities at its place."""
    prompt = position < len(asked.map)
    kind = Kind(int(asked.map.kinds[position])) if prompt else Kind.TEXT
    role = Role(int(asked.map.roles[position])) if prompt else Role.ASSISTANT
    seen = kind in SEEN
    rect = asked.map.rects[position] if prompt and seen else None
    known = logp is not None and not seen
    rivals: tuple[tuple[int, str, float], ...] = ()
    if known and top:
        assert logp is not None
        best = logp.topk(min(top, len(logp)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        rivals = tuple((i, asked.steerable.subject.encoder.text(i), p) for i, p in pairs)
    return ConversationToken(
        id=int(ids[position]),
        text=asked.text(position),
        kind=kind.name.lower(),
        role=role.name.lower(),
        logprob=float(logp[ids[position]]) if known and logp is not None else None,
        entropy=float(-(logp.exp() * logp.clamp_min(-1e4)).sum())
        if known and logp is not None
        else None,
        top=rivals,
        image=int(asked.map.image[position]) if prompt and seen else None,
        rect=tuple(float(v) for v in rect)  # type: ignore[arg-type]  # four of them
        if rect is not None and bool(np.isfinite(rect).all())
        else None,
    )
