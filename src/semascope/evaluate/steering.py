"""Are object features named when put into an empty picture: place and dose by measurement.

For each concept a set of features, best first, is added while the model looks at a blank picture
and is asked what is there; it is *named* if the concept stands in the answer. Where to add it
(which tokens), how much (in multiples of each feature's own maximum), how many features of the set,
and at which site (its own, or as borrowed directions at others) is not assumed but searched:

1. *Screen* every setting on a few concepts of the search half.
2. *Choose* among the best settings on the whole search half; one setting for all concepts. Of
   equals, the one with fewer features and the smaller dose.
3. *Judge* on all concepts, and apart on the held-out half, which chose nothing; beside random
   features of like density and norm under the same setting, and beside no steering at all.

Knows steerable models and pictures; which features are objects, and what they are called, the
caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from semascope.causal.search.cases import Case, meets
from semascope.causal.search.ledger import Ledger
from semascope.causal.steering.borrowed_directions import borrowed_key
from semascope.causal.steering.controls import (
    Feature,
    Object,
    blank_sample,
    members,
    random_features,
    usual_wheres,
)
from semascope.causal.steering.interventions import How, Intervention, Where
from semascope.causal.steering.per_row import per_row
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample
from semascope.errors import CausalError
from semascope.statistics import share

Progress = Callable[[int, int, str], None]
_DRAWS = 3
"""Random features drawn for each concept, so that a rare answer can be told from none."""


@dataclass(frozen=True, slots=True)
class SteeringSetting:
    """How every concept's features are added; one for all of them."""

    where: Where
    dose: float
    """Multiples of each feature's own maximum."""
    size: int = 1
    """How many of a concept's features, best first; fewer where it has fewer."""
    site: str = ""
    """'' is each feature's own site; else its direction is borrowed there."""

    @property
    def key(self) -> str:
        """For the ledger."""
        where = self.where.model_dump_json(exclude_defaults=True)
        return f"{where}|{self.dose:g}|{self.size}|{self.site}"

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        return {
            "where": self.where.model_dump(mode="json", exclude_defaults=True),
            "dose": self.dose,
            "features": self.size,
            "site": self.site or "own",
        }


@dataclass(frozen=True, slots=True)
class SteeringPlan:
    """What is tried."""

    wheres: tuple[Where, ...] = ()
    """Which tokens; the usual ones if left out, see ``usual_wheres``."""
    doses: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    sizes: tuple[int, ...] = (1, 2, 4)
    sites: tuple[str, ...] = ("",)
    how: How = "add"
    tokens: int = 12
    rows: int = 16
    first: int = 12
    """Concepts of the search half on which every setting is screened."""
    finalists: int = 6
    """Settings that are tried on the whole search half."""
    instances: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By concept: names of that kind, any of which names it too (a woman is a person)."""


def evaluate_steering(
    steerable: SteerableModel,
    objects: Sequence[Object],
    *,
    seed: int = 0,
    plan: SteeringPlan | None = None,
    blank: Image.Image | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Share of concepts that the model names in a blank picture under their features.

    Args:
        steerable: with statistics ``max`` and ``density``.
        objects: (features of one concept, concept as a person would say it), best-scored first.
        seed: of the controls.
        plan: settings to choose from.
        blank: the picture; plain light grey, 128 pixels, if left out.
        ledger: where parts stand that need not be measured anew.
        progress: called with (done, total, note).

    Raises:
        CausalError: fewer than four concepts, or no statistics.
    """
    plan, ledger = plan or SteeringPlan(), ledger or Ledger()
    if len(objects) < 4 or steerable.statistics is None:
        raise CausalError("Steering is judged on at least four features with their statistics.")
    bench = _Bench(steerable, blank_sample(blank), plan, ledger)
    sets = [(members(features), concept) for features, concept in objects]
    chosen, tried = _choose(bench, sets[::2], progress)
    answered = bench.answers("judge", sets, chosen)
    named = [_says(text, concept, plan) for text, (_, concept) in zip(answered, sets, strict=True)]
    controls: list[bool] = []
    for draw in range(seed, seed + _DRAWS):
        random_sets = [(random_features(steerable, own, draw), concept) for own, concept in sets]
        controls += bench.named(f"random {draw}", random_sets, chosen)
    return {
        "named": share(sum(named), len(named)).as_json(),
        "named_held_out": share(sum(named[1::2]), len(named[1::2])).as_json(),
        "named_random": _share(controls),
        "named_unsteered": _share(bench.named("plain", sets, SteeringSetting(chosen.where, 0.0))),
        **chosen.as_json(),
        "how": plan.how,
        "tried": tried,
        "concepts": [
            {
                "concept": concept,
                "features": [f"{key}/{index}" for key, index in own[: chosen.size]],
                "answer": text,
                "named": ok,
            }
            for (own, concept), text, ok in zip(sets, answered, named, strict=True)
        ],
        "seed": seed,
    }


