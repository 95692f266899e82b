"""The steering benchmark: is an object named when its features are added to a blank picture?

For each concept a set of features, best first, is added while the model is asked what is in a
blank picture. The concept is *named* if the answer contains it. The setting is searched: which
tokens, which dose (in multiples of each feature's own maximum), how many features, and which site
(the features' own, or others with borrowed directions).

1. *Screen* every setting on a few concepts of the search half.
2. *Choose* among the best on the whole search half: one setting for all concepts. Of equals, the
   one with fewer features and the smaller dose.
3. *Judge* it on all concepts and, separately, on the held-out half, with random features matched
   in density and norm under the same setting, and without steering.

The caller gives the features of each object and its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from semascope.causal.search.cases import Case, Progress, meets
from semascope.causal.search.ledger import Ledger
from semascope.causal.steering.borrowed_directions import borrowed_key
from semascope.causal.steering.controls import (
    Object,
    blank_sample,
    members,
    random_features,
    usual_wheres,
)
from semascope.causal.steering.interventions import FeatureId, How, Intervention, Where
from semascope.causal.steering.per_row import per_row
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample
from semascope.errors import CausalError
from semascope.statistics import share

_DRAWS = 3
"""Random sets drawn for each concept, so that a rare answer is not missed."""


@dataclass(frozen=True, slots=True)
class SteeringSetting:
    """How the features of every concept are added."""

    where: Where
    dose: float
    """Multiples of each feature's own maximum."""
    size: int = 1
    """How many of a concept's features, best first; all of them if it has fewer."""
    site: str = ""
    """Site at which directions are borrowed; empty for each feature's own site."""

    @property
    def key(self) -> str:
        """Name in the ledger."""
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
    """Settings to search, and how."""

    wheres: tuple[Where, ...] = ()
    """Tokens to add features at; by default ``usual_wheres``."""
    doses: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    sizes: tuple[int, ...] = (1, 2, 4)
    sites: tuple[str, ...] = ("",)
    how: How = "add"
    tokens: int = 12
    rows: int = 16
    first: int = 12
    """Number of concepts of the search half on which every setting is screened."""
    finalists: int = 6
    """Number of settings that are tried on the whole search half."""
    instances: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By concept, the names of its instances, which count too (a woman is a person)."""


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
        objects: (features of one concept, its name), best-scored first.
        seed: random seed of the controls.
        plan: settings to choose from.
        blank: the picture; plain light grey, 128 pixels, by default.
        ledger: finished parts, to resume from.
        progress: called with (done, total, note).

    Raises:
        CausalError: fewer than four concepts, or no statistics.
    """
    plan, ledger = plan or SteeringPlan(), ledger or Ledger()
    if len(objects) < 4 or steerable.statistics is None:
        raise CausalError("Steering is judged on at least four features with their statistics.")
    bench = _Bench(steerable, blank_sample(blank), plan, ledger)
    sets = [(members(features), concept) for features, concept in objects]
    # Phases 1 and 2: screen the settings, and choose one on the search half
    chosen, tried = _choose(bench, sets[::2], progress)
    # Phase 3: judge it, with controls
    answered = bench.answers("judge", sets, chosen)
    named = [_says(text, concept, plan) for text, (_, concept) in zip(answered, sets, strict=True)]
    controls: list[bool] = []
    for draw in range(seed, seed + _DRAWS):
        random_sets = [
            (random_features(steerable, features, draw), concept) for features, concept in sets
        ]
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
                "features": [f"{key}/{index}" for key, index in features[: chosen.size]],
                "answer": text,
                "named": ok,
            }
            for (features, concept), text, ok in zip(sets, answered, named, strict=True)
        ],
        "seed": seed,
    }


