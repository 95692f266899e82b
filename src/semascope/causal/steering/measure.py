"""Steering measured, not believed: what a dose does, what it costs, and what chance would do.

* ``dose_response``: an effect at several strengths, with intervals.
* ``side_effects``: on prompts that have nothing to do with the wish, KL(base ‖ steered) a token
  and the perplexity of given answers, before and after.
* ``matched_controls``: random features of like density and direction norm, to be put through
  the same intervention; what they do is what steering as such does.

Knows subjects and interventions; what counts as an effect is the caller's function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.causal.attribution.forced_tokens import Begins, answer_logprobs, divergence
from semascope.causal.steering.borrowed_directions import lookup
from semascope.causal.steering.edits import edits_for
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.units import Statistics, by_id, statistic
from semascope.corpus.sample import Sample
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.statistics import Figure, mean
from semascope.subject.types import Edits

_ROWS = 8
"""Prompts a forward pass."""
Effect = Callable[[Sequence[Sample], Edits], Sequence[float]]
"""One number a sample under edits: 1 if the concept was named, a log-probability, …"""


@dataclass(frozen=True, slots=True)
class Dose:
    """What one strength does."""

    strength: float
    effect: Figure
    values: tuple[float, ...]
    """One a sample."""


@dataclass(frozen=True, slots=True)
class Lever:
    """Everything that turns interventions into edits."""

    subject: Any
    dictionaries: Mapping[str, Dictionary]
    statistics: Statistics | None = None

    @classmethod
    def of(
        cls,
        subject: Any,
        dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
        statistics: Statistics | None = None,
    ) -> Lever:
        """With dictionaries in any form."""
        return cls(subject, by_id(dictionaries), statistics)

    def dictionary(self, key: str) -> Dictionary:
        """The dictionary of that name, or the directions that one lends to another site."""
        found = lookup(key, self.dictionaries)
        if found is None:
            raise CausalError(
                f"There is no dictionary {key!r}; there are {', '.join(sorted(self.dictionaries))}."
            )
        return found

    def edits(self, interventions: Iterable[Intervention]) -> Edits:
        """Edits for the subject."""
        return edits_for(interventions, self.dictionaries, self.statistics)


def dose_response(
    lever: Lever,
    intervention: Intervention,
    samples: Sequence[Sample],
    effect: Effect,
    strengths: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0),
) -> list[Dose]:
    """The effect at each strength, over the same samples."""
    doses = []
    for strength in strengths:
        values = tuple(effect(samples, lever.edits([intervention.at(strength)])))
        doses.append(Dose(float(strength), mean(values), values))
    return doses


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
    lever: Lever,
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
    edits = lever.edits(interventions)
    kls: list[float] = []
    before_sum = after_sum = 0.0
    tokens = 0
    asked = [(sample, tuple(answer)) for sample, answer in prompts if answer]
    for start in range(0, len(asked), _ROWS):
        part = asked[start : start + _ROWS]
        answers = [answer for _, answer in part]
        batch = lever.subject.encode([sample for sample, _ in part], answer="", max_tokens=None)
        if start not in known:
            known[start] = answer_logprobs(lever.subject, batch, answers, {})
        plain = known[start]
        steered = plain
        if edits:
            steered = answer_logprobs(lever.subject, batch, answers, edits, begins)
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


def matched_controls(
    dictionary: Dictionary,
    key: str,
    index: int,
    statistics: Statistics,
    *,
    count: int = 5,
    seed: int = 0,
    avoid: Sequence[int] = (),
    norms: NDArray[np.float64] | None = None,
) -> list[int]:
    """Random features of like density and direction norm.

    Drawn among the nearest 5 % (at least 20) by |log density ratio| + |log norm ratio|.
    ``norms`` is ``direction_norms(dictionary)``, for whoever asks about many features.
    """
    density = np.asarray(statistic(statistics, key, "density"), dtype=np.float64)
    norms = direction_norms(dictionary) if norms is None else norms
    alive = np.flatnonzero((density > 0) & (norms > 0))
    alive = alive[~np.isin(alive, [index, *avoid])]
    if len(alive) < count:
        raise CausalError(f"{key} has {len(alive)} other living features; {count} were asked for.")
    if density[index] <= 0:
        raise CausalError(f"Feature {key}/{index} never fired, so nothing matches its density.")
    distance = np.abs(np.log(density[alive] / density[index]))
    distance += np.abs(np.log(norms[alive] / norms[index]))
    pool = alive[np.argsort(distance, kind="stable")[: max(20, count, len(alive) // 20)]]
    drawn = np.random.default_rng([seed, index]).choice(pool, count, replace=False)
    return [int(i) for i in drawn]


def direction_norms(dictionary: Dictionary) -> NDArray[np.float64]:
    """(width,) norm of every direction, a slice at a time."""
    parts = [
        dictionary.directions(torch.arange(i, min(i + 4096, dictionary.width))).float().norm(dim=1)
        for i in range(0, dictionary.width, 4096)
    ]
    return torch.cat(parts).cpu().numpy().astype(np.float64)


def as_control(intervention: Intervention, features: Sequence[tuple[str, int]]) -> Intervention:
    """The same intervention on other features."""
    name = f"control of {intervention.label}"
    return intervention.model_copy(update={"features": tuple(features), "name": name})
