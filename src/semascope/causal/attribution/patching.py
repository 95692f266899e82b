"""Attribution patching: features that carry the difference between a clean and a corrupted prompt.

The corrupted prompt runs with one backward pass; each feature's score is what putting its
clean activation back would do to the metric, to first order:
``(z_clean − z_corrupted) · (W_dec · g_corrupted)`` (Nanda 2023; Syed et al. 2023). The two
prompts may differ in their words or in their picture, token by token.

Both prompts must have the same length; aligning them is up to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from semascope.causal.attribution.metrics import Metric
from semascope.causal.attribution.result import Attribution, SiteAttribution
from semascope.causal.attribution.scores import account
from semascope.causal.attribution.watched_run import WatchedRun, encode, run_for
from semascope.causal.steering.units import by_id, dictionary_id, output_site
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.types import Batch


def attribute_patch(
    subject: Subject,
    clean: Batch,
    corrupted: Batch,
    dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
    metric: Metric,
) -> tuple[Attribution, float]:
    """Scores of restoring each feature's clean activation in the corrupted run.

    Args:
        subject: a ``Subject``.
        clean: one prompt or several, padded on the right.
        corrupted: as many prompts of the same lengths.
        dictionaries: whose features to attribute to.
        metric: one number per prompt.

    Returns:
        The attribution, whose ``values`` are the corrupted run's, whose ``activation`` is
        z_clean − z_corrupted, and whose shares sum to (x_clean − x_corrupted) · g; and the
        metric's mean on the clean prompts, which restoring everything would reach.

    Raises:
        CausalError: prompts of different lengths.
    """
    if [len(m) for m in clean.maps] != [len(m) for m in corrupted.maps] or not bool(
        (clean.mask == corrupted.mask).all()
    ):
        raise CausalError(
            "The clean and the corrupted prompt must have as many tokens: change words for words "
            "of as many tokens, or the picture for another of the same size."
        )
    known = list(by_id(dictionaries).values())
    right = run_for(subject, clean, known, metric, {})
    wrong = run_for(subject, corrupted, known, metric, {})
    attribution = Attribution(
        metric=metric.name,
        values=wrong.values.numpy(),
        sites=tuple(_difference(d, right, wrong) for d in known),
        maps=wrong.forced.batch.maps,
        copies=len(metric.continuations),
    )
    return attribution, float(right.values.mean())


def _difference(dictionary: Dictionary, right: WatchedRun, wrong: WatchedRun) -> SiteAttribution:
    """Clean entries minus corrupted ones, both along the corrupted run's gradient."""
    g = wrong.gradients[output_site(dictionary)]
    clean = account(dictionary, encode(dictionary, right), right, g)
    corrupted = _negated(account(dictionary, encode(dictionary, wrong), wrong, g))
    sides = (clean, corrupted)
    keys = np.concatenate(
        [np.column_stack([s.row, s.position, s.feature]).astype(np.int64) for s in sides]
    )  # (E, 3)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    activation = np.bincount(inverse, np.concatenate([s.activation for s in sides]), len(unique))
    score = np.bincount(inverse, np.concatenate([s.score for s in sides]), len(unique))
    return SiteAttribution(
        key=dictionary_id(dictionary),
        row=unique[:, 0].astype(np.int32),
        position=unique[:, 1].astype(np.int32),
        feature=unique[:, 2],
        activation=activation.astype(np.float32),
        score=score.astype(np.float32),
        error=clean.error + corrupted.error,
        bias=clean.bias + corrupted.bias,
        total=clean.total + corrupted.total,
        gain=_gain(clean, corrupted, inverse, activation.astype(np.float64)),
    )


def _gain(
    clean: SiteAttribution,
    corrupted: SiteAttribution,
    inverse: NDArray[np.int64],
    activation: NDArray[np.float64],
) -> NDArray[np.float32] | None:
    """(E,) gains of the joint entries; None if the dictionary has none."""
    if clean.gain is None or corrupted.gain is None:
        return None
    products = [clean.activation * clean.gain, corrupted.activation * corrupted.gain]
    written = np.bincount(inverse, np.concatenate(products), len(activation))
    divisor = np.where(activation == 0, 1, activation)
    return np.where(activation == 0, 0, written / divisor).astype(np.float32)


def _negated(site: SiteAttribution) -> SiteAttribution:
    """The same entries with the opposite sign."""
    return replace(
        site,
        activation=-site.activation,
        score=-site.score,
        error=-site.error,
        bias=-site.bias,
        total=-site.total,
    )
