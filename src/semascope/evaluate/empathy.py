"""The empathy case: emotion features added on prompts without pictures.

Measures how many answers to small talk speak of a feeling, at the tokens and dose chosen on every
second prompt; the side effects on unrelated prompts; and the same for random features matched in
density and norm. It counts words for feelings, which is not empathy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from semascope.causal.search.behaviours import own_answers, with_feeling, words_alone
from semascope.causal.search.cases import Case, Progress, meets
from semascope.causal.search.find import default_wheres
from semascope.causal.search.ledger import Ledger
from semascope.causal.search.prompts import UNMOVED
from semascope.causal.search.trials import CachedRuns
from semascope.causal.steering.controls import as_controls
from semascope.causal.steering.interventions import FeatureId, Intervention, Where
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.errors import CausalError
from semascope.statistics import Figure, share


@dataclass(frozen=True, slots=True)
class _Tried:
    """One dose at one kind of token, on the prompts that choose the setting."""

    intervention: Intervention
    felt: Figure
    kl: Figure

    @property
    def worth(self) -> float:
        """Share of answers that speak of a feeling minus the KL in nats per token."""
        return self.felt.value - self.kl.value

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        where = self.intervention.where.model_dump(mode="json", exclude_defaults=True)
        figures = {"felt": self.felt.as_json(), "kl": self.kl.as_json()}
        return {"where": where, "dose": self.intervention.strength, **figures}


def empathy(
    steerable: SteerableModel,
    features: Sequence[FeatureId],
    *,
    doses: Sequence[float] = (0.125, 0.25, 0.5, 1.0, 2.0),
    seed: int = 0,
    tokens: int = 24,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Share of answers that speak of a feeling: with emotion features, without, with random ones.

    Tokens and dose are chosen on every second prompt, by that share minus the KL on unrelated
    answers; the figures are of the other prompts.

    Args:
        steerable: with statistics.
        features: features of emotions.
        doses: multiples of each feature's maximum to choose from.
        seed: random seed of the controls.
        tokens: length limit of the answers.
        ledger: finished parts, to resume from.
        progress: called with (done, total, note).

    Raises:
        CausalError: no features are given.
    """
    if not features:
        raise CausalError(
            "The empathy case needs features of emotions, and no feature here is called one. "
            "Name some: --emotion-features 12 77"
        )
    runs = CachedRuns(steerable, ledger or Ledger())
    cases = with_feeling(steerable).cases
    choosing, judging = cases[::2], cases[1::2]
    quiet = own_answers(steerable, [words_alone(f"What is this: {text}") for text in UNMOVED])

    felt = partial(_felt, runs, tokens)
    curve: list[_Tried] = []
    settings = _settings(features, default_wheres(cases), doses)
    for one in settings:
        curve.append(_Tried(one, felt(choosing, [one]), runs.effects([one], quiet).kl))
        if progress is not None:
            note = f"{curve[-1].felt.value:.0%} at {one.strength:g}"
            progress(len(curve), len(settings), note)
    best = max(curve, key=lambda tried: tried.worth)
    random_ones = as_controls(steerable, [best.intervention], seed)
    return {
        "felt": felt(judging, [best.intervention]).as_json(),
        "felt_plain": felt(judging, ()).as_json(),
        "felt_random": felt(judging, random_ones).as_json(),
        **{name: value for name, value in best.as_json().items() if name != "felt"},
        "features": [f"{key}/{index}" for key, index in features],
        "curve": [tried.as_json() for tried in curve],
    }


def _settings(
    features: Sequence[FeatureId], wheres: Sequence[Where], doses: Sequence[float]
) -> list[Intervention]:
    """The features added at each kind of token, at each dose."""
    return [
        Intervention(
            features=tuple(features), where=where, how="add", strength=dose, name="emotions"
        )
        for where in wheres
        for dose in doses
    ]


def _felt(
    runs: CachedRuns, tokens: int, cases: Sequence[Case], chosen: Sequence[Intervention]
) -> Figure:
    """Share of the answers that speak of a feeling under the interventions."""
    met = runs.met(cases, chosen, meets, tokens)
    return share(sum(met), len(met))
