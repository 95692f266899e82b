"""The empathy case: emotion features on prompts of words alone.

How many answers to small talk speak of a feeling when the features are added, at the tokens and the
dose that every second prompt chose; what that costs on unrelated prompts; and what random features
of like density and norm do at the same tokens and dose. It hears words of feeling, not empathy.

Knows the wish to speak with feeling; looking for other features is ``find``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semascope.causal.search.behaviours import own_answers, with_feeling, words_alone
from semascope.causal.search.cases import Case, Progress, meets
from semascope.causal.search.find import usual_wheres
from semascope.causal.search.ledger import Ledger
from semascope.causal.search.prompts import UNMOVED
from semascope.causal.search.trials import CachedRuns
from semascope.causal.steering.controls import as_controls
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.errors import CausalError
from semascope.statistics import Figure, share

Feature = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Tried:
    """One dose at one kind of token, on the prompts that choose."""

    intervention: Intervention
    felt: Figure
    kl: Figure

    @property
    def worth(self) -> float:
        """A nat of KL costs as much as all the answers are worth."""
        return self.felt.value - self.kl.value

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        where = self.intervention.where.model_dump(mode="json", exclude_defaults=True)
        told = {"felt": self.felt.as_json(), "kl": self.kl.as_json()}
        return {"where": where, "dose": self.intervention.strength, **told}


def empathy(
    steerable: SteerableModel,
    features: Sequence[Feature],
    *,
    doses: Sequence[float] = (0.125, 0.25, 0.5, 1.0, 2.0),
    seed: int = 0,
    tokens: int = 24,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The share of answers that speak of a feeling, under emotion features, plainly, under chance.

    Tokens and dose are chosen on every second prompt by that share less the KL on unrelated
    answers; the figures are of the others.

    Raises CausalError where no features are given.
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

    def felt(of: Sequence[Case], chosen: Sequence[Intervention]) -> Figure:
        met = runs.met(of, chosen, meets, tokens)
        return share(sum(met), len(met))

    curve: list[_Tried] = []
    wheres = usual_wheres(cases)
    for where in wheres:
        for dose in doses:
            one = Intervention(
                features=tuple(features), where=where, how="add", strength=dose, name="emotions"
            )
            curve.append(_Tried(one, felt(choosing, [one]), runs.effects([one], quiet).kl))
            if progress is not None:
                told = f"{curve[-1].felt.value:.0%} at {dose:g}"
                progress(len(curve), len(wheres) * len(doses), told)
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