def _choose(
    bench: _Bench, search: Sequence[tuple[tuple[Feature, ...], str]], progress: Progress | None
) -> tuple[SteeringSetting, list[dict[str, Any]]]:
    """Steps 1 and 2: the setting, and every one that was tried."""
    settings = bench.settings(max(len(own) for own, _ in search))
    few = search[: bench.plan.first]
    again_too = len(search) > len(few)
    total = len(settings) + again_too * min(bench.plan.finalists, len(settings))
    counts: list[tuple[int, SteeringSetting]] = []
    for number, setting in enumerate(settings):
        counts.append((sum(bench.named("screen", few, setting)), setting))
        if progress is not None:
            progress(number + 1, total, f"{counts[-1][0]} of {len(few)} named")
    tried = [{"named": n, "of": len(few), **s.as_json()} for n, s in counts]
    best = sorted(counts, key=_rank)[: bench.plan.finalists]
    if again_too:
        again = []
        for number, (_, setting) in enumerate(best):
            again.append((sum(bench.named("search", search, setting)), setting))
            if progress is not None:
                progress(
                    len(settings) + number + 1, total, f"{again[-1][0]} of {len(search)} named"
                )
        tried += [{"named": n, "of": len(search), **s.as_json()} for n, s in again]
        best = sorted(again, key=_rank)
    return best[0][1], tried


def _rank(row: tuple[int, SteeringSetting]) -> tuple[int, int, float]:
    """Most named first; of equals, few features, then a small dose."""
    return (-row[0], row[1].size, row[1].dose)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where settings are tried."""

    steerable: SteerableModel
    sample: Sample
    plan: SteeringPlan
    ledger: Ledger

    def settings(self, most: int) -> list[SteeringSetting]:
        """Every setting of the plan, with no more features than any concept has."""
        wheres = self.plan.wheres or usual_wheres(self.steerable.subject, self.sample)
        return [
            SteeringSetting(where, dose, size, site)
            for site in self.plan.sites
            for where in wheres
            for size in sorted({min(size, most) for size in self.plan.sizes})
            for dose in self.plan.doses
        ]

    def named(
        self, what: str, sets: Sequence[tuple[tuple[Feature, ...], str]], setting: SteeringSetting
    ) -> list[bool]:
        """Whether each answer holds its concept."""
        told = self.answers(what, sets, setting)
        return [
            _says(text, concept, self.plan) for text, (_, concept) in zip(told, sets, strict=True)
        ]

    def answers(
        self, what: str, sets: Sequence[tuple[tuple[Feature, ...], str]], setting: SteeringSetting
    ) -> list[str]:
        """The answer under each set of features, many sets to a batch."""
        key = f"{what}|{len(sets)}|{setting.key}"
        told: list[str] = self.ledger.do(key, lambda: self._answers(sets, setting))
        return told

    def _answers(
        self, sets: Sequence[tuple[tuple[Feature, ...], str]], setting: SteeringSetting
    ) -> list[str]:
        told: list[str] = []
        for start in range(0, len(sets), self.plan.rows):
            part = sets[start : start + self.plan.rows]
            edits = per_row([self.steerable.edits([self._add(own, setting)]) for own, _ in part])
            answers = self.steerable.subject.generate_batch(
                [self.sample] * len(part), edits=edits, max_new_tokens=self.plan.tokens, top=1
            )
            told += [answer.text for answer in answers]
        return told

    def _add(self, own: tuple[Feature, ...], setting: SteeringSetting) -> Intervention:
        features = [(borrowed_key(key, setting.site), i) for key, i in own[: setting.size]]
        return Intervention(
            features=tuple(features), where=setting.where, how=self.plan.how, strength=setting.dose
        )


def _says(text: str, concept: str, plan: SteeringPlan) -> bool:
    kinds = tuple(plan.instances.get(concept, ()))
    return meets(text, Case(Sample(id="named"), concept, accepted=kinds))


def _share(named: Sequence[bool]) -> dict[str, Any]:
    return share(sum(named), len(named)).as_json()
