"""Finding features that do what is wished: a wish in, a tested intervention out, or none.

In phases, so that nothing is judged by what chose it:

1. *Split* the wish's cases, and those it protects, into a search half and a held-out half, by
   sample.
2. *Gather* candidates on the search half: attribution, contrast, search by words.
3. *Try* each at each dose on the search half: how far the margin of the wanted answer moves, and
   what this costs in KL on unrelated prompts and in the margins of protected answers. Rank by
   gain less ``price`` × cost. (Without the second, saying no to everything mends every invention.)
4. *Grow* a set from the best, by what the model then writes: a feature stays if it mends more
   cases than it breaks. *Prune* every one without which the set does as well.
5. *Judge* on the held-out half: fixed and broken with intervals, side effects, and the same
   interventions on random features matched in density and norm.

The set is returned if it beats what it must; otherwise the finding says why not. Knows what it
stands on; a wish's words are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from semascope.causal import candidates as propose
from semascope.causal.candidates import Candidate
from semascope.causal.cases import Case, Judge, answers, halves, margins, meets, split
from semascope.causal.interventions import Intervention
from semascope.causal.measure import Lever, as_control, matched_controls, side_effects
from semascope.causal.statistics import share
from semascope.causal.wish import Finding, Options, Trial, Verdict, Wish
from semascope.corpus.sample import Sample

Progress = Callable[[int, int, str], None]


def find(
    lever: Lever,
    wish: Wish,
    options: Options | None = None,
    *,
    judge: Judge = meets,
    progress: Progress | None = None,
) -> Finding:
    """The smallest set of features that does what is wished, or a finding that says none does.

    Args:
        lever: subject, dictionaries, and statistics with ``max`` and ``density``.
        wish: cases, at least eight over different samples.
        options: doses, limits, how many candidates.
        judge: whether an answer meets a case.
        progress: called with (done, total, note).

    Raises:
        CausalError: too few cases, or statistics that the doses need and nobody measured.
    """
    options = options or Options()
    search, held = split(wish.cases)
    protected, kept = halves(wish.protect)
    told = _Judged(judge, options.tokens)
    failing = _failing(lever, search, told)
    if not failing:
        return Finding((), "The model does this already: no case of the search half fails.", None)
    proposed = gather(lever, wish, failing, options)
    trials = [
        t
        for t in _tried(lever, wish, proposed, failing, protected, options, progress)
        if t.worth > 0
    ]
    if not trials:
        return Finding((), _none("no candidate moves the answer more than it costs"), None)
    trying = [*search, *protected]
    chosen = _prune(lever, _grow(lever, trials, trying, told, options), trying, told)
    if not chosen:
        reason = _none("no set mends more cases of the search half than it breaks")
        return Finding((), reason, None, trials=tuple(trials))
    judging = [*held, *kept]
    verdict = judged(lever, chosen, judging, wish, judge, options.tokens)
    controls = _controls(lever, chosen, judging, wish, judge, options)
    reason = _shortfall(verdict, controls, options)
    return Finding(
        () if reason else tuple(chosen),
        reason or _success(verdict),
        verdict,
        tuple(controls),
        tuple(trials),
    )


def gather(lever: Lever, wish: Wish, failing: Sequence[Case], options: Options) -> list[Candidate]:
    """Phase 2."""
    lists = [
        propose.from_attribution(
            lever, failing[: options.trial_cases], options.where, options.candidates
        )
    ]
    if wish.examples and wish.counterexamples:
        lists.append(
            propose.from_contrast(lever, wish.examples, wish.counterexamples, options.candidates)
        )
    if wish.features:
        lists.append(propose.from_search(wish.features, options.candidates))
    return propose.merge(lists, options.candidates)


def _failing(lever: Lever, cases: Sequence[Case], judge: _Judged) -> list[Case]:
    """Cases that the model does not meet by itself."""
    return [c for c, met in zip(cases, judge(lever, cases, ()), strict=True) if not met]


def _tried(
    lever: Lever,
    wish: Wish,
    proposed: Sequence[Candidate],
    failing: Sequence[Case],
    protected: Sequence[Case],
    options: Options,
    progress: Progress | None,
) -> list[Trial]:
    """Phase 3: every candidate at its best dose, most worth first."""
    bench = _Bench(
        lever,
        options,
        _Leaning.of(lever, failing[: options.trial_cases]),
        _Leaning.of(lever, protected[: options.trial_cases]),
        wish.unrelated[: options.trial_cases],
    )
    trials = []
    for done, candidate in enumerate(proposed):
        doses = options.doses if candidate.push == "up" else (1.0,)
        tried = [bench.trial(candidate, dose) for dose in doses]
        trials.append(max(tried, key=lambda trial: trial.worth))
        if progress is not None:
            progress(done + 1, len(proposed), f"tried {candidate.key}/{candidate.index}")
    return sorted(trials, key=lambda trial: -trial.worth)


@dataclass(frozen=True, slots=True)
class _Leaning:
    """Cases with the margins that the plain model has."""

    cases: Sequence[Case]
    base: Sequence[float]

    @classmethod
    def of(cls, lever: Lever, cases: Sequence[Case]) -> _Leaning:
        return cls(cases, margins(lever.subject, cases))

    def gain(self, lever: Lever, intervention: Intervention) -> float:
        """Mean change of the margin under an intervention, 0 without cases."""
        if not self.cases:
            return 0.0
        moved = margins(lever.subject, self.cases, lever.edits([intervention]))
        return sum(m - b for m, b in zip(moved, self.base, strict=True)) / len(moved)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where candidates are tried."""

    lever: Lever
    options: Options
    failing: _Leaning
    protected: _Leaning
    unrelated: Sequence[tuple[Sample, Sequence[int]]]

    def trial(self, candidate: Candidate, dose: float) -> Trial:
        """One candidate at one dose."""
        intervention = Intervention(
            features=(candidate.id,),
            where=self.options.where,
            how="add" if candidate.push == "up" else "ablate",
            strength=dose,
        )
        gain = self.failing.gain(self.lever, intervention)
        kl = harm = 0.0
        if gain > 0:  # what gains nothing need not be priced
            harm = max(0.0, -self.protected.gain(self.lever, intervention))
            if self.unrelated:
                kl = side_effects(self.lever, [intervention], self.unrelated).kl.value
        worth = gain - self.options.price * (kl + harm)
        return Trial(candidate, intervention, gain, kl, harm, worth)


