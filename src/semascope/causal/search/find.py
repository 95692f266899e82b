"""Finding features that do what is wished: a wish in, a tested intervention out, or none.

In phases, so that nothing is judged by what chose it:

1. *Split* the wish's cases, those it protects and its unrelated prompts into a search half and a
   held-out half, by sample.
2. *Gather* candidates on the search half: attribution at several kinds of tokens (features to push
   up, to take out, to amplify where they fire; with and without regard to what that does to
   protected answers), contrast (of examples; of protected prompts and failing ones, as SAVE does,
   2512.07730), search by words.
3. *Try* them on the search half: how far the margin of the wanted answer moves, up to where the
   answer stands fast, and what this costs in KL on unrelated prompts and in the margins of
   protected answers. Tokens and doses are chosen by that. Rank by gain less ``price`` × cost. The
   first few that contrast or search put forward are tried as sets too: of a concept that many
   features share, no single one may do.
4. *Grow* a set from the best, by what the model then writes: more answers mended, few broken, and
   unrelated prompts left alone, by one standard error more than was seen. Then *prune* every
   feature without which the set does as well, and *tune* the whole set's dose, on more right
   answers: of a hundred, two that break are too few to tell the dose that breaks a fiftieth.
5. *Judge* on the held-out half: fixed and broken with intervals, side effects, and the same
   interventions on random features matched in density and norm.

The set is returned if it beats what it must; otherwise the finding says why not, with the best set
that was tried. Knows what it stands on; a wish's words are the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    wish: Goal,
    options: SearchOptions | None = None,
    *,
    judge: Judge = meets,
    ledger: Ledger | None = None,
    memo: CachedRuns | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """The smallest set of features that does what is wished, or a finding that says none does.

    Args:
        steerable: subject, dictionaries, and statistics with ``max`` and ``density``.
        wish: cases, at least eight over different samples.
        options: doses, limits, how many candidates.
        judge: whether an answer meets a case.
        ledger: where parts stand that need not be run again.
        memo: what is known of the same model already, instead of a ledger.
        progress: called with (done, total, note).

    Raises:
        CausalError: too few cases, or statistics that the doses need and nobody measured.
    """
    options = options or SearchOptions()
    memo = memo or CachedRuns(steerable, ledger or Ledger())
    search, held = split(wish.cases)
    protected, kept = halves(wish.protect)
    failing = memo.apart(search, judge, options.tokens, progress)[1]
    if not failing:
        return SearchResult(
            (), "The model does this already: no case of the search half fails.", None
        )
    priced, wish = _priced(wish)
    wheres = options.wheres or usual_wheres(failing)
    proposed, together = gather(steerable, wish, failing, protected, wheres, options)
    few = slice(options.trial_cases)
    asked = [case for case in protected if case.wanted]
    bench = CandidateTrials(memo, options, wheres, failing[few], asked[few], priced[few])
    trials = [trial for trial in bench.run(proposed, together, progress) if trial.worth > 0]
    if not trials:
        return SearchResult((), _none("no candidate moves the answer more than it costs"), None)
    trying = FeatureSetSearch.on(memo, search, protected, judge, options, priced)
    grown = trying.grow(trials, progress) or trying.press(trials)
    more = replace(options, judged=options.tuned)
    wide = FeatureSetSearch.on(memo, search, protected, judge, more, priced)
    chosen = wide.tune(trying.prune(grown), progress)
    if not chosen:
        reason = _none("no set mends more cases of the search half than it breaks")
        best = (trials[0].intervention,)
        return SearchResult((), reason, None, trials=tuple(trials), best=best)
    for own in (held, kept):  # with a bar; the verdicts ask for the same
        memo.plainly(own, options.tokens, progress)

    def judged(own: Sequence[Intervention]) -> Verdict:
        return _verdict(memo, own, held, kept, wish, judge, options)

    controls = [judged(own) for own in _controls(steerable, chosen, options)]
    return _finding(chosen, judged(chosen), controls, trials, options)


def _finding(
    chosen: Sequence[Intervention],
    verdict: Verdict,
    controls: Sequence[Verdict],
    trials: Sequence[CandidateTrial],
    options: SearchOptions,
) -> SearchResult:
    """What the held-out half says of the chosen set: it is returned, or why it will not do."""
    reason = _shortfall(verdict, controls, options)
    return SearchResult(
        () if reason else tuple(chosen),
        reason or _success(verdict),
        verdict,
        tuple(controls),
        tuple(trials),
        tuple(chosen),
    )


def _priced(wish: Goal) -> tuple[Prompts, Goal]:
    """The unrelated prompts that sets are priced on, and the wish with the others, to judge by."""
    half = len(wish.unrelated) // 2
    priced, held = wish.unrelated[:half], wish.unrelated[half:]
    return priced or held, replace(wish, unrelated=held)


def usual_wheres(cases: Sequence[Case]) -> tuple[Where, ...]:
    """All tokens, those of pictures where there are some, the words of the question, the prompt's
    last token, the answer's."""
    seen = any(case.sample.images for case in cases)
    pictures = (Where(kinds=("image", "tile")),) if seen else ()
    question = Where(roles=("user",), kinds=("text",), generated=False)
    return (Where(), *pictures, question, Where(positions=(-1,)), Where(generated=True))


