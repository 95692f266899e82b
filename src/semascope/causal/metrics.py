"""What an attribution explains: one number per prompt, made from the model's logits.

A metric says which tokens must follow the prompt (``continuations``) and reads the logits
of the whole (``measure``). Tokens are ids here; ``token_id`` and ``token_ids`` make them from
words. Knows nothing of features.

=================  ===============================================================
``Logit``          logit of one token
``LogProb``        its log-probability, nats
``Prob``           its probability (Monitor's target)
``LogitDiff``      logit of one token less that of another (Templeton et al. 2024)
``Span``           log-probability of a whole continuation, summed over its tokens
``Contrast``       that of one continuation less that of another
=================  ===============================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from semascope.causal.forcing import extend
from semascope.errors import CausalError
from semascope.subject.types import Batch


class Metric(Protocol):
    """A number per prompt."""

    @property
    def name(self) -> str:
        """What a table calls it."""
        ...

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        """Token ids that must follow the prompt: one tuple for each copy of it that is run."""
        ...

    def measure(self, logits: Tensor, length: int) -> Tensor:
        """(copies · P, T, V) logits of P prompts of ``length`` tokens -> (P,).

        The copies of one prompt stand next to each other.
        """
        ...


def token_id(subject: Any, text: str | int) -> int:
    """The one token that ``text`` is.

    Raises CausalError where it is several tokens: then the target is a sequence.
    """
    if isinstance(text, int):
        return text
    ids = token_ids(subject, text)
    if len(ids) != 1:
        pieces = ", ".join(repr(subject.tokenizer.decode([i])) for i in ids)
        raise CausalError(
            f"The target {text!r} is {len(ids)} tokens ({pieces}). Use the whole sequence as the "
            "target (a span), or name one token (words often begin with a space)."
        )
    return ids[0]


def token_ids(subject: Any, text: str | Sequence[int]) -> tuple[int, ...]:
    """The tokens of a continuation, control tokens not added."""
    if not isinstance(text, str):
        return tuple(text)
    ids = subject.tokenizer.encode(text, add_special_tokens=False)
    if not ids:
        raise CausalError("The target is empty: name at least one token.")
    return tuple(int(i) for i in ids)


def prepare(batch: Batch, metric: Metric) -> tuple[Batch, int]:
    """The batch with the metric's copies and continuations, and the prompt's length.

    Raises CausalError where copies are asked of a batch of several prompts whose pictures
    cannot be told apart.
    """
    length = int(batch.inputs["input_ids"].shape[1])
    copies = metric.continuations
    rows = len(batch.maps)
    if len(copies) > 1:
        batch = repeat(batch, len(copies))
    if not any(copies):
        return batch, length
    return extend(batch, [copies[i % len(copies)] for i in range(rows * len(copies))]), length


def repeat(batch: Batch, copies: int) -> Batch:
    """Each prompt ``copies`` times, the copies next to each other.

    Inputs that are not one row a prompt (flattened tiles, say) are repeated whole, which is
    right for a single prompt only.
    """
    rows = len(batch.maps)
    if copies == 1:
        return batch
    inputs: dict[str, Any] = {}
    for name, value in batch.inputs.items():
        if not isinstance(value, Tensor):
            inputs[name] = value
        elif rows == 1:
            inputs[name] = value.repeat(copies, *[1] * (value.ndim - 1))
        elif value.shape[0] == rows:
            inputs[name] = value.repeat_interleave(copies, dim=0)
        else:
            raise CausalError(
                f"'{name}' does not hold one row a prompt, so several prompts cannot be copied "
                "together: give them one at a time."
            )
    maps = tuple(m for m in batch.maps for _ in range(copies))
    ids = tuple(i for i in batch.sample_ids for _ in range(copies))
    return Batch(inputs=inputs, maps=maps, sample_ids=ids)


@dataclass(frozen=True, slots=True)
class Logit:
    """Logit of one token right after the prompt."""

    token: int
    name: str = "logit"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return ((),)

    def measure(self, logits: Tensor, length: int) -> Tensor:
        return logits[:, length - 1, self.token].float()


@dataclass(frozen=True, slots=True)
class LogProb:
    """Log-probability of one token right after the prompt, in nats."""

    token: int
    name: str = "logprob"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return ((),)

    def measure(self, logits: Tensor, length: int) -> Tensor:
        return logits[:, length - 1].float().log_softmax(-1)[:, self.token]


@dataclass(frozen=True, slots=True)
class Prob:
    """Probability of one token right after the prompt."""

    token: int
    name: str = "prob"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return ((),)

    def measure(self, logits: Tensor, length: int) -> Tensor:
        return logits[:, length - 1].float().softmax(-1)[:, self.token]


@dataclass(frozen=True, slots=True)
class LogitDiff:
    """Logit of ``token`` less that of ``other``, right after the prompt."""

    token: int
    other: int
    name: str = "logit_diff"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return ((),)

    def measure(self, logits: Tensor, length: int) -> Tensor:
        last = logits[:, length - 1].float()  # (P, V)
        return last[:, self.token] - last[:, self.other]


@dataclass(frozen=True, slots=True)
class Span:
    """Log-probability of a continuation, summed over its tokens from ``start`` on."""

    tokens: tuple[int, ...]
    start: int = 0
    """Tokens before this one are given, and only those from here on are explained."""
    name: str = "span"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        # The last token is predicted and never read, so it need not be run.
        return (self.tokens[:-1],)

    def measure(self, logits: Tensor, length: int) -> Tensor:
        return _sum_logprobs(logits, length, self.tokens, self.start)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Log-probability of one continuation less that of another; two copies of the prompt."""

    wanted: tuple[int, ...]
    unwanted: tuple[int, ...]
    name: str = "contrast"

    @property
    def continuations(self) -> tuple[tuple[int, ...], ...]:
        return (self.wanted[:-1], self.unwanted[:-1])

    def measure(self, logits: Tensor, length: int) -> Tensor:
        return _sum_logprobs(logits[0::2], length, self.wanted) - _sum_logprobs(
            logits[1::2], length, self.unwanted
        )


