"""Explaining and scoring a whole dictionary: in batches, resumable, with progress.

Knows protocols only: where records come from and where words and figures go is the caller's.
A batch is what a sink gets at once and what is done again after a crash; since some figures
(background rates, shuffled controls) look across a batch, batches are cut at fixed places of
the list of features, so that a run that was killed ends with the same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from semascope.evidence.types import FeatureEvidence
from semascope.explain.stats import mean_interval
from semascope.explain.types import Cost, Explainer, Explanation, Progress, Score, Scorer

BATCH = 512


@dataclass(slots=True)
class Explained:
    """What a run of explaining came to."""

    features: int = 0
    explained: int = 0
    """Those not abstained, by any explainer, counted once each."""
    cost: Cost = field(default_factory=Cost)
    by_author: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Scored:
    """What a run of scoring came to."""

    features: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)
    """By kind of score."""

    def means(self) -> dict[str, tuple[float, float, float]]:
        """By kind: mean over features with its 95 % bootstrap interval."""
        return {k: tuple(mean_interval(np.array(v))) for k, v in sorted(self.values.items())}  # type: ignore[misc]


def pending(
    indices: Sequence[int], done: Container[int], batch: int = BATCH
) -> Iterator[Sequence[int]]:
    """Fixed batches of the list, without those that are wholly done."""
    for start in range(0, len(indices), batch):
        block = indices[start : start + batch]
        if not all(index in done for index in block):
            yield block


def explain_all(
    records: Iterable[FeatureEvidence],
    explainers: Sequence[Explainer],
    sink: Callable[[list[Explanation]], None],
    progress: Progress | None = None,
    *,
    total: int = 0,
    batch: int = BATCH,
) -> Explained:
    """Ask every explainer about every record; the sink gets whole batches, explainer by explainer.

    To resume, pass the records of ``pending`` blocks only::

        blocks = pending(indices, done, batch)
        explain_all((evidence.feature(i) for block in blocks for i in block), …, batch=batch)
    """
    summary = Explained()
    for block in _batches(records, batch):
        named: set[int] = set()
        written: list[Explanation] = []
        for explainer in explainers:
            made = explainer.explain(block)
            written += made
            summary.by_author.update(e.author for e in made if not e.abstained)
            named.update(e.feature for e in made if not e.abstained)
            summary.cost = sum((e.cost for e in made), summary.cost)
        sink(written)
        summary.features += len(block)
        summary.explained += len(named)
        if progress:
            note = f"{summary.explained} of {summary.features} in words"
            progress(summary.features, max(total, summary.features), note)
    return summary


def score_all(
    records: Iterable[FeatureEvidence],
    explanations: Mapping[int, Explanation],
    scorers: Sequence[Scorer],
    sink: Callable[[list[Score]], None],
    progress: Progress | None = None,
    *,
    total: int = 0,
    batch: int = BATCH,
) -> Scored:
    """Score the explanation of every record that has one; the sink gets whole batches."""
    summary = Scored()
    for block in _batches(records, batch):
        with_words = [r for r in block if r.index in explanations]
        words = [explanations[r.index] for r in with_words]
        scores = [s for scorer in scorers for s in scorer.score(with_words, words)]
        sink(scores)
        for score in scores:
            summary.values.setdefault(score.kind, []).append(score.value)
        summary.features += len(block)
        if progress:
            detection = summary.values.get("detection")
            note = f"detection AUROC {np.mean(detection):.2f}" if detection else ""
            progress(summary.features, max(total, summary.features), note)
    return summary


def _batches(records: Iterable[FeatureEvidence], size: int) -> Iterator[list[FeatureEvidence]]:
    iterator = iter(records)
    while block := list(islice(iterator, size)):
        yield block
