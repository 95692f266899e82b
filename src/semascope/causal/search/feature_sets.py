"""Sets of interventions: grown, pruned and tuned by the answers that the model writes under them.

A set is scored on the search half: shares of wrong answers fixed and of right answers broken, and
KL on unrelated prompts. Costs are counted one standard error above their mean: a set just within a
limit on the half that chose it is as likely as not over it on the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from semascope.causal.search.cases import Case, Judge, Progress, spread
from semascope.causal.search.goal import CandidateTrial, SearchOptions
from semascope.causal.search.trials import CachedRuns, Prompts
from semascope.causal.steering.interventions import Intervention
from semascope.statistics import upper_mean, upper_share

_TUNES = ((0.25, 0.5, 0.75, 1.5, 2.0), (0.8, 0.9, 1.12, 1.25))
"""Dose multipliers of a whole set: a coarse round, then a fine one."""
_HARDER = (2.0, 4.0)
_SOFTER = (0.5, 0.25)
_BROKEN = 5.0
"""Penalty, in fixed answers, of a broken answer (or a nat of KL) over its limit."""


@dataclass(frozen=True, slots=True)
class FeatureSetSearch:
    """Searches over sets, on cases answered wrongly and rightly."""

    runs: CachedRuns
    wrong: Sequence[Case]
    right: Sequence[Case]
    judge: Judge
    options: SearchOptions
    unrelated: Prompts = ()

    @classmethod
    def on(
        cls,
        runs: CachedRuns,
        search: Sequence[Case],
        protected: Sequence[Case],
        judge: Judge,
        options: SearchOptions,
        unrelated: Prompts,
    ) -> FeatureSetSearch:
        """With at most ``options.judged`` wrong and as many right cases."""
        already_right, failing = runs.by_answer(search, judge, options.tokens)
        askable = spread([*already_right, *protected], options.judged)
        right = runs.by_answer(askable, judge, options.tokens)[0]
        return cls(runs, failing[: options.judged], right, judge, options, unrelated)

    def score(self, chosen: Sequence[Intervention], beyond: float = -math.inf) -> float:
        """Share of wrong answers fixed, minus the share broken, minus penalties over the limits.

        Stops early if the score cannot exceed ``beyond``; it then returns some number not above it.
        """
        fixed = self._share(self.wrong, chosen)
        if fixed <= beyond:
            return fixed
        broken = 1 - self._share(self.right, chosen, empty=1.0)
        over = max(0.0, upper_share(broken, len(self.right)) - self.options.max_broken)
        worth = fixed - broken - _BROKEN * over
        if worth <= max(0.0, beyond) or not self.unrelated:  # side effects cannot change the order
            return worth
        kl = upper_mean(self.runs.effects(chosen, self.unrelated).kl)
        return worth - _BROKEN * max(0.0, kl - self.options.max_kl)

    def _share(
        self, cases: Sequence[Case], chosen: Sequence[Intervention], empty: float = 0.0
    ) -> float:
        """Share of the cases that the model meets under a set; ``empty`` without cases."""
        met = self.runs.met(cases, chosen, self.judge, self.options.tokens)
        return sum(met) / len(met) if met else empty

    def grow(
        self, trials: Sequence[CandidateTrial], progress: Progress | None = None
    ) -> list[Intervention]:
        """Add the best trials while the score rises.

        Repeated from the second-best trial and from the best at other tokens, since the best by
        margin need not give the best answers.
        """
        best: tuple[float, list[Intervention]] = (0.0, [])
        short = list(trials[: self.options.shortlist])
        away = [t for t in trials if t.intervention.where != trials[0].intervention.where]
        starts = [short, short[1:], away[: self.options.shortlist]]
        starts = [start for start in starts if start]
        for number, start in enumerate(starts):
            scored_set = self._grown(start)
            best = max(best, scored_set, key=lambda pair: pair[0])
            if progress is not None:
                progress(number + 1, len(starts), f"a set of {len(scored_set[1])}")
        return best[1]

    def _grown(self, trials: Sequence[CandidateTrial]) -> tuple[float, list[Intervention]]:
        chosen: list[Intervention] = []
        score = 0.0
        for trial in trials:
            if len(chosen) == self.options.largest or score >= 1.0:
                break
            taken = {feature for one in chosen for feature in one.features}
            if taken.intersection(trial.intervention.features):
                continue
            for factor in (1.0,) if chosen else (1.0, *_SOFTER):  # answers need less
                tried = [*chosen, _times(trial.intervention, factor)]
                now = self.score(tried, score)
                if now > score:
                    chosen, score = tried, now
                    break
        return score, chosen

    def press(self, trials: Sequence[CandidateTrial]) -> list[Intervention]:
        """For when no single trial changes an answer: the first few together, at higher doses."""
        apart: dict[tuple[str, int], Intervention] = {}
        for trial in trials:
            if not apart.keys() & set(trial.intervention.features):
                apart |= dict.fromkeys(trial.intervention.features, trial.intervention)
        several = list({id(one): one for one in apart.values()}.values())[: self.options.largest]
        return self._best(
            ([], 0.0),
            (
                [_times(one, factor) for one in several[:size]]
                for size in range(1, len(several) + 1)
                for factor in (1.0, *_HARDER)
            ),
        )[0]

    def tune(
        self, chosen: list[Intervention], progress: Progress | None = None
    ) -> list[Intervention]:
        """The set at its best dose; the present dose, if no other is better."""
        best = (chosen, self.score(chosen) if chosen else 0.0)
        for number, factors in enumerate(_TUNES if chosen else ()):
            now = best[0]
            best = self._best(best, ([_times(one, factor) for one in now] for factor in factors))
            if progress is not None:
                progress(number + 1, len(_TUNES), "the dose of the set")
        return best[0]

    def _best(
        self, best: tuple[list[Intervention], float], tried: Iterable[list[Intervention]]
    ) -> tuple[list[Intervention], float]:
        """The set of the highest score; of equals, the first."""
        for one in tried:
            score = self.score(one, best[1])
            if score > best[1]:
                best = (one, score)
        return best

    def prune(self, chosen: list[Intervention]) -> list[Intervention]:
        """Without the features that the score does not need."""
        if not chosen:
            return chosen
        score = self.score(chosen)
        least = math.nextafter(score, -math.inf)
        for at, feature in [(n, f) for n, one in enumerate(chosen) for f in one.features]:
            rest = list(chosen)
            left = tuple(f for f in rest[at].features if f != feature)
            rest[at] = rest[at].model_copy(update={"features": left})
            fewer = [one for one in rest if one.features]
            if fewer and self.score(fewer, least) >= score:
                chosen = rest
        return [one for one in chosen if one.features]


def _times(one: Intervention, factor: float) -> Intervention:
    """The intervention at ``factor`` times its dose; ``scale`` from 1 on, ablations unchanged."""
    if one.how == "scale":
        return one.at(1 + factor * (one.strength - 1))
    return one if one.how in ("ablate", "project") else one.at(factor * one.strength)
