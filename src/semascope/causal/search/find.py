"""Search for features that reach a goal: cases in, a tested intervention out, or none.

The data that choose a set never judge it. In phases:

1. *Split* the goal's cases, its protected cases and its unrelated prompts into a search half and a
   held-out half, by sample.
2. *Gather* candidates on the search half, by attribution at several kinds of tokens (features to
   push up, ablate or amplify; with and without regard for protected answers), by contrast (of
   examples; of protected and failing prompts, as SAVE does, 2512.07730), and by a search by words.
3. *Try* them on the search half: the gain in the margin of the wanted answer, clipped where the
   answer is safe, against the cost in KL on unrelated prompts and in the margins of protected
   answers. This chooses tokens and doses; the rank is gain − ``price`` × cost. The first few
   candidates of contrast and search are tried as sets too, since many features may share a concept.
4. *Grow* a set from the best candidates, judged by the model's answers: as many fixed and as few
   broken as possible, costs counted one standard error above their mean. Then *prune* features
   that the set does not need, and *tune* the dose of the set on more right answers: of a hundred,
   two that break are too few to choose the dose by.
5. *Judge* on the held-out half: shares fixed and broken with intervals, side effects, and the same
   interventions on random features matched in density and norm.

The set is returned if it passes every limit and beats the random features; otherwise the result
gives the reason, with the best set that was tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from semascope.causal.search import candidates as propose
from semascope.causal.search.candidates import CandidateFeature
from semascope.causal.search.cases import Case, Judge, Progress, halves, meets, split, spread
from semascope.causal.search.feature_sets import FeatureSetSearch
from semascope.causal.search.goal import CandidateTrial, Goal, SearchOptions, SearchResult, Verdict
from semascope.causal.search.ledger import Ledger
from semascope.causal.search.trials import CachedRuns, CandidateTrials, Prompts
from semascope.causal.steering.controls import as_controls
from semascope.causal.steering.interventions import Intervention, Where
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.statistics import share


def find(
    steerable: SteerableModel,
    goal: Goal,
    options: SearchOptions | None = None,
    *,
    judge: Judge = meets,
    ledger: Ledger | None = None,
    runs: CachedRuns | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Search for the smallest set of features that reaches the goal.

    Args:
        steerable: subject, dictionaries, and statistics with ``max`` and ``density``.
        goal: cases, at least eight over different samples.
        options: doses, limits, how many candidates.
        judge: whether an answer meets a case.
        ledger: results of an earlier, stopped search, to resume it.
        runs: cached results of the same model, instead of a ledger.
        progress: called with (done, total, note).

    Raises:
        CausalError: too few cases, or no statistics of the dictionaries to size doses by.
    """
    options = options or SearchOptions()
    runs = runs or CachedRuns(steerable, ledger or Ledger())
    # Phase 1: split
    search, held_out = split(goal.cases)
    protected, protected_held_out = halves(goal.protect)
    failing = runs.by_answer(search, judge, options.tokens, progress)[1]
    if not failing:
        return SearchResult(
            (), "The model already does this: no case of the search half fails.", None
        )
    priced, goal = _priced(goal)
    wheres = options.wheres or default_wheres(failing)
    # Phase 2: gather candidates
    proposed, together = gather(steerable, goal, failing, protected, wheres, options)
    # Phase 3: try them
    first = slice(options.trial_cases)
    answered = [case for case in protected if case.wanted][first]
    bench = CandidateTrials(runs, options, wheres, failing[first], answered, priced[first])
    trials = [t for t in bench.run(proposed, together, progress) if t.worth > 0]
    if not trials:
        return SearchResult((), _none("no candidate moves the answer more than it costs"), None)
    # Phase 4: grow a set, prune it, and tune its dose
    set_search = FeatureSetSearch.on(runs, search, protected, judge, options, priced)
    grown = set_search.grow(trials, progress) or set_search.press(trials)
    more_answers = replace(options, judged=options.tuned)
    tuning = FeatureSetSearch.on(runs, search, protected, judge, more_answers, priced)
    chosen = tuning.tune(set_search.prune(grown), progress)
    if not chosen:
        return _no_set(trials)
    # Phase 5: judge on the held-out half
    for cases in (held_out, protected_held_out):  # here, to show progress; the verdict needs them
        runs.plain_answers(cases, options.tokens, progress)
    judged = partial(_verdict, runs, held_out, protected_held_out, goal, judge, options)
    controls = [judged(random_set) for random_set in _controls(steerable, chosen, options)]
    return _finding(chosen, judged(chosen), controls, trials, options)


def _no_set(trials: Sequence[CandidateTrial]) -> SearchResult:
    """The result if candidates moved margins and no set of them changes answers enough."""
    reason = _none("no set mends more cases of the search half than it breaks")
    return SearchResult((), reason, None, trials=tuple(trials), best=(trials[0].intervention,))


