"""Which features stand behind a token or in a region, as concepts, and what each concept does.

1. ``inspect`` finds features: by attribution (signed, one backward pass) or by activation (as a
   share of each feature's own maximum), at chosen tokens or in a region of a picture, in the run
   as it is or under interventions.
2. ``concepts`` groups them by their words (``lint.cluster``) and puts the novel ones first.
3. ``effects`` ablates each group whole and tells what becomes of the token's probability, one
   forward pass a group, so that the words need not wait for the figures.

Knows conversations, attributions and words; no page, no database.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semascope.causal.attribution.active_features import ActiveFeature
from semascope.causal.attribution.metrics import prepare
from semascope.causal.attribution.result import Attribution, FeatureShare, at
from semascope.causal.attribution.watched_run import WatchedRun, sites_of
from semascope.causal.steering.interventions import Intervention, Where
from semascope.errors import CausalError
from semascope.monitor.clusters import (
    BaseRates,
    Cluster,
    Embedder,
    Feature,
    Judge,
    Labeller,
    cluster,
)
from semascope.monitor.conversation import Conversation, TokenTarget, said
from semascope.subject.types import Kind

TOP = 15
"""Features in the HTML view."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found behind one token."""

    said: TokenTarget
    metric: str
    """logprob, logit_diff or activation."""
    value: float
    """Of the metric; the token's log-probability in activation mode."""
    probability: float
    """Of the token, under the interventions."""
    shares: tuple[FeatureShare, ...]
    """Strongest first. In activation mode ``score`` is the share of the feature's own maximum."""
    places: Mapping[Feature, tuple[int, ...]]
    """Up to three positions where each of the first features counts most."""
    ratios: Mapping[Feature, float]
    """Peak activation as a share of the feature's own maximum, where that is known."""
    unexplained: float | None
    """Share of the attribution that the dictionaries' errors hold."""

    def __repr__(self) -> str:
        count = len(self.shares)
        return f"Inspection({self.metric} = {self.value:.4g}, {count} features)"

    def _repr_html_(self) -> str:
        from semascope import html

        rows = [(f"{s.key}/{s.index}", s.score, f"peak {s.peak:.3g}") for s in self.shares[:TOP]]
        return html.bars(rows, f"{self.metric} = {self.value:.4g}, p = {self.probability:.1%}")


