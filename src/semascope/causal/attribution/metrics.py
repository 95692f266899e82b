"""What an attribution explains: one number per prompt, made from the model's logits.

A metric says which tokens must follow the prompt (``continuations``) and reads the logits
of the whole (``measure``). Tokens are ids here; ``token_id`` and ``token_ids`` make them from
words.

========================  ======================================================================
``Logit``                 logit of one token
``LogProb``               its log-probability, nats
``Prob``                  its probability (the target in Transluce's Monitor)
``LogitDiff``             logit of one token minus that of another (Templeton et al. 2024)
``ContinuationLogProb``   log-probability of a whole continuation, summed over its tokens
``ContinuationContrast``  that of one continuation minus that of another
========================  ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from semascope.causal.attribution.forced_tokens import ForcedTokens, extend, repeat
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.prefix import Begin
from semascope.subject.types import Batch, Edits


class Metric(Protocol):
    """A number per prompt.

    It reads the logits of a prompt's last token and of what follows; one that begins elsewhere
    says with ``back`` how many tokens earlier, or, below 0, later.
    """

    @property
    def name(self) -> str:
        """Name of the metric in tables."""
        ...

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        """Token ids after the prompt: one tuple for each copy of it in the batch."""
        ...

    def measure(self, logits: Tensor, ends: Tensor) -> Tensor:
        """(copies · P, T, V) logits of P prompts, and how long each row's prompt is -> (P,).

        The copies of one prompt stand next to each other. Logits before the shortest prompt's
        last token (``back`` earlier) may have been left out; ``ends`` count from the first there.
        """
        ...


EMPTY = frozenset(("a", "an", "the", "some", "it", "is", "it's", "there", "are", ""))
"""Openings of an answer that carry no content."""


def telling(text: str) -> bool:
    """Whether a token of an answer carries content."""
    return text.strip().lower() not in EMPTY


def first_telling(tokens: Iterable[str]) -> int:
    """Index of the first token of an answer that carries content; 0 if none does."""
    return next((n for n, text in enumerate(tokens) if telling(text)), 0)


def token_id(subject: Subject, text: str | int) -> int:
    """The id of the one token that ``text`` is.

    Raises:
        CausalError: it is several tokens, so the target is a sequence.
    """
    if isinstance(text, int):
        return text
    ids = token_ids(subject, text)
    if len(ids) != 1:
        pieces = ", ".join(repr(subject.encoder.text(i)) for i in ids)
        raise CausalError(
            f"The target {text!r} is {len(ids)} tokens ({pieces}). Use the whole sequence as the "
            "target (a span), or name one token (words often begin with a space)."
        )
    return ids[0]


def token_ids(subject: Subject, text: str | Sequence[int]) -> tuple[int, ...]:
    """Token ids of a continuation, without special tokens. CausalError if it is empty."""
    if not isinstance(text, str):
        return tuple(text)
    ids = subject.tokenizer.encode(text, add_special_tokens=False)
    if not ids:
        raise CausalError("The target is empty: name at least one token.")
    return tuple(int(i) for i in ids)


def prepare(batch: Batch, metric: Metric) -> ForcedTokens:
    """The batch with the metric's copies of each prompt, continued as the metric wants."""
    wanted = metric.continuations
    rows = len(batch.maps) * len(wanted)
    return extend(repeat(batch, len(wanted)), [wanted[i % len(wanted)] for i in range(rows)])


def measured(
    subject: Subject,
    forced: ForcedTokens,
    metric: Metric,
    edits: Edits,
    fork: tuple[str, int] | None = None,
    begin: Begin | None = None,
) -> Tensor:
    """(P,) the metric under edits; only the logits that it reads are computed.

    ``fork`` is (site, n): the one prompt becomes n rows there; with ``begin`` the pass begins
    half-way (``Subject.logits``).
    """
    ends = forced.ends if fork is None else forced.ends.repeat(fork[1])
    start = first_read(ends, metric)
    logits: Tensor = subject.logits(forced.batch, edits=edits, start=start, fork=fork, begin=begin)
    return metric.measure(logits, ends - start)


def first_read(ends: Tensor, metric: Metric) -> int:
    """The first position whose logits a metric reads; ``ends`` are the lengths of the prompts."""
    return max(0, int(ends.min()) - 1 - int(getattr(metric, "back", 0)))


@dataclass(frozen=True, slots=True)
class Logit:
    """Logit of one token right after the prompt."""

    token: int
    name: str = "logit"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return ((),)

    def measure(self, logits: Tensor, ends: Tensor) -> Tensor:
        """(P, T, V) -> (P,)."""
        return _last(logits, ends)[:, self.token]


