"""Trying interventions on cases: margins, written answers, and side effects.

``CachedRuns`` runs the model and records every result in a ledger, so that a stopped search
resumes: results depend on the cases and the interventions alone. ``CandidateTrials`` ranks
candidates by margins in two rounds: first each at one dose, on few cases; then the best at every
dose, alone and in groups, on more cases, with their side effects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from semascope.causal.search.candidates import CandidateFeature
from semascope.causal.search.cases import Case, Judge, Progress, answers, margins
from semascope.causal.search.goal import CandidateTrial, SearchOptions
from semascope.causal.search.ledger import Ledger, stamp
from semascope.causal.search.prefix_reuse import PrefixCache
from semascope.causal.steering.interventions import How, Intervention, Where, dump
from semascope.causal.steering.measure import SideEffects, side_effects
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample
from semascope.statistics import Figure, upper_mean

Prompts = Sequence[tuple[Sample, Sequence[int]]]
SAFE = 1.0
"""Margin, in nats per token, from which an answer is safe: a larger one counts no more."""
OVER = 5.0
"""Extra penalty per nat of KL above ``max_kl``."""
_HALVINGS = 5
"""How often the smallest dose is halved at most, while that helps."""
_HOW: dict[str, How] = {"up": "add", "down": "ablate", "amplify": "scale"}


@dataclass(frozen=True, slots=True)
class CachedRuns:
    """The model, with its results on cases and interventions that it has run before."""

    steerable: SteerableModel
    ledger: Ledger
    plain_logprobs: dict[str, dict[int, list[Tensor]]] = field(default_factory=dict)
    """Log-probabilities of the unsteered model on the prompts for side effects."""
    plain_texts: dict[int, dict[str, str]] = field(default_factory=dict)
    """Answers of the unsteered model, by length limit and case."""
    prefixes: PrefixCache = field(default_factory=PrefixCache)
    """Activations of prompts below the first edit."""

    def answers(
        self, cases: Sequence[Case], interventions: Sequence[Intervention], tokens: int
    ) -> list[str]:
        """The model's answers under the interventions."""
        if not interventions:
            return self.plain_answers(cases, tokens)
        result: list[str] = self._do(
            f"answers {tokens}",
            cases,
            interventions,
            lambda: answers(
                self.steerable.subject,
                cases,
                self.steerable.edits(interventions),
                max_new_tokens=tokens,
            ),
        )
        return result

    def plain_answers(
        self, cases: Sequence[Case], tokens: int, progress: Progress | None = None
    ) -> list[str]:
        """Answers of the unsteered model; no case is run twice."""
        plain_texts = self.plain_texts.setdefault(tokens, {})
        new = [case for case in cases if case.id not in plain_texts]
        ask = partial(answers, self.steerable.subject, max_new_tokens=tokens, progress=progress)
        result: list[str] = self._do(f"answers {tokens}", new, (), lambda: ask(new))
        plain_texts |= dict(zip((case.id for case in new), result, strict=True))
        return [plain_texts[case.id] for case in cases]

    def met(
        self,
        cases: Sequence[Case],
        interventions: Sequence[Intervention],
        judge: Judge,
        tokens: int,
    ) -> list[bool]:
        """Whether the answer to each case meets it, under the interventions."""
        written = self.answers(cases, interventions, tokens)
        return [judge(text, case) for text, case in zip(written, cases, strict=True)]

    def by_answer(
        self, cases: Sequence[Case], judge: Judge, tokens: int, progress: Progress | None = None
    ) -> tuple[list[Case], list[Case]]:
        """(right, wrong): the cases that the unsteered model meets, and the others."""
        result = zip(cases, self.plain_answers(cases, tokens, progress), strict=True)
        met = [(case, judge(text, case)) for case, text in result]
        return [case for case, fine in met if fine], [case for case, fine in met if not fine]

    def margins(self, cases: Sequence[Case], interventions: Sequence[Intervention]) -> list[float]:
        """Margin of the wanted answer of each case, in nats per token."""
        result: list[float] = self._do(
            "margins",
            cases,
            interventions,
            lambda: margins(
                self.steerable.subject,
                cases,
                self.steerable.edits(interventions),
                begins=self.prefixes.begin,
            ),
        )
        return result

    def effects(self, interventions: Sequence[Intervention], prompts: Prompts) -> SideEffects:
        """Side effects of the interventions on unrelated prompts."""
        prompts_stamp = stamp([sample.id for sample, _ in prompts])
        key = f"effects|{prompts_stamp}|{stamp(dump(interventions))}"
        result = self.ledger.do(
            key,
            lambda: side_effects(
                self.steerable,
                interventions,
                prompts,
                self.plain_logprobs.setdefault(prompts_stamp, {}),
                self.prefixes.begin,
            ).as_json(),
        )
        kl: dict[str, Any] = {
            name: float("nan") if v is None else v for name, v in result["kl"].items()
        }
        return SideEffects(Figure(**kl), result["perplexity_base"], result["perplexity_steered"])

    def _do(
        self,
        what: str,
        cases: Sequence[Case],
        interventions: Sequence[Intervention],
        work: Callable[[], Any],
    ) -> Any:
        if not cases:
            return []
        key = f"{what}|{stamp([case.id for case in cases])}|{stamp(dump(interventions))}"
        return self.ledger.do(key, work)


