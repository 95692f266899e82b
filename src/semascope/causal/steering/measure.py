"""Side effects of steering, on unrelated prompts.

Measured as KL(base ‖ steered) per token and as the perplexity of given answers, before and after.
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
"""Prompts per forward pass."""


@dataclass(frozen=True, slots=True)
class SideEffects:
    """Effects of interventions on prompts where they should have none."""

    kl: Figure
    """KL(base ‖ steered) in nats per token, over answers."""
    perplexity_base: float
    """Of the given answers, without the interventions."""
    perplexity_steered: float

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity with the interventions over perplexity without; 1 means unchanged."""
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

    Args:
        steerable: the model.
        interventions: those to measure.
        prompts: samples with the token ids of their answers.
        before: cache of the unsteered model's log-probabilities, for calls on the same prompts.
        begins: gives where a pass may resume (``PrefixCache.begin``).

    Raises:
        CausalError: no prompt has an answer.
    """
    known = {} if before is None else before
    edits = steerable.edits(interventions)
    kls: list[float] = []
    before_sum = after_sum = 0.0
    tokens = 0
    with_answers = [(sample, tuple(answer)) for sample, answer in prompts if answer]
    for start in range(0, len(with_answers), _ROWS):
        part = with_answers[start : start + _ROWS]
        answers = [answer for _, answer in part]
        batch = steerable.subject.encode([sample for sample, _ in part], answer="", max_tokens=None)
        if start not in known:
            known[start] = answer_logprobs(steerable.subject, batch, answers, {})
        plain = known[start]
        steered = plain
        if edits:
            steered = answer_logprobs(steerable.subject, batch, answers, edits, begins)
        for base, after, answer in zip(plain, steered, answers, strict=True):  # (L, V) each
            kls.append(float(divergence(base, after).mean()))
            ids = torch.as_tensor(answer, device=base.device)[:, None]
            before_sum += float(base.gather(1, ids).sum())
            after_sum += float(after.gather(1, ids).sum())
            tokens += len(answer)
    if not tokens:
        raise CausalError("Side effects need at least one prompt with an answer.")
    return SideEffects(
        kl=mean(kls),
        perplexity_base=math.exp(-before_sum / tokens),
        perplexity_steered=math.exp(min(700.0, -after_sum / tokens)),
    )
