"""Features that might do what is wished, from attribution, contrast and search; none tried yet.

* *Attribution*: on the cases themselves, the gradient of log p(wanted) − log p(unwanted) at the
  chosen tokens, along every feature's direction, the silent ones too. Σ_t g · W_dec[f] · u is,
  to first order, what adding one unit u of f would do; − z · (W_dec · g) what ablating it would.
* *Contrast*: features that fire more on examples with the wish than on those without, by
  the difference of their mean activations over their own maximum (as SAVE, 2512.07730, does
  with right and wrong answers).
* *Search*: whatever a search by words puts first; the caller's function.

Knows gradients and statistics; whether a candidate works is ``find``'s to try.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from semascope.causal.attribution import encode, run_for
from semascope.causal.cases import Case
from semascope.causal.interventions import Where
from semascope.causal.measure import Lever
from semascope.causal.metrics import Contrast, Metric, Span, token_ids
from semascope.causal.select import select
from semascope.causal.units import output_site, statistic
from semascope.corpus.sample import Sample
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError

Source = Literal["attribution", "contrast", "search"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A feature, which way to push it, and why it was thought of."""

    key: str
    index: int
    push: Literal["up", "down"]
    """up: add; down: ablate."""
    source: Source
    promise: float
    """Larger is better; comparable within one source only."""

    @property
    def id(self) -> tuple[str, int]:
        """The pair that an ``Intervention`` takes."""
        return (self.key, self.index)


def from_attribution(
    lever: Lever, cases: Sequence[Case], where: Where, count: int
) -> list[Candidate]:
    """The features of highest promise over the cases, up and down, one backward a case."""
    gains = {key: np.zeros(d.width) for key, d in lever.dictionaries.items()}
    losses = {key: np.zeros(d.width) for key, d in lever.dictionaries.items()}
    for case in cases:
        for key, (gain, loss) in _slopes(lever, case, where).items():
            gains[key] += gain / len(cases)
            losses[key] += loss / len(cases)
    found: list[Candidate] = []
    for key in gains:
        found += [Candidate(key, i, "up", "attribution", v) for i, v in _best(gains[key], count)]
        found += [Candidate(key, i, "down", "attribution", v) for i, v in _best(losses[key], count)]
    return sorted(found, key=lambda c: -c.promise)[:count]


def _slopes(
    lever: Lever, case: Case, where: Where
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each dictionary, (width,) gain of one unit more and of ablation, at chosen tokens."""
    batch = lever.subject.encode([case.sample], answer="", max_tokens=None)
    known = list(lever.dictionaries.values())
    run = run_for(lever.subject, batch, known, metric_of(lever, case), {})
    found = {}
    for key, dictionary in lever.dictionaries.items():
        rows = [
            select(where, token_map, run.real.shape[1])[: run.real.shape[1]]
            for token_map in run.forced.batch.maps
        ]
        chosen = torch.from_numpy(np.stack(rows)).to(run.real.device) & run.real  # (R, T)
        g = run.gradients[output_site(dictionary)]  # (R, T, d)
        unit = _units(lever, key, dictionary)
        gain = slopes_of_all(dictionary, g[chosen].sum(0)) * unit
        codes = encode(dictionary, run)
        inside = chosen[run.real]  # (N,)
        values = codes.values[inside]
        along = torch.einsum(
            "nkd,nd->nk",
            dictionary.directions(codes.indices[inside].flatten()).float().view(*values.shape, -1),
            g[run.real][inside],
        )
        loss = np.zeros(dictionary.width)
        np.add.at(
            loss,
            codes.indices[inside].flatten().cpu().numpy(),
            -(values.float() * along).flatten().cpu().double().numpy(),
        )
        found[key] = (gain, loss)
    return found


def metric_of(lever: Lever, case: Case) -> Metric:
    """What a case wants, as a metric."""
    if not case.wanted:
        raise CausalError(f"Case {case.id} wants no words, so nothing can be attributed to them.")
    wanted = token_ids(lever.subject, case.wanted)
    if not case.unwanted:
        return Span(wanted)
    return Contrast(wanted, token_ids(lever.subject, case.unwanted))


def slopes_of_all(dictionary: Dictionary, g: torch.Tensor) -> NDArray[np.float64]:
    """(width,) W_dec · g for one summed gradient (d,), a slice of the width at a time."""
    parts = [
        dictionary.directions(torch.arange(i, min(i + 8192, dictionary.width), device=g.device))
        .float()
        .matmul(g)
        for i in range(0, dictionary.width, 8192)
    ]
    return torch.cat(parts).cpu().double().numpy()


def _units(lever: Lever, key: str, dictionary: Dictionary) -> NDArray[np.float64]:
    """(width,) each feature's own maximum, 0 where it never fired; 1 without statistics."""
    if lever.statistics is None:
        return np.ones(dictionary.width)
    return np.asarray(statistic(lever.statistics, key, "max"), dtype=np.float64)


def _best(promise: NDArray[np.float64], count: int) -> list[tuple[int, float]]:
    """The features of highest positive promise."""
    order = np.argsort(-promise, kind="stable")[:count]
    return [(int(i), float(promise[i])) for i in order if promise[i] > 0]


def from_contrast(
    lever: Lever, with_wish: Sequence[Sample], without: Sequence[Sample], count: int
) -> list[Candidate]:
    """Features that fire more on some samples than on others, and the other way round."""
    found: list[Candidate] = []
    for key, dictionary in lever.dictionaries.items():
        units = np.maximum(_units(lever, key, dictionary), 1e-9)
        there, absent = (mean_activations(lever, dictionary, s) for s in (with_wish, without))
        difference = (there - absent) / units
        found += [Candidate(key, i, "up", "contrast", v) for i, v in _best(difference, count)]
        found += [Candidate(key, i, "down", "contrast", v) for i, v in _best(-difference, count)]
    return sorted(found, key=lambda c: -c.promise)[:count]


def mean_activations(
    lever: Lever, dictionary: Dictionary, samples: Sequence[Sample]
) -> NDArray[np.float64]:
    """(width,) mean over samples of each feature's largest activation in the sample."""
    total = np.zeros(dictionary.width)
    for sample in samples:
        batch = lever.subject.encode([sample], answer="", max_tokens=None)
        with torch.no_grad():
            x = lever.subject.run(batch, [dictionary.site])[dictionary.site][batch.mask]
        codes = dictionary.encode(x.float())
        peaks = np.zeros(dictionary.width)
        values = codes.values.float().flatten().cpu().double().numpy()
        np.maximum.at(peaks, codes.indices.flatten().cpu().numpy(), values)
        total += peaks
    return total / max(1, len(samples))


def from_search(features: Iterable[tuple[str, int]], count: int) -> list[Candidate]:
    """What a search by words found, best first."""
    chosen = list(features)[:count]
    return [
        Candidate(key, index, "up", "search", 1.0 / (rank + 1))
        for rank, (key, index) in enumerate(chosen)
    ]


def merge(lists: Sequence[Sequence[Candidate]], count: int) -> list[Candidate]:
    """Candidates of all sources in turn, each feature and push once."""
    seen: dict[tuple[str, int, str], Candidate] = {}
    for rank in range(max(map(len, lists), default=0)):
        for own in lists:
            if rank < len(own):
                candidate = own[rank]
                seen.setdefault((candidate.key, candidate.index, candidate.push), candidate)
    return list(seen.values())[:count]
