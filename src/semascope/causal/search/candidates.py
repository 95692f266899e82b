"""Candidate features for a goal, from attribution, contrast and search; none is tried here.

* *Attribution*: on the cases themselves, the gradient of log p(wanted) − log p(unwanted) at the
  chosen tokens, along every feature's direction, the silent ones too. Σ_t g · W_dec[f] · u is,
  to first order, what adding one unit u of f would do; − z · (W_dec · g) what ablating it would.
* *Contrast*: features that fire more on examples of the goal than on counter-examples, by
  the difference of their mean activations over their own maximum (as SAVE, 2512.07730, does
  with right and wrong answers); and, word by word, on the words that only the examples hold.
* *Search*: the first features that the caller's search by words returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.causal.attribution.metrics import (
    ContinuationContrast,
    ContinuationLogProb,
    Metric,
    token_ids,
)
from semascope.causal.attribution.scores import directional
from semascope.causal.attribution.watched_run import encode, run_for
from semascope.causal.search.cases import Case
from semascope.causal.steering.interventions import Where
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.causal.steering.token_masks import select
from semascope.causal.steering.units import output_site, statistic
from semascope.corpus.sample import Sample
from semascope.dictionary.types import Codes, Dictionary
from semascope.errors import CausalError
from semascope.subject.readable import readable
from semascope.subject.types import Kind

Source = Literal["attribution", "contrast", "search"]
_WORDS = 4
"""Most distinctive words of the examples whose features are tried as sets."""


Push = Literal["up", "down", "amplify"]
_PUSHES: tuple[Push, ...] = ("up", "down", "amplify")


@dataclass(frozen=True, slots=True)
class CandidateFeature:
    """A feature, which way to push it, and what proposed it."""

    key: str
    index: int
    push: Push
    """up: add; down: ablate; amplify: scale it where it fires."""
    source: Source
    promise: float
    """Larger is better; comparable within one source only."""
    where: Where | None = None
    """The tokens that it was proposed for; None to try each kind."""

    @property
    def id(self) -> tuple[str, int]:
        """The pair that an ``Intervention`` takes."""
        return (self.key, self.index)


@dataclass(frozen=True, slots=True)
class Slopes:
    """First-order effect on a case's metric of pushing each feature of a dictionary."""

    gain: NDArray[np.float64]
    """(width,) of adding one unit."""
    loss: NDArray[np.float64]
    """(width,) of ablation; of amplifying, the opposite."""


def from_attribution(
    steerable: SteerableModel,
    cases: Sequence[Case],
    wheres: Sequence[Where],
    count: int,
    protect: Sequence[Case] = (),
) -> list[list[CandidateFeature]]:
    """The most promising features over the cases: a list for each kind of token and push.

    With protected cases there are as many lists again, ranked by the promise less the harm to
    the protected cases.
    """
    case_slopes = [_slopes(steerable, case, wheres) for case in cases]
    protected_slopes = [_slopes(steerable, case, wheres) for case in protect]
    lists: list[list[CandidateFeature]] = []
    for number, where in enumerate(wheres):
        for push in _PUSHES:
            plain: list[CandidateFeature] = []
            fair: list[CandidateFeature] = []
            for key in steerable.dictionaries:
                promised = _mean([_pushed(s[key][number], push) for s in case_slopes])
                plain += [
                    CandidateFeature(key, i, push, "attribution", v, where)
                    for i, v in _best(promised, count)
                ]
                if protected_slopes:
                    harm = _mean([_pushed(s[key][number], push) for s in protected_slopes])
                    net = promised + np.minimum(harm, 0.0)
                    fair += [
                        CandidateFeature(key, i, push, "attribution", v, where)
                        for i, v in _best(net, count)
                    ]
            lists += [
                sorted(ranked, key=lambda c: -c.promise)[:count]
                for ranked in (plain, fair)
                if ranked
            ]
    return lists


def _pushed(slopes: Slopes, push: Push) -> NDArray[np.float64]:
    """(width,) the promise of one push."""
    return {"up": slopes.gain, "down": slopes.loss, "amplify": -slopes.loss}[push]


def _mean(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.mean(rows, axis=0), dtype=np.float64)


