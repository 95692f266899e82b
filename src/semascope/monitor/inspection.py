"""The features behind a token or in a region, grouped into concepts, with measured effects.

1. ``inspect`` finds features by attribution (signed, one backward pass) or by activation (as a
   share of each feature's maximum), at chosen tokens or in a region of a picture, with or without
   interventions.
2. ``group_by_meaning`` clusters them by their explanations and puts the most surprising first.
3. ``effects`` ablates each cluster and measures the token's probability, one forward pass each.
   It yields them one by one, so that the words need not wait for the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from semascope.causal.attribution.active_features import ActiveFeature
from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.metrics import prepare
from semascope.causal.attribution.result import Attribution, at
from semascope.causal.attribution.watched_run import WatchedRun, sites_of
from semascope.causal.steering.interventions import FeatureId, Intervention, Where
from semascope.errors import CausalError
from semascope.monitor.clusters import (
    BaseRates,
    Cluster,
    CoherenceJudge,
    Embedder,
    Labeller,
    cluster,
)
from semascope.monitor.conversation import Conversation, TokenTarget, token_target
from semascope.subject.readable import read_positions

TOP = 15
"""Features in the HTML view."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The features behind one token."""

    target: TokenTarget
    metric: str
    """logprob, logit_diff or activation."""
    value: float
    """Value of the metric; the token's log-probability in activation mode."""
    probability: float
    """Probability of the token under the interventions."""
    shares: tuple[FeatureShare, ...]
    """Strongest first. In activation mode ``score`` is the share of the feature's own maximum."""
    places: Mapping[FeatureId, tuple[int, ...]]
    """Up to three positions where each of the first features scores highest."""
    ratios: Mapping[FeatureId, float]
    """Peak activation as a share of the feature's maximum, if known."""
    unexplained: float | None
    """Share of the attribution in the SAE errors; None in activation mode."""

    def __repr__(self) -> str:
        count = len(self.shares)
        return f"Inspection({self.metric} = {self.value:.4g}, {count} features)"

    def _repr_html_(self) -> str:
        from semascope import html

        rows = [(f"{s.key}/{s.index}", s.score, f"peak {s.peak:.3g}") for s in self.shares[:TOP]]
        return html.bars(rows, f"{self.metric} = {self.value:.4g}, p = {self.probability:.1%}")


def inspect(
    conversation: Conversation,
    *,
    mode: str = "attribution",
    position: int | None = None,
    where: Where | None = None,
    against: int | None = None,
    integrated: int = 1,
    named: int = 200,
) -> Inspection:
    """Features behind one token, or at some tokens.

    Args:
        conversation: prompt and answer, with the interventions that it runs under.
        mode: attribution or activation.
        position: of the token to explain; see ``conversation.token_target``.
        where: tokens whose features count; all by default.
        against: id of a rival token, to explain the difference of the two logits.
        integrated: steps of integrated gradients.
        named: number of features whose places are listed.

    Raises:
        CausalError: no such mode or token, or no statistics for mode activation.
    """
    target = token_target(conversation, position, against)
    if mode == "activation":
        return _active(conversation, target, where, named)
    if mode != "attribution":
        raise CausalError(f"There is no mode {mode!r}: use attribution or activation.")
    steerable = conversation.steerable
    attribution = steerable.attribute(
        conversation.batch,
        target,
        integrated=integrated,
        edits=conversation.edits,
        run=_cached_run(conversation, target),
    )
    keep = None if where is None else at(conversation.chosen(where))
    shares = tuple(attribution.features(keep))
    value = float(attribution.values[0])
    plain = against is None
    return Inspection(
        target=target,
        metric=target.name,
        value=value,
        probability=math.exp(value)
        if plain
        else target.probability(conversation, conversation.edits),
        shares=shares,
        places=_places(attribution, shares[:named], keep),
        ratios=_ratios(conversation, shares[:named]),
        unexplained=max(site.error_share() for site in attribution.sites),
    )


def _cached_run(conversation: Conversation, target: TokenTarget) -> WatchedRun | None:
    """A backward pass from the cached forward pass; None if there is none."""
    cached = conversation.cached_pass()
    if cached is None:
        return None
    _, targets = sites_of(conversation.steerable.dictionaries.values())
    return cached.run(prepare(conversation.batch, target), target, targets)