@dataclass(frozen=True, slots=True)
class CandidateTrials:
    """Tries candidates on the search half."""

    runs: CachedRuns
    options: SearchOptions
    wheres: Sequence[Where]
    failing: Sequence[Case]
    protected: Sequence[Case]
    unrelated: Prompts

    def run(
        self,
        proposed: Sequence[CandidateFeature],
        together: Sequence[Sequence[CandidateFeature]] = (),
        progress: Progress | None = None,
    ) -> list[CandidateTrial]:
        """Both rounds: every promising candidate and group at its best dose, best first.

        Args:
            proposed: candidates to try one by one, and in groups of the best.
            together: lists of candidates to push up; the first few of each are tried as sets.
            progress: called with (done, total, note).
        """
        few = 2 * self.options.shortlist
        screened = [
            group[0] for group in self._screen([[c] for c in self._placed(proposed)], progress)
        ]
        sets = self._screen(list(self._sets(together)), progress)
        sets = _some_of_each(sets, self.options.shortlist)
        trials = []
        todo = [
            *([candidate] for candidate in screened[:few]),
            *self._groups(screened[:few]),
            *sets,
        ]
        for number, group in enumerate(todo):
            trials.append(self._dosed(group))
            if progress is not None:
                progress(number + 1, len(todo), f"doses of {group[0].key}/{group[0].index}")
        return sorted(trials, key=lambda trial: -trial.worth)

    def _dosed(self, group: Sequence[CandidateFeature]) -> CandidateTrial:
        """The trial at the best dose; smaller doses are tried if the smallest given one is best.

        A group may need a fiftieth of the dose that one feature needs.
        """
        doses = self._doses(group[0])
        best = self._trial(group, doses[0])
        for dose in doses[1:]:
            best = max(best, self._trial(group, dose, best.worth), key=lambda trial: trial.worth)
        for _ in range(_HALVINGS if group[0].push == "up" else 0):
            least = best.intervention.strength
            if least > min(doses):
                break
            less = self._trial(group, least / 2, best.worth)
            if less.worth <= best.worth:
                break
            best = less
        return best

    def _screen(
        self, todo: Sequence[list[CandidateFeature]], progress: Progress | None
    ) -> list[list[CandidateFeature]]:
        """Groups that raise the margin at one dose, the largest gain first."""
        few = self.failing[: max(1, self.options.trial_cases // 2)]
        gains = []
        for number, group in enumerate(todo):
            doses = self._doses(group[0])
            gains.append(self._gain(few, self._intervention(group, doses[len(doses) // 2])))
            if progress is not None:
                progress(number + 1, len(todo), f"tried {group[0].key}/{group[0].index}")
        order = sorted(range(len(todo)), key=lambda i: -gains[i])
        return [todo[i] for i in order if gains[i] > 0]

    def _sets(
        self, together: Sequence[Sequence[CandidateFeature]]
    ) -> Iterator[list[CandidateFeature]]:
        """The first few of each list, at each kind of token."""
        for group in together:
            for size in sorted({min(size, len(group)) for size in self.options.groups} - {0, 1}):
                for where in self.wheres:
                    yield [replace(one, where=where) for one in group[:size]]

    def _placed(self, proposed: Sequence[CandidateFeature]) -> Iterator[CandidateFeature]:
        """Each candidate at the tokens it was proposed for, or else at each kind of token."""
        seen = set()
        for one in proposed:
            for where in [one.where] if one.where is not None else self.wheres:
                key = (one.key, one.index, one.push, where)
                if key not in seen:
                    seen.add(key)
                    yield replace(one, where=where)

    def _groups(self, screened: Sequence[CandidateFeature]) -> list[list[CandidateFeature]]:
        """Groups of the best features that are pushed up at the same tokens."""
        groups = []
        for where in dict.fromkeys(c.where for c in screened):
            group = [c for c in screened if c.where == where and c.push == "up"]
            sizes = {min(size, len(group)) for size in self.options.groups}
            groups += [group[:size] for size in sorted(sizes) if size > 1]
        return groups

    def _doses(self, candidate: CandidateFeature) -> tuple[float, ...]:
        doses = {"up": self.options.doses, "down": (1.0,), "amplify": self.options.scales}
        return doses[candidate.push]

    def _intervention(self, group: Sequence[CandidateFeature], dose: float) -> Intervention:
        return Intervention(
            features=tuple(candidate.id for candidate in group),
            where=group[0].where or Where(),
            how=_HOW[group[0].push],
            strength=dose,
        )

    def _trial(
        self, group: Sequence[CandidateFeature], dose: float, beyond: float = -math.inf
    ) -> CandidateTrial:
        """One group at one dose. Side effects are not run if its worth cannot exceed ``beyond``."""
        intervention = self._intervention(group, dose)
        gain = self._gain(self.failing, intervention)
        nothing = CandidateTrial(group[0], intervention, gain, math.nan, math.nan, -math.inf)
        if math.isnan(gain) or gain <= beyond:  # NaN: too strong for a layer above
            return nothing
        kl = harm = over = 0.0
        if gain > 0:  # else side effects do not matter
            harm = self._harm(intervention)
            if gain - self.options.price * harm <= beyond:
                return nothing
            if self.unrelated:
                result = self.runs.effects([intervention], self.unrelated).kl
                kl, over = result.value, max(0.0, upper_mean(result) - self.options.max_kl)
        worth = gain - self.options.price * (kl + harm + OVER * over)
        return CandidateTrial(group[0], intervention, gain, kl, harm, worth)

    def _harm(self, intervention: Intervention) -> float:
        """Mean loss of the protected answers' margins below ``SAFE``; 0 without protected cases.

        A margin above ``SAFE`` may shrink freely, and a wrong yes or no has nothing to lose.
        """
        if not self.protected:
            return 0.0
        base = self.runs.margins(self.protected, ())
        moved = self.runs.margins(self.protected, [intervention])
        lost = [
            0.0 if case.unwanted and b <= 0 else max(0.0, min(b, SAFE) - m)
            for case, b, m in zip(self.protected, base, moved, strict=True)
        ]
        return sum(lost) / len(lost)

    def _gain(self, cases: Sequence[Case], intervention: Intervention) -> float:
        """Mean change of the margin, clipped at ``SAFE``; 0 without cases.

        Unclipped, the strongest dose would always win, whatever it breaks.
        """
        if not cases:
            return 0.0
        base, moved = self.runs.margins(cases, ()), self.runs.margins(cases, [intervention])
        if any(map(math.isnan, moved)):
            return math.nan
        won = [min(m, SAFE) - min(b, SAFE) for m, b in zip(moved, base, strict=True)]
        return sum(won) / len(won)


def _some_of_each(
    sets: Sequence[list[CandidateFeature]], most: int
) -> list[list[CandidateFeature]]:
    """The first ``most``, and the first of each kind of token missing among them.

    The set with the largest margin does not always give the best answers.
    """
    shortlist = list(sets[:most])
    for group in sets[most:]:
        if all(other[0].where != group[0].where for other in shortlist):
            shortlist.append(group)
    return shortlist
