"""A small graph of features: how earlier features cause later ones and a metric.

Nodes are the (position, feature) entries of highest |score| at each site. The weight of an edge
is the first-order effect of the earlier node on the metric through the later one:

    edge(u → v) = z_u · (W_u · ∂z_v/∂x_u) · ∂m/∂z_v

with ∂z_v/∂x_u taken through the model and the later dictionary's encoder, its gates held where
they are (Marks et al. 2024, §3.2). One backward pass a later node; edges join a site with the
next dictionary's alone, so a path that skips a site is counted in the edges through it.

A dictionary must give gradients: its ``encode`` must be differentiable, or it must be callable as
a ``SparseCoder`` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semascope.causal.attribution.metrics import Metric, prepare
from semascope.causal.attribution.result import SiteAttribution
from semascope.causal.attribution.scores import account
from semascope.causal.attribution.watched_run import (
    Watch,
    WatchedRun,
    encode,
    sites_of,
    watched_run,
)
from semascope.causal.steering.units import by_id, dictionary_id, output_site
from semascope.dictionary.types import Dictionary
from semascope.errors import CausalError
from semascope.subject.model import Subject
from semascope.subject.patches import is_pictured
from semascope.subject.types import Batch


@dataclass(frozen=True, slots=True)
class Node:
    """One feature at one token."""

    key: str
    position: int
    feature: int
    activation: float
    score: float
    """Its attribution score."""


@dataclass(frozen=True, slots=True)
class Edge:
    """The effect of one node on the metric through another."""

    source: int
    """Index of the earlier node."""
    target: int
    weight: float


@dataclass(frozen=True, slots=True)
class FeatureGraph:
    """Nodes in the order of their sites, strongest first within one."""

    metric: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def as_json(self) -> dict[str, Any]:
        """For a page or a file."""
        names = ("key", "position", "feature", "activation", "score")
        return {
            "metric": self.metric,
            "nodes": [{name: getattr(node, name) for name in names} for node in self.nodes],
            "edges": [[edge.source, edge.target, edge.weight] for edge in self.edges],
        }


def graph(
    subject: Subject,
    batch: Batch,
    dictionaries: Iterable[Dictionary] | Mapping[str, Dictionary],
    metric: Metric,
    *,
    nodes: int = 10,
) -> FeatureGraph:
    """The graph of one prompt, over dictionaries at two sites or more.

    Args:
        subject: a ``Subject``.
        batch: one prompt.
        dictionaries: one at each of at least two sites.
        metric: what the features are judged by; it must run the prompt once.
        nodes: nodes a site.

    Raises:
        CausalError: several prompts, one site only, or a dictionary without gradients.
    """
    order = {site: number for number, site in enumerate(subject.sites())}
    known = sorted(by_id(dictionaries).values(), key=lambda d: order.get(output_site(d), -1))
    if len(batch.maps) != 1 or len(metric.continuations) != 1:
        raise CausalError("A graph is of one prompt, and of a metric that runs it once.")
    if len({output_site(d) for d in known}) < 2:
        raise CausalError("A graph needs dictionaries at two sites or more.")
    if pictured := [d.site for d in known if is_pictured(d.site)]:
        raise CausalError(
            f"A graph joins sites of the language model; {pictured[0]} reads pictures. Attribute "
            "to it instead."
        )
    # Phase 1: attribute the metric, and choose the nodes
    sites, targets = sites_of(known)
    run = watched_run(subject, prepare(batch, metric), sites, targets, metric, {})
    entries = [account(d, encode(d, run), run, run.gradients[output_site(d)]) for d in known]
    chosen = [_strongest(entry, nodes) for entry in entries]
    numbers = np.cumsum([0, *map(len, chosen)])
    # Phase 2: edges, by one backward pass from each later node
    live = _live(subject, run, sites)
    edges: list[Edge] = []
    for later in range(1, len(known)):
        edges += _edges(
            live,
            known[later - 1 : later + 1],
            entries[later - 1 : later + 1],
            chosen[later - 1 : later + 1],
            numbers[later - 1 : later + 1].tolist(),
        )
    all_nodes = [
        _node(entry, i) for entry, picks in zip(entries, chosen, strict=True) for i in picks
    ]
    return FeatureGraph(metric.name, tuple(all_nodes), tuple(edges))


def _strongest(entry: SiteAttribution, nodes: int) -> list[int]:
    """The entries of highest |score|."""
    return [int(i) for i in np.argsort(-np.abs(entry.score), kind="stable")[:nodes]]


def _node(entry: SiteAttribution, i: int) -> Node:
    return Node(
        key=entry.key,
        position=int(entry.position[i]),
        feature=int(entry.feature[i]),
        activation=float(entry.activation[i]),
        score=float(entry.score[i]),
    )


def _live(subject: Subject, run: WatchedRun, sites: Sequence[str]) -> dict[str, Tensor]:
    """(1, T, d) x of every site, still in one graph."""
    watches = {site: Watch() for site in sites}
    with torch.enable_grad():
        subject.logits(run.forced.batch, edits=watches)
    return {site: w.seen for site, w in watches.items() if w.seen is not None}


def _edges(
    live: Mapping[str, Tensor],
    pair: Sequence[Dictionary],
    entries: Sequence[SiteAttribution],
    chosen: Sequence[list[int]],
    first: Sequence[int],
) -> list[Edge]:
    """Edges from one dictionary's nodes to the next one's."""
    early, late = pair
    x_early = live[output_site(early)]
    rows = early.directions(torch.as_tensor(entries[0].feature[chosen[0]])).float()  # (n, d)
    z = torch.as_tensor(entries[0].activation[chosen[0]]).to(rows.device)  # (n,)
    if entries[0].gain is not None:
        z = z * torch.as_tensor(entries[0].gain[chosen[0]]).to(z)
    places = torch.as_tensor(entries[0].position[chosen[0]].astype(np.int64))
    edges: list[Edge] = []
    for number, i in enumerate(chosen[1]):
        position, feature = int(entries[1].position[i]), int(entries[1].feature[i])
        value = _activation(late, live[late.site][0, position], feature)
        (grad,) = torch.autograd.grad(value, x_early, retain_graph=True, allow_unused=True)
        if grad is None:
            raise CausalError(
                f"{dictionary_id(late)} does not come after {output_site(early)} in the model."
            )
        slope = float(entries[1].score[i]) / float(entries[1].activation[i])  # ∂m/∂z_v
        weights = z * (rows * grad[0, places].float().to(rows.device)).sum(1) * slope  # (n,)
        edges += [
            Edge(first[0] + j, first[1] + number, w)
            for j, w in enumerate(weights.tolist())
            if w != 0.0
        ]
    return edges


def _activation(dictionary: Dictionary, x: Tensor, feature: int) -> Tensor:
    """The activation of one feature at one token, as a function of x (d,)."""
    with torch.enable_grad():
        codes = dictionary.encode(x[None].float())
        values, indices = codes.values, codes.indices
        if not values.requires_grad and callable(dictionary):
            done = dictionary(x[None].float())
            values, indices = done.values, done.groups.indices
    if not values.requires_grad:
        raise CausalError(
            f"{dictionary_id(dictionary)} gives no gradient of its activations, so edges into "
            "it cannot be computed."
        )
    return values[0, (indices[0] == feature).nonzero()[0, 0]]