def inspect(
    asked: Conversation,
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
        asked: the conversation, with the interventions under which it is looked at.
        mode: attribution or activation.
        position: of the token asked about; see ``conversation.said``.
        where: at which tokens features count; everywhere, where left out.
        against: id of another token; then the difference of the logits is explained.
        integrated: steps of integrated gradients.
        named: for how many features places are told.
    """
    target = said(asked, position, against)
    if mode == "activation":
        return _active(asked, target, where, named)
    if mode != "attribution":
        raise CausalError(f"There is no mode {mode!r}: attribution or activation.")
    steerable = asked.steerable
    found = steerable.attribute(
        asked.batch,
        target,
        integrated=integrated,
        edits=asked.edits,
        run=_held(asked, target),
    )
    keep = None if where is None else at(asked.chosen(where))
    shares = tuple(found.features(keep))
    value = float(found.values[0])
    plain = against is None
    return Inspection(
        said=target,
        metric=target.name,
        value=value,
        probability=math.exp(value) if plain else target.probability(asked, asked.edits),
        shares=shares,
        places=_places(found, shares[:named], keep),
        ratios=_ratios(asked, shares[:named]),
        unexplained=max(site.error_share() for site in found.sites),
    )


def _held(asked: Conversation, target: TokenTarget) -> WatchedRun | None:
    """The run of a target by one backward pass, where the forward one is held."""
    held = asked.held()
    if held is None:
        return None
    _, targets = sites_of(asked.steerable.dictionaries.values())
    return held.run(prepare(asked.batch, target), target, targets)


def _active(
    asked: Conversation, target: TokenTarget, where: Where | None, named: int
) -> Inspection:
    """Activation mode."""
    steerable = asked.steerable
    if steerable.statistics is None:
        raise CausalError("Activations say something beside the maxima only: gather evidence.")
    mask = _plain(asked) if where is None else asked.chosen(where)
    held = asked.held()
    seen = {} if held is None else {s: x[:, : asked.total] for s, x in held.seen.items()}
    found = steerable.active_features(
        asked.whole.batch,
        at=mask,
        edits=asked.edits,
        seen=seen,
    )
    probability = target.probability(asked, asked.edits)
    shares = tuple(_share(active) for active in found)
    order = sorted(range(len(found)), key=lambda i: -shares[i].score)
    return Inspection(
        said=target,
        metric="activation",
        value=math.log(max(probability, 1e-300)),
        probability=probability,
        shares=tuple(shares[i] for i in order),
        places={(f.key, f.index): (f.position,) for f in found},
        ratios={(f.key, f.index): f.ratio for f in found if math.isfinite(f.ratio)},
        unexplained=None,
    )


def _plain(asked: Conversation) -> NDArray[np.bool_]:
    """(total,) all but the template's tokens and the first, whose norms drown the others'."""
    mask = np.ones(asked.total, dtype=np.bool_)
    mask[: len(asked.map)] = asked.map.kinds != Kind.SPECIAL
    mask[0] = False
    return mask


def _share(found: ActiveFeature) -> FeatureShare:
    """An active feature as one that counts; one that never fired in the corpus counts in full."""
    ratio = found.ratio if math.isfinite(found.ratio) else 1.0
    return FeatureShare(found.key, found.index, ratio, ratio, 0.0, found.activation, found.tokens)


def _places(
    found: Attribution, shares: Sequence[FeatureShare], keep: object
) -> dict[Feature, tuple[int, ...]]:
    """Up to three positions for each feature, strongest |score| first."""
    places: dict[Feature, tuple[int, ...]] = {}
    for site in found.sites:
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


def _ratios(asked: Conversation, shares: Sequence[FeatureShare]) -> dict[Feature, float]:
    """Peaks as shares of maxima, for the dictionaries whose maxima are known."""
    from semascope.causal.steering.units import statistic

    ratios: dict[Feature, float] = {}
    for key in {s.key for s in shares}:
        if key in (asked.steerable.statistics or {}):
            maxima = statistic(asked.steerable.statistics, key, "max")
            ratios |= {
                s.id: float(s.peak / maxima[s.index])
                for s in shares
                if s.key == key and maxima[s.index] > 0
            }
    return ratios


def concepts(
    found: Inspection,
    descriptions: Mapping[Feature, str],
    embed: Embedder,
    *,
    ordinary: BaseRates | None = None,
    top: int = 200,
    similarity: float = 0.4,
    smallest: int = 2,
    labeller: Labeller | None = None,
    judge: Judge | None = None,
) -> list[Cluster]:
    """The features as clusters, the novel first: surprise × |score|, or |score| alone.

    See ``lint.cluster`` for the arguments.
    """
    return grouped(
        found.shares[:top],
        descriptions,
        embed,
        ordinary=ordinary,
        similarity=similarity,
        smallest=smallest,
        labeller=labeller,
        judge=judge,
    )


def grouped(
    shares: Sequence[FeatureShare],
    descriptions: Mapping[Feature, str],
    embed: Embedder,
    *,
    ordinary: BaseRates | None = None,
    similarity: float = 0.4,
    smallest: int = 2,
    labeller: Labeller | None = None,
    judge: Judge | None = None,
) -> list[Cluster]:
    """Any features as clusters, in the order of ``concepts``."""
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
    told = [replace(c, surprise=ordinary.surprise(c.ids)) for c in groups]
    return sorted(told, key=lambda c: (-c.surprise * abs(c.score), -abs(c.score)))


@dataclass(frozen=True, slots=True)
class Effect:
    """What ablating one cluster did to the token."""

    cluster: int
    """Its place in the list."""
    before: float | None
    """Probability of the token under the conversation's interventions."""
    after: float | None
    """With the cluster ablated too."""
    note: str = ""
    """Why it could not be measured, or what was left out."""


def effects(
    asked: Conversation, found: Inspection, clusters: Sequence[Cluster]
) -> Iterator[Effect]:
    """Ablate each cluster on top of the interventions; one at a time, as they are measured."""
    held = {feature for one in asked.interventions for feature in one.features}
    for number, group in enumerate(clusters):
        free = tuple(feature for feature in group.ids if feature not in held)
        if not free:
            yield Effect(number, None, None, "An intervention holds all of these features already.")
            continue
        note = "" if len(free) == len(group.ids) else (
            f"{len(group.ids) - len(free)} of its features are held by an intervention already."
        )  # fmt: skip
        gone = Intervention(features=free, how="ablate", name=f"without '{group.label}'")
        try:
            edits = asked.steerable.edits([*asked.interventions, gone])
            after = found.said.probability(asked, edits)
        except CausalError as error:
            yield Effect(number, None, None, str(error))
        else:
            yield Effect(number, found.probability, after, note)
