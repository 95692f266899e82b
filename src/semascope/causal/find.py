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
   unrelated prompts left alone. Then *prune* every feature without which the set does as well,
   and *tune* the whole set's dose, on more right answers: of a hundred, two that break are too
   few to tell the dose that breaks a fiftieth.
5. *Judge* on the held-out half: fixed and broken with intervals, side effects, and the same
   interventions on random features matched in density and norm.

The set is returned if it beats what it must; otherwise the finding says why not, with the best set
that was tried. Knows what it stands on; a wish's words are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from semascope.causal import candidates as propose
from semascope.causal.candidates import Candidate
from semascope.causal.cases import Case, Judge, halves, meets, split, spread
from semascope.causal.interventions import Intervention, Where
from semascope.causal.ledger import Ledger
from semascope.causal.measure import Lever
from semascope.causal.naming import as_controls
from semascope.causal.statistics import share
from semascope.causal.trials import Bench, Memo, Prompts
from semascope.causal.wish import Finding, Options, Trial, Verdict, Wish

Progress = Callable[[int, int, str], None]
_TUNES = ((0.25, 0.5, 0.75, 1.5, 2.0), (0.8, 0.9, 1.12, 1.25))
"""What the dose of a whole set is tried times, and what the best of these then is."""
_HARDER = (2.0, 4.0)
_SOFTER = (0.5, 0.25)
_BROKEN = 5.0
"""What a broken answer over the limit costs, in mended ones; as much a nat of KL over its own."""


def find(
    lever: Lever,
    wish: Wish,
    options: Options | None = None,
    *,
    judge: Judge = meets,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> Finding:
    """The smallest set of features that does what is wished, or a finding that says none does.

    Args:
        lever: subject, dictionaries, and statistics with ``max`` and ``density``.
        wish: cases, at least eight over different samples.
        options: doses, limits, how many candidates.
        judge: whether an answer meets a case.
        ledger: where parts stand that need not be run again.
        progress: called with (done, total, note).

    Raises:
        CausalError: too few cases, or statistics that the doses need and nobody measured.
    """
    options = options or Options()
    memo = Memo(lever, ledger or Ledger())
    search, held = split(wish.cases)
    protected, kept = halves(wish.protect)
    failing = memo.apart(search, judge, options.tokens)[1]
    if not failing:
        return Finding((), "The model does this already: no case of the search half fails.", None)
    priced, wish = _priced(wish)
    wheres = options.wheres or usual_wheres(failing)
    proposed, together = gather(lever, wish, failing, protected, wheres, options)
    few = slice(options.trial_cases)
    asked = [case for case in protected if case.wanted]
    bench = Bench(memo, options, wheres, failing[few], asked[few], priced[few])
    trials = [trial for trial in bench.run(proposed, together, progress) if trial.worth > 0]
    if not trials:
        return Finding((), _none("no candidate moves the answer more than it costs"), None)
    trying = _Trying.on(memo, search, protected, judge, options, priced[few])
    grown = trying.grow(trials, progress) or trying.press(trials)
    more = replace(options, judged=options.tuned)
    wide = _Trying.on(memo, search, protected, judge, more, priced[few])
    chosen = wide.tune(trying.prune(grown), progress)
    if not chosen:
        reason = _none("no set mends more cases of the search half than it breaks")
        best = (trials[0].intervention,)
        return Finding((), reason, None, trials=tuple(trials), best=best)
    verdict = _verdict(memo, chosen, held, kept, wish, judge, options)
    controls = [
        _verdict(memo, own, held, kept, wish, judge, options)
        for own in _controls(lever, chosen, options)
    ]
    reason = _shortfall(verdict, controls, options)
    return Finding(
        () if reason else tuple(chosen),
        reason or _success(verdict),
        verdict,
        tuple(controls),
        tuple(trials),
        tuple(chosen),
    )


def _priced(wish: Wish) -> tuple[Prompts, Wish]:
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
    lever: Lever,
    wish: Wish,
    failing: Sequence[Case],
    protected: Sequence[Case],
    wheres: Sequence[Where],
    options: Options,
) -> tuple[list[Candidate], list[list[Candidate]]]:
    """Phase 2: candidates one by one, and lists whose first few are tried as sets."""
    asked = [case for case in protected if case.wanted][: options.trial_cases]
    lists = propose.from_attribution(
        lever, failing[: options.trial_cases], wheres, options.candidates, asked
    )
    meant: list[list[Candidate]] = []
    if asked:  # what fires where answers are right, and what where they are wrong
        right = [case.sample for case in asked]
        wrong = [case.sample for case in failing[: options.trial_cases]]
        meant.append(propose.from_contrast(lever, right, wrong, options.candidates))
    if wish.examples and wish.counterexamples:
        sides = (wish.examples, wish.counterexamples)
        meant.append(propose.from_contrast(lever, *sides, options.candidates))
        meant += propose.from_words(lever, *sides, options.candidates)
    if wish.features:
        meant.append(propose.from_search(lever, wish.features, options.candidates))
    together = [[one for one in own if one.push == "up"] for own in meant]
    return propose.merge([*meant, *lists], options.candidates), together