@dataclass(frozen=True, slots=True)
class LogProb:
    """Log-probability of one token right after the prompt, in nats."""

    token: int
    name: str = "logprob"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return ((),)

    def measure(self, logits: Tensor, ends: Tensor) -> Tensor:
        """(P, T, V) -> (P,)."""
        return _last(logits, ends).log_softmax(-1)[:, self.token]


@dataclass(frozen=True, slots=True)
class Prob:
    """Probability of one token right after the prompt."""

    token: int
    name: str = "prob"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return ((),)

    def measure(self, logits: Tensor, ends: Tensor) -> Tensor:
        """(P, T, V) -> (P,)."""
        return _last(logits, ends).softmax(-1)[:, self.token]


@dataclass(frozen=True, slots=True)
class LogitDiff:
    """Logit of ``token`` minus that of ``other``, right after the prompt."""

    token: int
    other: int
    name: str = "logit_diff"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return ((),)

    def measure(self, logits: Tensor, ends: Tensor) -> Tensor:
        """(P, T, V) -> (P,)."""
        last = _last(logits, ends)  # (P, V)
        return last[:, self.token] - last[:, self.other]


@dataclass(frozen=True, slots=True)
class ContinuationLogProb:
    """Log-probability of a continuation, summed over its tokens from ``start`` on."""

    tokens: tuple[int, ...]
    start: int = 0
    """Tokens before ``start`` are given; only those from it on are explained."""
    name: str = "span"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        # The last token is predicted and never read, so it need not be run.
        return (self.tokens[:-1],)

    def measure(self, logits: Tensor, ends: Tensor) -> Tensor:
        """(P, T, V) -> (P,)."""
        return _sum_logprobs(logits, ends, self.tokens, self.start)


@dataclass(frozen=True, slots=True)
class ContinuationContrast:
    """Log-probability of one continuation minus that of another; two copies of the prompt."""

    wanted: tuple[int, ...]
    unwanted: tuple[int, ...]
    name: str = "contrast"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return (self.wanted[:-1], self.unwanted[:-1])

    def measure(self, logits: Tensor, ends: Tensor) -> Tensor:
        """(2 P, T, V) -> (P,)."""
        wanted = _sum_logprobs(logits[0::2], ends[0::2], self.wanted)
        return wanted - _sum_logprobs(logits[1::2], ends[1::2], self.unwanted)


def _last(logits: Tensor, ends: Tensor) -> Tensor:
    """(P, T, V) -> (P, V) float32 logits right after each prompt."""
    return logits[torch.arange(len(logits)), ends - 1].float()


def _sum_logprobs(logits: Tensor, ends: Tensor, tokens: Sequence[int], start: int = 0) -> Tensor:
    """(P, T, V) -> (P,) Σ log p of tokens that follow each prompt, from ``start`` on."""
    # Only these rows go through the softmax: a whole prompt's would cost far more.
    places = ends[:, None] - 1 + torch.arange(start, len(tokens))  # (P, L)
    rows = logits[torch.arange(len(logits))[:, None], places].float().log_softmax(-1)
    ids = torch.as_tensor(tokens[start:], device=logits.device)  # (L,)
    return rows.gather(2, ids[None, :, None].expand(len(rows), -1, 1)).sum((1, 2))


def metric_from(subject: Subject, kind: str, target: str | int, other: str | int | None) -> Metric:
    """A metric by its name and its target words, as the command line and the page give them.

    Args:
        subject: whose tokenizer reads the words.
        kind: logit, logprob, prob, logit_diff, span or contrast.
        target: the token (or continuation) to explain.
        other: the rival token or continuation, for logit_diff and contrast.

    Raises:
        CausalError: an unknown kind, no rival where one is needed, or a target of several tokens.
    """
    single: dict[str, Callable[[int], Metric]] = {
        "logit": Logit,
        "logprob": LogProb,
        "prob": Prob,
    }
    if kind in single:
        return single[kind](token_id(subject, target))
    if kind == "span":
        return ContinuationLogProb(
            token_ids(subject, target if isinstance(target, str) else (target,))
        )
    if kind not in ("logit_diff", "contrast"):
        raise CausalError(
            f"There is no metric {kind!r}: logit, logprob, prob, logit_diff, span or contrast."
        )
    if other is None:
        raise CausalError(f"The metric {kind} compares the target against another token: name it.")
    if kind == "logit_diff":
        return LogitDiff(token_id(subject, target), token_id(subject, other))
    pair = [token_ids(subject, t if isinstance(t, str) else (t,)) for t in (target, other)]
    return ContinuationContrast(pair[0], pair[1])