def _grow(
    lever: Lever,
    trials: Sequence[Trial],
    search: Sequence[Case],
    judge: _Judged,
    options: Options,
) -> list[Intervention]:
    """Phase 4: add a feature while it makes more of the search half right."""
    chosen: list[Intervention] = []
    right = sum(judge(lever, search, chosen))
    features: set[tuple[str, int]] = set()
    for trial in trials[: options.shortlist]:
        if trial.candidate.id in features or right == len(search):
            continue
        now = sum(judge(lever, search, [*chosen, trial.intervention]))
        if now > right:
            chosen.append(trial.intervention)
            features.add(trial.candidate.id)
            right = now
        if len(chosen) == options.largest:
            break
    return chosen


def _prune(
    lever: Lever, chosen: list[Intervention], search: Sequence[Case], judge: _Judged
) -> list[Intervention]:
    """Leave out every feature without which the set does as well."""
    if len(chosen) < 2:
        return chosen
    right = sum(judge(lever, search, chosen))
    for intervention in list(chosen):
        rest = [other for other in chosen if other is not intervention]
        if rest and sum(judge(lever, search, rest)) >= right:
            chosen = rest
    return chosen


@dataclass(frozen=True, slots=True)
class _Judged:
    """Which cases are met by what the model writes."""

    judge: Judge
    tokens: int

    def __call__(
        self, lever: Lever, cases: Sequence[Case], interventions: Sequence[Intervention]
    ) -> list[bool]:
        edits = lever.edits(interventions)
        written = answers(lever.subject, cases, edits, max_new_tokens=self.tokens)
        return [self.judge(text, case) for text, case in zip(written, cases, strict=True)]


def judged(
    lever: Lever,
    interventions: Sequence[Intervention],
    held: Sequence[Case],
    wish: Wish,
    judge: Judge = meets,
    tokens: int = 16,
) -> Verdict:
    """Phase 5: what interventions mend and break among held-out cases, and their side effects."""
    told = _Judged(judge, tokens)
    pairs = list(zip(told(lever, held, ()), told(lever, held, interventions), strict=True))
    wrong = [now for was, now in pairs if not was]
    right = [now for was, now in pairs if was]
    effects = side_effects(lever, interventions, wish.unrelated) if wish.unrelated else None
    return Verdict(
        fixed=share(sum(wrong), len(wrong)),
        broken=share(sum(not now for now in right), len(right)),
        effects=effects,
    )


def _controls(
    lever: Lever,
    chosen: Sequence[Intervention],
    held: Sequence[Case],
    wish: Wish,
    judge: Judge,
    options: Options,
) -> list[Verdict]:
    """The same interventions on random features like those chosen."""
    if lever.statistics is None or not options.controls:
        return []
    own = [feature for intervention in chosen for feature in intervention.features]
    drawn = {
        (key, index): matched_controls(
            lever.dictionaries[key],
            key,
            index,
            lever.statistics,
            count=options.controls,
            seed=options.seed,
            avoid=[i for k, i in own if k == key],
        )
        for key, index in own
    }
    verdicts = []
    for number in range(options.controls):
        taken: set[tuple[str, int]] = set()
        random_set = []
        for intervention in chosen:
            features = [(key, drawn[(key, index)][number]) for key, index in intervention.features]
            if taken.isdisjoint(features):
                random_set.append(as_control(intervention, features))
                taken.update(features)
        verdicts.append(judged(lever, random_set, held, wish, judge, options.tokens))
    return verdicts


def _shortfall(verdict: Verdict, controls: Sequence[Verdict], options: Options) -> str:
    """Why the set is not good enough, '' where it is."""
    if verdict.fixed.n == 0:
        return _none("no held-out case fails, so nothing can be shown to mend it")
    best = max((control.fixed.value for control in controls), default=0.0)
    if verdict.fixed.value < options.min_fixed:
        return _none(
            f"the best set mends {verdict.fixed.value:.0%} of the held-out failures, "
            f"less than {options.min_fixed:.0%}"
        )
    if verdict.fixed.low <= best:
        return _none(
            f"random features mend {best:.0%}, and the best set no more than that for certain"
        )
    if verdict.broken.n and verdict.broken.value > options.max_broken:
        return _none(f"the best set breaks {verdict.broken.value:.1%} of the right answers")
    if verdict.effects is not None and verdict.effects.kl.value > options.max_kl:
        return _none(
            f"the best set costs {verdict.effects.kl.value:.2f} nats a token on unrelated prompts"
        )
    return ""


def _success(verdict: Verdict) -> str:
    broken = f"{verdict.broken.value:.1%}" if verdict.broken.n else "none to break"
    return (
        f"Mends {verdict.fixed.value:.0%} of {verdict.fixed.n} held-out failures; "
        f"right answers broken: {broken}."
    )


def _none(why: str) -> str:
    return f"No feature set does this: {why}."
