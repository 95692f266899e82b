"""Trying interventions on cases: what the model leans to, what it writes, what that costs.

``CachedRuns`` runs the model, and asks a ledger first: everything here is decided by the cases and
the interventions, so a search that was stopped goes on where it was. ``CandidateTrials`` prices
candidates by margins, in two rounds: each one once, on few cases; then the best at every dose,
alone and in groups, on more cases and with what it costs.

Knows steerable models, cases and candidates; which set is good enough is ``find``'s to say.
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
from semascope.statistics import Figure, careful

Prompts = Sequence[tuple[Sample, Sequence[int]]]
SAFE = 1.0
"""A margin, in nats a token, from which an answer stands fast: more of it is worth no more."""
OVER = 5.0
"""What a nat of KL over the limit costs beside itself: what is over it is refused in the end."""
_HALVINGS = 5
"""How often the least of the doses is halved, while that is worth more."""
_HOW: dict[str, How] = {"up": "add", "down": "ablate", "amplify": "scale"}


@dataclass(frozen=True, slots=True)
class CachedRuns:
    """The model, and what it did before under the same interventions on the same cases."""

    steerable: SteerableModel
    ledger: Ledger
    plain: dict[str, dict[int, list[Tensor]]] = field(default_factory=dict)
    """The plain model's log-probabilities on prompts that side effects are measured on."""
    said: dict[int, dict[str, str]] = field(default_factory=dict)
    """What the plain model writes in so many tokens, by case."""
    bases: PrefixCache = field(default_factory=PrefixCache)
    """What the layers before every edit make of prompts."""

    def answers(
        self, cases: Sequence[Case], interventions: Sequence[Intervention], tokens: int
    ) -> list[str]:
        """What the model writes."""
        if not interventions:
            return self.plainly(cases, tokens)
        told: list[str] = self._do(
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
        return told

    def plainly(
        self, cases: Sequence[Case], tokens: int, progress: Progress | None = None
    ) -> list[str]:
        """What the plain model writes; no case is asked twice."""
        said = self.said.setdefault(tokens, {})
        new = [case for case in cases if case.id not in said]
        ask = partial(answers, self.steerable.subject, max_new_tokens=tokens, progress=progress)
        told: list[str] = self._do(f"answers {tokens}", new, (), lambda: ask(new))
        said |= dict(zip((case.id for case in new), told, strict=True))
        return [said[case.id] for case in cases]

    def met(
        self,
        cases: Sequence[Case],
        interventions: Sequence[Intervention],
        judge: Judge,
        tokens: int,
    ) -> list[bool]:
        """Which cases what it writes meets."""
        written = self.answers(cases, interventions, tokens)
        return [judge(text, case) for text, case in zip(written, cases, strict=True)]

    def apart(
        self, cases: Sequence[Case], judge: Judge, tokens: int, progress: Progress | None = None
    ) -> tuple[list[Case], list[Case]]:
        """Cases that the plain model gets right, and those that it gets wrong."""
        told = zip(cases, self.plainly(cases, tokens, progress), strict=True)
        met = [(case, judge(text, case)) for case, text in told]
        return [case for case, fine in met if fine], [case for case, fine in met if not fine]

    def margins(self, cases: Sequence[Case], interventions: Sequence[Intervention]) -> list[float]:
        """How far it leans to what is wanted, nats a token."""
        told: list[float] = self._do(
            "margins",
            cases,
            interventions,
            lambda: margins(
                self.steerable.subject,
                cases,
                self.steerable.edits(interventions),
                begins=self.bases.begin,
            ),
        )
        return told

    def effects(self, interventions: Sequence[Intervention], prompts: Prompts) -> SideEffects:
        """What it costs on unrelated prompts."""
        asked = stamp([sample.id for sample, _ in prompts])
        key = f"effects|{asked}|{stamp(dump(interventions))}"
        told = self.ledger.do(
            key,
            lambda: side_effects(
                self.steerable,
                interventions,
                prompts,
                self.plain.setdefault(asked, {}),
                self.bases.begin,
            ).as_json(),
        )
        kl: dict[str, Any] = {
            name: float("nan") if v is None else v for name, v in told["kl"].items()
        }
        return SideEffects(Figure(**kl), told["perplexity_base"], told["perplexity_steered"])

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
    """Where candidates are tried, on the search half."""

    memo: CachedRuns
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
        """Both rounds: every promising candidate and group at its best dose, most worth first.

        ``together``: lists of candidates that are pushed up, whose first few are sets as they are.
        """
        few = 2 * self.options.shortlist
        screened = [own[0] for own in self._screen([[c] for c in self._placed(proposed)], progress)]
        sets = self._screen(list(self._sets(together)), progress)
        sets = _some_of_each(sets, self.options.shortlist)
        trials = []
        todo = [*([own] for own in screened[:few]), *self._groups(screened[:few]), *sets]
        for number, own in enumerate(todo):
            trials.append(self._dosed(own))
            if progress is not None:
                progress(number + 1, len(todo), f"doses of {own[0].key}/{own[0].index}")
        return sorted(trials, key=lambda trial: -trial.worth)

    def _dosed(self, own: Sequence[CandidateFeature]) -> CandidateTrial:
        """At the dose that is worth most; where that is the least of those given, at lesser ones.

        Many features together may need a fiftieth of what one of them does.
        """
        doses = self._doses(own[0])
        best = self._trial(own, doses[0])
        for dose in doses[1:]:
            best = max(best, self._trial(own, dose, best.worth), key=lambda trial: trial.worth)
        for _ in range(_HALVINGS if own[0].push == "up" else 0):
            least = best.intervention.strength
            if least > min(doses):
                break
            less = self._trial(own, least / 2, best.worth)
            if less.worth <= best.worth:
                break
            best = less
        return best

    def _screen(
        self, todo: Sequence[list[CandidateFeature]], progress: Progress | None
    ) -> list[list[CandidateFeature]]:
        """Those that move the answer the right way at one dose, most first."""
        few = self.failing[: max(1, self.options.trial_cases // 2)]
        gains = []
        for number, own in enumerate(todo):
            doses = self._doses(own[0])
            gains.append(self._gain(few, self._intervention(own, doses[len(doses) // 2])))
            if progress is not None:
                progress(number + 1, len(todo), f"tried {own[0].key}/{own[0].index}")
        order = sorted(range(len(todo)), key=lambda i: -gains[i])
        return [todo[i] for i in order if gains[i] > 0]

    def _sets(
        self, together: Sequence[Sequence[CandidateFeature]]
    ) -> Iterator[list[CandidateFeature]]:
        """The first few of each list at each kind of token."""
        for own in together:
            for size in sorted({min(size, len(own)) for size in self.options.groups} - {0, 1}):
                for where in self.wheres:
                    yield [replace(one, where=where) for one in own[:size]]

    def _placed(self, proposed: Sequence[CandidateFeature]) -> Iterator[CandidateFeature]:
        """Candidates at the tokens that they promise something for, or at each kind of token."""
        seen = set()
        for one in proposed:
            for where in [one.where] if one.where is not None else self.wheres:
                key = (one.key, one.index, one.push, where)
                if key not in seen:
                    seen.add(key)
                    yield replace(one, where=where)

    def _groups(self, screened: Sequence[CandidateFeature]) -> list[list[CandidateFeature]]:
        """The best features that are pushed up at the same tokens, several at once."""
        groups = []
        for where in dict.fromkeys(c.where for c in screened):
            own = [c for c in screened if c.where == where and c.push == "up"]
            sizes = {min(size, len(own)) for size in self.options.groups}
            groups += [own[:size] for size in sorted(sizes) if size > 1]
        return groups

    def _doses(self, candidate: CandidateFeature) -> tuple[float, ...]:
        doses = {"up": self.options.doses, "down": (1.0,), "amplify": self.options.scales}
        return doses[candidate.push]

    def _intervention(self, own: Sequence[CandidateFeature], dose: float) -> Intervention:
        return Intervention(
            features=tuple(candidate.id for candidate in own),
            where=own[0].where or Where(),
            how=_HOW[own[0].push],
            strength=dose,
        )

    def _trial(
        self, own: Sequence[CandidateFeature], dose: float, beyond: float = -math.inf
    ) -> CandidateTrial:
        """One candidate, or a group, at one dose; one that cannot be worth more than ``beyond`` is
        not priced: it is worth nothing."""
        intervention = self._intervention(own, dose)
        gain = self._gain(self.failing, intervention)
        nothing = CandidateTrial(own[0], intervention, gain, math.nan, math.nan, -math.inf)
        if math.isnan(gain) or gain <= beyond:  # NaN: too strong for a layer above
            return nothing
        kl = harm = over = 0.0
        if gain > 0:  # what gains nothing need not be priced
            harm = self._harm(intervention)
            if gain - self.options.price * harm <= beyond:
                return nothing
            if self.unrelated:
                told = self.memo.effects([intervention], self.unrelated).kl
                kl, over = told.value, max(0.0, careful(told) - self.options.max_kl)
        worth = gain - self.options.price * (kl + harm + OVER * over)
        return CandidateTrial(own[0], intervention, gain, kl, harm, worth)

    def _harm(self, intervention: Intervention) -> float:
        """Mean loss of the protected answers' margins below ``SAFE``, 0 without any.

        What a sure answer loses of its margin costs nothing until it comes into doubt, and a wrong
        yes or no has nothing to lose.
        """
        if not self.protected:
            return 0.0
        base = self.memo.margins(self.protected, ())
        moved = self.memo.margins(self.protected, [intervention])
        lost = [
            0.0 if case.unwanted and b <= 0 else max(0.0, min(b, SAFE) - m)
            for case, b, m in zip(self.protected, base, moved, strict=True)
        ]
        return sum(lost) / len(lost)

    def _gain(self, cases: Sequence[Case], intervention: Intervention) -> float:
        """Mean change of the margin up to ``SAFE`` under an intervention, 0 without cases.

        Were the rest counted, the strongest dose would be the best, whatever it breaks.
        """
        if not cases:
            return 0.0
        base, moved = self.memo.margins(cases, ()), self.memo.margins(cases, [intervention])
        if any(map(math.isnan, moved)):
            return math.nan
        won = [min(m, SAFE) - min(b, SAFE) for m, b in zip(moved, base, strict=True)]
        return sum(won) / len(won)


def _some_of_each(
    sets: Sequence[list[CandidateFeature]], most: int
) -> list[list[CandidateFeature]]:
    """The first ``most``, and the first of each kind of token that is not among these: what moves
    a margin most may say nothing well."""
    kept = list(sets[:most])
    for own in sets[most:]:
        if all(other[0].where != own[0].where for other in kept):
            kept.append(own)
    return kept