def _active(
    conversation: Conversation, target: TokenTarget, where: Where | None, named: int
) -> Inspection:
    """Activation mode."""
    steerable = conversation.steerable
    if steerable.statistics is None:
        raise CausalError("Activation mode needs the features' maxima: gather evidence first.")
    mask = (
        read_positions([conversation.map], conversation.total)[0]
        if where is None
        else conversation.chosen(where)
    )
    cached = conversation.cached_pass()
    seen = {} if cached is None else {s: x[:, : conversation.total] for s, x in cached.seen.items()}
    active = steerable.active_features(
        conversation.whole.batch,
        at=mask,
        edits=conversation.edits,
        seen=seen,
    )
    probability = target.probability(conversation, conversation.edits)
    shares = tuple(_share(feature) for feature in active)
    order = sorted(range(len(active)), key=lambda i: -shares[i].score)
    return Inspection(
        target=target,
        metric="activation",
        value=math.log(max(probability, 1e-300)),
        probability=probability,
        shares=tuple(shares[i] for i in order),
        places={(f.key, f.index): (f.position,) for f in active},
        ratios={(f.key, f.index): f.ratio for f in active if math.isfinite(f.ratio)},
        unexplained=None,
    )


def _share(active: ActiveFeature) -> FeatureShare:
    """An active feature scored by its share of its maximum; 1 if it never fired in the corpus."""
    ratio = active.ratio if math.isfinite(active.ratio) else 1.0
    return FeatureShare(
        active.key, active.index, ratio, ratio, 0.0, active.activation, active.tokens
    )


def _places(
    attribution: Attribution, shares: Sequence[FeatureShare], keep: object
) -> dict[FeatureId, tuple[int, ...]]:
    """Up to three positions for each feature, strongest |score| first."""
    places: dict[FeatureId, tuple[int, ...]] = {}
    for site in attribution.sites:
        wanted = np.array([s.index for s in shares if s.key == site.key], dtype=np.int64)
        mask = np.isin(site.feature, wanted)
        if callable(keep):
            mask &= keep(site)
        feature, position = site.feature[mask], site.position[mask]
        order = np.lexsort((-np.abs(site.score[mask]), feature))
        for i in order.tolist():
            key = (site.key, int(feature[i]))
            if len(places.get(key, ())) < 3:
                places[key] = (*places.get(key, ()), int(position[i]))
    return places


def _ratios(conversation: Conversation, shares: Sequence[FeatureShare]) -> dict[FeatureId, float]:
    """Peaks as shares of the features' maxima, for dictionaries with statistics."""
    from semascope.causal.steering.units import statistic

    ratios: dict[FeatureId, float] = {}
    for key in {s.key for s in shares}:
        if key in (conversation.steerable.statistics or {}):
            maxima = statistic(conversation.steerable.statistics, key, "max")
            ratios |= {
                s.id: float(s.peak / maxima[s.index])
                for s in shares
                if s.key == key and maxima[s.index] > 0
            }
    return ratios


def group_by_meaning(
    shares: Sequence[FeatureShare],
    descriptions: Mapping[FeatureId, str],
    embed: Embedder,
    *,
    ordinary: BaseRates | None = None,
    similarity: float = 0.4,
    smallest: int = 2,
    labeller: Labeller | None = None,
    judge: CoherenceJudge | None = None,
) -> list[Cluster]:
    """Features as clusters, by surprise × |score|, or by |score| without ``ordinary``.

    See ``clusters.cluster`` for the arguments.
    """
    groups = cluster(
        shares,
        descriptions,
        embed,
        similarity=similarity,
        smallest=smallest,
        labeller=labeller,
        judge=judge,
    )
    if ordinary is None:
        return sorted(groups, key=lambda c: -abs(c.score))
    surprising = [replace(c, surprise=ordinary.surprise(c.ids)) for c in groups]
    return sorted(surprising, key=lambda c: (-c.surprise * abs(c.score), -abs(c.score)))


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect on the token of ablating one cluster."""

    cluster: int
    """Index of the cluster in the list."""
    before: float | None
    """Probability of the token under the conversation's interventions only."""
    after: float | None
    """Probability with the cluster ablated too."""
    note: str = ""
    """Why there is no figure, or what was left out."""


def effects(
    conversation: Conversation, inspection: Inspection, clusters: Sequence[Cluster]
) -> Iterator[Effect]:
    """Ablate each cluster on top of the interventions; yields each effect when measured."""
    taken = {feature for one in conversation.interventions for feature in one.features}
    for number, group in enumerate(clusters):
        free = tuple(feature for feature in group.ids if feature not in taken)
        if not free:
            yield Effect(number, None, None, "An intervention already sets all of these features.")
            continue
        note = "" if len(free) == len(group.ids) else (
            f"{len(group.ids) - len(free)} of its features are already set by an intervention."
        )  # fmt: skip
        gone = Intervention(features=free, how="ablate", name=f"without '{group.label}'")
        try:
            edits = conversation.edits_of([*conversation.interventions, gone])
            after = inspection.target.probability(conversation, edits)
        except CausalError as error:
            yield Effect(number, None, None, str(error))
        else:
            yield Effect(number, inspection.probability, after, note)
