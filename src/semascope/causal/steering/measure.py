"""Side effects of steering, on prompts that have nothing to do with it.

Measured as KL(base ‖ steered) a token and as the perplexity of given answers, before and after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from semascope.causal.attribution.forced_tokens import Begins, answer_logprobs, divergence
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample
from semascope.errors import CausalError
from semascope.statistics import Figure, mean

_ROWS = 8
"""Prompts a forward pass."""


@dataclass(frozen=True, slots=True)
class SideEffects:
    """What interventions cost where they should do nothing."""

    kl: Figure
    """KL(base ‖ steered) a token, nats, over answers."""
    perplexity_base: float
    """Of the given answers, without the interventions."""
    perplexity_steered: float

    @property
    def perplexity_ratio(self) -> float:
        """1 is no harm."""
        return self.perplexity_steered / self.perplexity_base

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        return {
            "kl": self.kl.as_json(),
            "perplexity_base": self.perplexity_base,
            "perplexity_steered": self.perplexity_steered,
            "perplexity_ratio": self.perplexity_ratio,
        }


def side_effects(
    steerable: SteerableModel,
    interventions: Sequence[Intervention],
    prompts: Sequence[tuple[Sample, Sequence[int]]],
    before: dict[int, list[torch.Tensor]] | None = None,
    begins: Begins | None = None,
) -> SideEffects:
    """Measure on unrelated prompts, each with the token ids of an answer to force.

    ``before`` keeps the plain model's log-probabilities for the next call on the same prompts;
    ``begins`` says where a pass may begin (``Bases.begin``).
    Raises CausalError where no prompt has an answer.
    """
    known = {} if before is None else before
    edits = steerable.edits(interventions)
    kls: list[float] = []
    before_sum = after_sum = 0.0
    tokens = 0
    asked = [(sample, tuple(answer)) for sample, answer in prompts if answer]
    for start in range(0, len(asked), _ROWS):
        part = asked[start : start + _ROWS]
        answers = [answer for _, answer in part]
        batch = steerable.subject.encode([sample for sample, _ in part], answer="", max_tokens=None)
        if start not in known:
            known[start] = answer_logprobs(steerable.subject, batch, answers, {})
        plain = known[start]
        steered = plain
        if edits:
            steered = answer_logprobs(steerable.subject, batch, answers, edits, begins)
        for own, after, answer in zip(plain, steered, answers, strict=True):  # (L, V) each
            kls.append(float(divergence(own, after).mean()))
            ids = torch.as_tensor(answer, device=own.device)[:, None]
            before_sum += float(own.gather(1, ids).sum())
            after_sum += float(after.gather(1, ids).sum())
            tokens += len(answer)
    if not tokens:
        raise CausalError("Side effects need at least one prompt with an answer.")
    return SideEffects(
        kl=mean(kls),
        perplexity_base=math.exp(-before_sum / tokens),
        perplexity_steered=math.exp(min(700.0, -after_sum / tokens)),
    )