def _sum_logprobs(logits: Tensor, length: int, tokens: Sequence[int], start: int = 0) -> Tensor:
    """(P, T, V) -> (P,) Σ log p of tokens that follow a prompt of ``length`` tokens."""
    # A plain 2-D slice per position would softmax the whole prompt: only these rows matter.
    rows = logits[:, length - 1 + start : length - 1 + len(tokens)].float().log_softmax(-1)
    ids = torch.as_tensor(tokens[start:], device=logits.device)  # (L,)
    return rows.gather(2, ids[None, :, None].expand(len(rows), -1, 1)).sum((1, 2))


def metric_from(subject: Any, kind: str, target: str | int, other: str | int | None) -> Metric:
    """A metric by name, from words: what a command line or a page asks for.

    Args:
        subject: whose tokenizer reads the words.
        kind: logit, logprob, prob, logit_diff, span or contrast.
        target: the token (or continuation) to explain.
        other: what it is set against, for logit_diff and contrast.
    """
    single = {"logit": Logit, "logprob": LogProb, "prob": Prob}
    if kind in single:
        return single[kind](token_id(subject, target))  # type: ignore[no-any-return, operator]
    if kind == "span":
        return Span(token_ids(subject, target if isinstance(target, str) else (target,)))
    if kind not in ("logit_diff", "contrast"):
        raise CausalError(
            f"There is no metric {kind!r}: logit, logprob, prob, logit_diff, span or contrast."
        )
    if other is None:
        raise CausalError(f"The metric {kind} sets the target against another: name it.")
    if kind == "logit_diff":
        return LogitDiff(token_id(subject, target), token_id(subject, other))
    pair = [token_ids(subject, t if isinstance(t, str) else (t,)) for t in (target, other)]
    return Contrast(pair[0], pair[1])