def _finding(
    chosen: Sequence[Intervention],
    verdict: Verdict,
    controls: Sequence[Verdict],
    trials: Sequence[CandidateTrial],
    options: SearchOptions,
) -> SearchResult:
    """The result for the chosen set, by its verdict on the held-out half."""
    reason = _shortfall(verdict, controls, options)
    return SearchResult(
        () if reason else tuple(chosen),
        reason or _success(verdict),
        verdict,
        tuple(controls),
        tuple(trials),
        tuple(chosen),
    )


def _priced(goal: Goal) -> tuple[Prompts, Goal]:
    """Unrelated prompts for the search, and the goal with the rest of them, for the judging."""
    half = len(goal.unrelated) // 2
    priced, held_out = goal.unrelated[:half], goal.unrelated[half:]
    return priced or held_out, replace(goal, unrelated=held_out)


def default_wheres(cases: Sequence[Case]) -> tuple[Where, ...]:
    """Everything, image tokens if any, the question's words, the last prompt token, the answer."""
    seen = any(case.sample.images for case in cases)
    pictures = (Where(kinds=("image", "tile")),) if seen else ()
    question = Where(roles=("user",), kinds=("text",), generated=False)
    return (Where(), *pictures, question, Where(positions=(-1,)), Where(generated=True))


def gather(
    steerable: SteerableModel,
    goal: Goal,
    failing: Sequence[Case],
    protected: Sequence[Case],
    wheres: Sequence[Where],
    options: SearchOptions,
) -> tuple[list[CandidateFeature], list[list[CandidateFeature]]]:
    """Phase 2: candidates to try one by one, and lists whose first few are tried as sets."""
    with_answers = [case for case in protected if case.wanted][: options.trial_cases]
    lists = propose.from_attribution(
        steerable, failing[: options.trial_cases], wheres, options.candidates, with_answers
    )
    by_meaning: list[list[CandidateFeature]] = []
    if with_answers:  # what fires where answers are right against where they are wrong
        right = [case.sample for case in with_answers]
        wrong = [case.sample for case in failing[: options.trial_cases]]
        by_meaning.append(propose.from_contrast(steerable, right, wrong, options.candidates))
    if goal.examples and goal.counterexamples:
        sides = (goal.examples, goal.counterexamples)
        by_meaning.append(propose.from_contrast(steerable, *sides, options.candidates))
        by_meaning += propose.from_words(steerable, *sides, options.candidates)
    if goal.features:
        by_meaning.append(propose.from_search(steerable, goal.features, options.candidates))
    together = [[one for one in candidates if one.push == "up"] for candidates in by_meaning]
    return propose.merge([*by_meaning, *lists], options.candidates), together


def _verdict(
    runs: CachedRuns,
    held_out: Sequence[Case],
    protected_held_out: Sequence[Case],
    goal: Goal,
    judge: Judge,
    options: SearchOptions,
    interventions: Sequence[Intervention],
) -> Verdict:
    """Phase 5: shares of held-out cases fixed and broken by interventions, and side effects."""
    already_right, failing = runs.by_answer(held_out, judge, options.tokens)
    protected_right = runs.by_answer(protected_held_out, judge, options.tokens)[0]
    right = spread([*already_right, *protected_right], options.kept)
    fixed = runs.met(failing, interventions, judge, options.tokens)
    intact = runs.met(right, interventions, judge, options.tokens)
    return Verdict(
        fixed=share(sum(fixed), len(fixed)),
        broken=share(len(intact) - sum(intact), len(intact)),
        effects=runs.effects(interventions, goal.unrelated) if goal.unrelated else None,
    )


def _controls(
    steerable: SteerableModel, chosen: Sequence[Intervention], options: SearchOptions
) -> list[list[Intervention]]:
    """The same interventions on matched random features, one set for each seed."""
    if steerable.statistics is None:
        return []
    seeds = range(options.seed, options.seed + options.controls)
    return [as_controls(steerable, chosen, seed) for seed in seeds]


def _shortfall(verdict: Verdict, controls: Sequence[Verdict], options: SearchOptions) -> str:
    """Why the set is not good enough; empty if it is."""
    if verdict.fixed.n == 0:
        return _none("no held-out case fails, so nothing can be shown to mend it")
    best = max((control.fixed.value for control in controls), default=0.0)
    if verdict.fixed.value < options.min_fixed:
        return _none(
            f"the best set mends {verdict.fixed.value:.0%} of the held-out failures, "
            f"less than {options.min_fixed:.0%}"
        )
    if verdict.fixed.low <= best:
        return _none(f"random features mend {best:.0%}, and the best set is not surely above that")
    if verdict.broken.n and verdict.broken.value > options.max_broken:
        return _none(f"the best set breaks {verdict.broken.value:.1%} of the right answers")
    if verdict.effects is not None and verdict.effects.kl.value > options.max_kl:
        return _none(
            f"the best set costs {verdict.effects.kl.value:.2f} nats per token on unrelated prompts"
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