def _slopes(
    steerable: SteerableModel, case: Case, wheres: Sequence[Where]
) -> dict[str, list[Slopes]]:
    """For each dictionary, the slopes at each kind of token, from one backward pass."""
    batch = steerable.prompt(case.sample)
    known = list(steerable.dictionaries.values())
    run = run_for(steerable.subject, batch, known, metric_of(steerable, case), {})
    length = run.real.shape[1]
    slopes: dict[str, list[Slopes]] = {}
    for key, dictionary in steerable.dictionaries.items():
        real = run.real_at(dictionary.site)
        g = run.gradients[output_site(dictionary)]  # (R, T, d)
        unit = _units(steerable, key, dictionary)
        codes = encode(dictionary, run)
        slopes[key] = []
        for where in wheres:
            rows = [select(where, m, length)[:length] for m in run.forced.batch.maps]
            chosen = torch.from_numpy(np.stack(rows)).to(real.device) & real  # (R, T)
            inside = chosen[real]  # (N,)
            part = Codes(codes.values[inside], codes.indices[inside])
            slopes[key].append(
                Slopes(
                    gain=slopes_of_all(dictionary, g[chosen].sum(0)) * unit,
                    loss=_losses(dictionary, part, g[real][inside]),
                )
            )
    return slopes


def _losses(dictionary: Dictionary, codes: Codes, g: torch.Tensor) -> NDArray[np.float64]:
    """(width,) −Σ z (W_dec · g) over tokens: what ablating each feature would do."""
    along = directional(dictionary, codes.indices, g)  # (N, k)
    loss = np.zeros(dictionary.width)
    np.add.at(
        loss,
        codes.indices.flatten().cpu().numpy(),
        -(codes.values.float() * along).flatten().cpu().double().numpy(),
    )
    return loss


def metric_of(steerable: SteerableModel, case: Case) -> Metric:
    """The metric of a case: wanted against unwanted words. CausalError if none are wanted."""
    if not case.wanted:
        raise CausalError(f"Case {case.id} has no wanted answer: give one to attribute it.")
    wanted = token_ids(steerable.subject, case.wanted)
    if not case.unwanted:
        return ContinuationLogProb(wanted)
    return ContinuationContrast(wanted, token_ids(steerable.subject, case.unwanted))


def slopes_of_all(dictionary: Dictionary, g: torch.Tensor) -> NDArray[np.float64]:
    """(width,) W_dec · g for one summed gradient (d,), a slice of the width at a time."""
    parts = [
        dictionary.directions(torch.arange(i, min(i + 8192, dictionary.width), device=g.device))
        .float()
        .matmul(g)
        for i in range(0, dictionary.width, 8192)
    ]
    return torch.cat(parts).cpu().double().numpy()


def _units(steerable: SteerableModel, key: str, dictionary: Dictionary) -> NDArray[np.float64]:
    """(width,) each feature's own maximum, 0 where it never fired; 1 without statistics."""
    if steerable.statistics is None:
        return np.ones(dictionary.width)
    return np.asarray(statistic(steerable.statistics, key, "max"), dtype=np.float64)


def _best(promise: NDArray[np.float64], count: int) -> list[tuple[int, float]]:
    """The features of highest positive promise."""
    order = np.argsort(-promise, kind="stable")[:count]
    return [(int(i), float(promise[i])) for i in order if promise[i] > 0]


def from_contrast(
    steerable: SteerableModel,
    examples: Sequence[Sample],
    counterexamples: Sequence[Sample],
    count: int,
) -> list[CandidateFeature]:
    """Features that fire more on some samples than on others, and the other way round."""
    candidates: list[CandidateFeature] = []
    for key, dictionary in steerable.dictionaries.items():
        units = np.maximum(_units(steerable, key, dictionary), 1e-9)
        present, absent = (
            mean_activations(steerable, dictionary, s) for s in (examples, counterexamples)
        )
        difference = (present - absent) / units
        candidates += [
            CandidateFeature(key, i, "up", "contrast", v) for i, v in _best(difference, count)
        ]
        candidates += [
            CandidateFeature(key, i, "down", "contrast", v) for i, v in _best(-difference, count)
        ]
    return sorted(candidates, key=lambda c: -c.promise)[:count]