def gather(
    steerable: SteerableModel,
    wish: Goal,
    failing: Sequence[Case],
    protected: Sequence[Case],
    wheres: Sequence[Where],
    options: SearchOptions,
) -> tuple[list[CandidateFeature], list[list[CandidateFeature]]]:
    """Phase 2: candidates one by one, and lists whose first few are tried as sets."""
    asked = [case for case in protected if case.wanted][: options.trial_cases]
    lists = propose.from_attribution(
        steerable, failing[: options.trial_cases], wheres, options.candidates, asked
    )
    meant: list[list[CandidateFeature]] = []
    if asked:  # what fires where answers are right, and what where they are wrong
        right = [case.sample for case in asked]
        wrong = [case.sample for case in failing[: options.trial_cases]]
        meant.append(propose.from_contrast(steerable, right, wrong, options.candidates))
    if wish.examples and wish.counterexamples:
        sides = (wish.examples, wish.counterexamples)
        meant.append(propose.from_contrast(steerable, *sides, options.candidates))
        meant += propose.from_words(steerable, *sides, options.candidates)
    if wish.features:
        meant.append(propose.from_search(steerable, wish.features, options.candidates))
    together = [[one for one in own if one.push == "up"] for own in meant]
    return propose.merge([*meant, *lists], options.candidates), together


def judged(
    steerable: SteerableModel,
    interventions: Sequence[Intervention],
    held: Sequence[Case],
    wish: Goal,
    judge: Judge = meets,
    tokens: int = 16,
) -> Verdict:
    """Phase 5: what interventions mend and break among held-out cases, and their side effects."""
    memo = CachedRuns(steerable, Ledger())
    return _verdict(memo, interventions, held, (), wish, judge, SearchOptions(tokens=tokens))


def _verdict(
    memo: CachedRuns,
    interventions: Sequence[Intervention],
    held: Sequence[Case],
    kept: Sequence[Case],
    wish: Goal,
    judge: Judge,
    options: SearchOptions,
) -> Verdict:
    fine, failing = memo.apart(held, judge, options.tokens)
    also = memo.apart(kept, judge, options.tokens)[0]
    right = spread([*fine, *also], options.kept)
    mended = memo.met(failing, interventions, judge, options.tokens)
    stayed = memo.met(right, interventions, judge, options.tokens)
    return Verdict(
        fixed=share(sum(mended), len(mended)),
        broken=share(len(stayed) - sum(stayed), len(stayed)),
        effects=memo.effects(interventions, wish.unrelated) if wish.unrelated else None,
    )


def _controls(
    steerable: SteerableModel, chosen: Sequence[Intervention], options: SearchOptions
) -> list[list[Intervention]]:
    """The same interventions on random features like those chosen."""
    if steerable.statistics is None:
        return []
    seeds = range(options.seed, options.seed + options.controls)
    return [as_controls(steerable, chosen, seed) for seed in seeds]


def _shortfall(verdict: Verdict, controls: Sequence[Verdict], options: SearchOptions) -> str:
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