def _choose(
    bench: _Bench, search: Sequence[tuple[tuple[FeatureId, ...], str]], progress: Progress | None
) -> tuple[SteeringSetting, list[dict[str, Any]]]:
    """Phases 1 and 2: the chosen setting, and every one that was tried."""
    settings = bench.settings(max(len(features) for features, _ in search))
    few = search[: bench.plan.first]
    two_rounds = len(search) > len(few)
    total = len(settings) + two_rounds * min(bench.plan.finalists, len(settings))
    counts: list[tuple[int, SteeringSetting]] = []
    for number, setting in enumerate(settings):
        counts.append((sum(bench.named("screen", few, setting)), setting))
        if progress is not None:
            progress(number + 1, total, f"{counts[-1][0]} of {len(few)} named")
    tried = [{"named": n, "of": len(few), **s.as_json()} for n, s in counts]
    best = sorted(counts, key=_rank)[: bench.plan.finalists]
    if two_rounds:
        finals = []
        for number, (_, setting) in enumerate(best):
            finals.append((sum(bench.named("search", search, setting)), setting))
            if progress is not None:
                progress(
                    len(settings) + number + 1, total, f"{finals[-1][0]} of {len(search)} named"
                )
        tried += [{"named": n, "of": len(search), **s.as_json()} for n, s in finals]
        best = sorted(finals, key=_rank)
    return best[0][1], tried


def _rank(row: tuple[int, SteeringSetting]) -> tuple[int, int, float]:
    """Sort key: most named first; of equals, fewest features, then the smallest dose."""
    return (-row[0], row[1].size, row[1].dose)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Tries settings on one picture."""

    steerable: SteerableModel
    sample: Sample
    plan: SteeringPlan
    ledger: Ledger

    def settings(self, most: int) -> list[SteeringSetting]:
        """Every setting of the plan, with at most ``most`` features."""
        wheres = self.plan.wheres or usual_wheres(self.steerable.subject, self.sample)
        return [
            SteeringSetting(where, dose, size, site)
            for site in self.plan.sites
            for where in wheres
            for size in sorted({min(size, most) for size in self.plan.sizes})
            for dose in self.plan.doses
        ]

    def named(
        self, what: str, sets: Sequence[tuple[tuple[FeatureId, ...], str]], setting: SteeringSetting
    ) -> list[bool]:
        """Whether each answer names its concept."""
        answers = self.answers(what, sets, setting)
        return [
            _says(text, concept, self.plan)
            for text, (_, concept) in zip(answers, sets, strict=True)
        ]

    def answers(
        self, what: str, sets: Sequence[tuple[tuple[FeatureId, ...], str]], setting: SteeringSetting
    ) -> list[str]:
        """The answer under each set of features, many sets to a batch."""
        key = f"{what}|{len(sets)}|{setting.key}"
        answers: list[str] = self.ledger.do(key, lambda: self._answers(sets, setting))
        return answers

    def _answers(
        self, sets: Sequence[tuple[tuple[FeatureId, ...], str]], setting: SteeringSetting
    ) -> list[str]:
        answers: list[str] = []
        for start in range(0, len(sets), self.plan.rows):
            part = sets[start : start + self.plan.rows]
            edits = per_row(
                [self.steerable.edits([self._add(features, setting)]) for features, _ in part]
            )
            generations = self.steerable.subject.generate_batch(
                [self.sample] * len(part), edits=edits, max_new_tokens=self.plan.tokens, top=1
            )
            answers += [generation.text for generation in generations]
        return answers

    def _add(self, features: tuple[FeatureId, ...], setting: SteeringSetting) -> Intervention:
        chosen = [(borrowed_key(key, setting.site), i) for key, i in features[: setting.size]]
        return Intervention(
            features=tuple(chosen), where=setting.where, how=self.plan.how, strength=setting.dose
        )


def _says(text: str, concept: str, plan: SteeringPlan) -> bool:
    kinds = tuple(plan.instances.get(concept, ()))
    return meets(text, Case(Sample(id="named"), concept, accepted=kinds))


def _share(named: Sequence[bool]) -> dict[str, Any]:
    return share(sum(named), len(named)).as_json()