def mean_activations(
    steerable: SteerableModel, dictionary: Dictionary, samples: Sequence[Sample]
) -> NDArray[np.float64]:
    """(width,) mean over samples of each feature's largest activation in the sample."""
    total = np.zeros(dictionary.width)
    for sample in samples:
        batch = steerable.prompt(sample)
        with torch.no_grad():
            ran = steerable.subject.run(batch, [dictionary.site])[dictionary.site]
        x, real = readable(dictionary.site, ran, batch, template=True)
        if not bool(real.any()):
            continue
        codes = dictionary.encode(x[real].float())
        peaks = np.zeros(dictionary.width)
        values = codes.values.float().flatten().cpu().double().numpy()
        np.maximum.at(peaks, codes.indices.flatten().cpu().numpy(), values)
        total += peaks
    return total / max(1, len(samples))


def from_words(
    steerable: SteerableModel,
    examples: Sequence[Sample],
    counterexamples: Sequence[Sample],
    count: int,
) -> list[list[CandidateFeature]]:
    """For each word in most examples and in no counter-example, the features that fire on it.

    "What word is written?" against "What do you see?" gives a list for " word" and one for
    " written", per dictionary. A contrast of whole inputs would mix the two words.
    """
    present = [_by_word(steerable, sample) for sample in examples]
    absent = {word for sample in counterexamples for word in _by_word(steerable, sample)}
    counts = Counter(word for by_word in present for word in by_word)
    often = [w for w, n in counts.most_common() if n > len(present) // 2 and w not in absent]
    lists = []
    for word in often[:_WORDS]:
        rows = [by_word[word] for by_word in present if word in by_word]
        for key, dictionary in steerable.dictionaries.items():
            units = np.maximum(_units(steerable, key, dictionary), 1e-9)
            promised = _mean([row[key] for row in rows]) / units
            lists.append(
                [CandidateFeature(key, i, "up", "contrast", v) for i, v in _best(promised, count)]
            )
    return lists


def _by_word(
    steerable: SteerableModel, sample: Sample
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """By text token: for each dictionary, (width,) the largest activation at that token."""
    batch = steerable.prompt(sample)
    sites = steerable.sites
    with torch.no_grad():
        ran = steerable.subject.run(batch, sites)
    token_map = batch.maps[0]
    peaks: dict[str, dict[str, NDArray[np.float64]]] = {}
    for key, dictionary in steerable.dictionaries.items():
        x, real = readable(  # (1, T, d), (1, T)
            dictionary.site, ran[dictionary.site], batch, template=True
        )
        for at in np.flatnonzero(token_map.kinds == Kind.TEXT).tolist():
            if not bool(real[0, at]):
                continue
            codes = dictionary.encode(x[0, at][None].float())
            row = peaks.setdefault(token_map.tokens[at], {}).setdefault(
                key, np.zeros(dictionary.width)
            )
            np.maximum.at(
                row,
                codes.indices.flatten().cpu().numpy(),
                codes.values.float().flatten().cpu().double().numpy(),
            )
    return {
        word: by_key for word, by_key in peaks.items() if len(by_key) == len(steerable.dictionaries)
    }


def from_search(
    steerable: SteerableModel, features: Iterable[tuple[str, int]], count: int
) -> list[CandidateFeature]:
    """Results of a search by words, best first, without those that never fired (no dose)."""
    units = {key: _units(steerable, key, d) for key, d in steerable.dictionaries.items()}
    alive = [(key, i) for key, i in features if key in units and units[key][i] > 0]
    chosen = alive[:count]
    return [
        CandidateFeature(key, index, "up", "search", 1.0 / (rank + 1))
        for rank, (key, index) in enumerate(chosen)
    ]


def merge(lists: Sequence[Sequence[CandidateFeature]], count: int) -> list[CandidateFeature]:
    """Candidates of all lists in turn, without repeats."""
    seen: dict[tuple[str, int, str, Where | None], CandidateFeature] = {}
    for rank in range(max(map(len, lists), default=0)):
        for candidates in lists:
            if rank < len(candidates):
                candidate = candidates[rank]
                seen.setdefault(
                    (candidate.key, candidate.index, candidate.push, candidate.where), candidate
                )
    return list(seen.values())[:count]