@dataclass(frozen=True, slots=True)
class _Trying:
    """Phase 4: sets, by what the model writes on the search half."""

    memo: Memo
    cases: Sequence[Case]
    before: Sequence[bool]
    judge: Judge
    options: Options
    unrelated: Prompts

    @classmethod
    def on(
        cls,
        memo: Memo,
        search: Sequence[Case],
        protected: Sequence[Case],
        judge: Judge,
        options: Options,
        unrelated: Prompts,
    ) -> _Trying:
        fine, failing = memo.apart(search, judge, options.tokens)
        right = spread([*fine, *protected], options.judged)
        cases = [*failing[: options.judged], *right]
        before = memo.met(cases, (), judge, options.tokens)
        return cls(memo, cases, before, judge, options, unrelated)

    def score(self, chosen: Sequence[Intervention]) -> float:
        """Share of wrong answers mended, less what is broken; over a limit that counts most."""
        now = self.memo.met(self.cases, chosen, self.judge, self.options.tokens)
        pairs = list(zip(self.before, now, strict=True))
        right = [after for was, after in pairs if was]
        wrong = [after for was, after in pairs if not was]
        broken = 1 - sum(right) / len(right) if right else 0.0
        over = max(0.0, broken - self.options.max_broken)
        worth = sum(wrong) / max(1, len(wrong)) - broken - _BROKEN * over
        if worth <= 0 or not self.unrelated:  # what is worth nothing need not be priced
            return worth
        kl = self.memo.effects(chosen, self.unrelated).kl.value
        return worth - _BROKEN * max(0.0, kl - self.options.max_kl)

    def grow(self, trials: Sequence[Trial], progress: Progress | None) -> list[Intervention]:
        """Add the best of the trials while the set does better; begin anew from the next best,
        and from the best at other tokens: the best by margin may not be the best by words."""
        best: tuple[float, list[Intervention]] = (0.0, [])
        short = list(trials[: self.options.shortlist])
        away = [t for t in trials if t.intervention.where != trials[0].intervention.where]
        starts = [short, short[1:], away[: self.options.shortlist]]
        starts = [own for own in starts if own]
        for number, own in enumerate(starts):
            found = self._grown(own)
            best = max(best, found, key=lambda one: one[0])
            if progress is not None:
                progress(number + 1, len(starts), f"a set of {len(found[1])}")
        return best[1]

    def _grown(self, trials: Sequence[Trial]) -> tuple[float, list[Intervention]]:
        chosen: list[Intervention] = []
        score = 0.0
        for trial in trials:
            if len(chosen) == self.options.largest or score >= 1.0:
                break
            taken = {feature for one in chosen for feature in one.features}
            if taken.intersection(trial.intervention.features):
                continue
            for factor in (1.0,) if chosen else (1.0, *_SOFTER):  # margins ask for more than words
                tried = [*chosen, _times(trial.intervention, factor)]
                now = self.score(tried)
                if now > score:
                    chosen, score = tried, now
                    break
        return score, chosen

    def press(self, trials: Sequence[Trial]) -> list[Intervention]:
        """Where no single one changes an answer: the first few together, harder."""
        best: tuple[float, list[Intervention]] = (0.0, [])
        apart: dict[tuple[str, int], Intervention] = {}
        for trial in trials:
            if not apart.keys() & set(trial.intervention.features):
                apart |= dict.fromkeys(trial.intervention.features, trial.intervention)
        several = list({id(one): one for one in apart.values()}.values())[: self.options.largest]
        for size in range(1, len(several) + 1):
            for factor in (1.0, *_HARDER):
                tried = [_times(one, factor) for one in several[:size]]
                best = max(best, (self.score(tried), tried), key=lambda one: one[0])
        return best[1]

    def tune(
        self, chosen: list[Intervention], progress: Progress | None = None
    ) -> list[Intervention]:
        """The whole set at the dose that does best; of equals, the dose that it has."""
        for number, factors in enumerate(_TUNES if chosen else ()):
            tried = [chosen, *([_times(one, factor) for one in chosen] for factor in factors)]
            chosen = max(tried, key=self.score)
            if progress is not None:
                progress(number + 1, len(_TUNES), "the dose of the set")
        return chosen

    def prune(self, chosen: list[Intervention]) -> list[Intervention]:
        """Leave out every feature without which the set does as well."""
        if not chosen:
            return chosen
        score = self.score(chosen)
        for at, feature in [(n, f) for n, one in enumerate(chosen) for f in one.features]:
            rest = list(chosen)
            left = tuple(f for f in rest[at].features if f != feature)
            rest[at] = rest[at].model_copy(update={"features": left})
            fewer = [one for one in rest if one.features]
            if fewer and self.score(fewer) >= score:
                chosen = rest
        return [one for one in chosen if one.features]


def _times(one: Intervention, factor: float) -> Intervention:
    """The dose times a factor; of a scale, the part beyond 1; an ablation stays whole."""
    if one.how == "scale":
        return one.at(1 + factor * (one.strength - 1))
    return one if one.how in ("ablate", "project") else one.at(factor * one.strength)


def judged(
    lever: Lever,
    interventions: Sequence[Intervention],
    held: Sequence[Case],
    wish: Wish,
    judge: Judge = meets,
    tokens: int = 16,
) -> Verdict:
    """Phase 5: what interventions mend and break among held-out cases, and their side effects."""
    memo = Memo(lever, Ledger())
    return _verdict(memo, interventions, held, (), wish, judge, Options(tokens=tokens))


def _verdict(
    memo: Memo,
    interventions: Sequence[Intervention],
    held: Sequence[Case],
    kept: Sequence[Case],
    wish: Wish,
    judge: Judge,
    options: Options,
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
    lever: Lever, chosen: Sequence[Intervention], options: Options
) -> list[list[Intervention]]:
    """The same interventions on random features like those chosen."""
    if lever.statistics is None:
        return []
    seeds = range(options.seed, options.seed + options.controls)
    return [as_controls(lever, chosen, seed) for seed in seeds]


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
