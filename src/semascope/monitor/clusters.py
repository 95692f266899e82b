"""Clusters of features by meaning, and how surprising each is.

The features that matter at a token are clustered by their descriptions (average linkage on the
cosine distance of sentence vectors, as in Transluce's Monitor, Choi et al. 2024). Each cluster has
a label and two figures:

* *coherence*, 1–7: 1 + 6 × the mean cosine of its descriptions with their mean, or the caller's
  judge.
* *surprise*, bits: −log₂ of the share of ordinary prompts on which all of its features fire,
  add-one smoothed. Monitor groups whatever is coherent and does not ask how unusual it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.steering.interventions import FeatureId, Intervention
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample
from semascope.errors import CausalError
from semascope.subject.readable import readable

_PLAIN = """a an and are as at by for from in is it its of on or that the their this to with when
where which feature fires activates text texts picture pictures image images word words above all"""
"""Stop words of labels."""


class Embedder(Protocol):
    """Sentences to unit vectors; ``atlas.embedder()`` is one."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim)."""
        ...


Labeller = Callable[[Sequence[str]], str]
"""Descriptions of a cluster to a label of two to five words."""
CoherenceJudge = Callable[[Sequence[str]], float]
"""Descriptions of a cluster to its coherence, 1–7."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Features with explanations of the same meaning."""

    features: tuple[FeatureShare, ...]
    """Strongest |score| first."""
    descriptions: tuple[str, ...]
    label: str
    coherence: float
    """1–7."""
    score: float
    """Signed sum of their scores."""
    surprise: float = math.nan
    """Bits."""

    @property
    def ids(self) -> tuple[FeatureId, ...]:
        """The features as an ``Intervention`` takes them."""
        return tuple(f.id for f in self.features)

    def suppress(self) -> Intervention:
        """The intervention that ablates the cluster."""
        return Intervention(features=self.ids, how="ablate", name=f"without '{self.label}'")


def cluster(
    shares: Sequence[FeatureShare],
    descriptions: Mapping[FeatureId, str],
    embed: Embedder,
    *,
    similarity: float = 0.4,
    smallest: int = 3,
    labeller: Labeller | None = None,
    judge: CoherenceJudge | None = None,
) -> list[Cluster]:
    """Group features by their descriptions; those without one are left out.

    Args:
        shares: features that matter, e.g. ``attribution.features()[:200]``.
        descriptions: words of each, by (dictionary, index).
        embed: sentence vectors.
        similarity: least mean cosine within a cluster.
        smallest: least number of features of a cluster.
        labeller: names a cluster; by default, the words that its descriptions share most.
        judge: coherence 1–7; by default, from the vectors.

    Returns:
        Clusters, largest Σ|score| first.
    """
    if not -1.0 <= similarity <= 1.0 or smallest < 1:
        raise CausalError("similarity must lie in [−1, 1], and smallest must be at least 1.")
    known = [s for s in shares if descriptions.get(s.id)]
    if len(known) < max(2, smallest):
        return []
    texts = [descriptions[s.id] for s in known]
    vectors = np.asarray(embed(texts), dtype=np.float64)  # (n, dim)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    tree = linkage(vectors, method="average", metric="cosine")
    groups = fcluster(tree, 1.0 - similarity, criterion="distance")
    clusters = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(rows) >= smallest:
            members = [texts[i] for i in rows]
            label = labeller(members) if labeller else shared_words(members)
            coherent = judge(members) if judge else coherence(vectors[rows])
            clusters.append(_cluster([known[i] for i in rows], members, label, coherent))
    return sorted(clusters, key=lambda c: -sum(abs(f.score) for f in c.features))


def _cluster(
    shares: Sequence[FeatureShare], texts: Sequence[str], label: str, coherent: float
) -> Cluster:
    """A cluster with its features in the order of their strength."""
    order = sorted(range(len(shares)), key=lambda i: -abs(shares[i].score))
    return Cluster(
        features=tuple(shares[i] for i in order),
        descriptions=tuple(texts[i] for i in order),
        label=label,
        coherence=coherent,
        score=float(sum(s.score for s in shares)),
    )


def coherence(vectors: NDArray[np.float64]) -> float:
    """Coherence, 1–7, of (n, dim) unit vectors: 1 + 6 × their mean cosine with their mean."""
    middle = vectors.mean(0)
    length = float(np.linalg.norm(middle))
    if length == 0.0:
        return 1.0
    return 1.0 + 6.0 * max(0.0, float((vectors @ middle).mean() / length))


def shared_words(texts: Sequence[str], count: int = 3) -> str:
    """The words that most of the descriptions share, as a label that needs no model."""
    seen: Counter[str] = Counter()
    plain = frozenset(_PLAIN.split())
    for text in texts:
        words = dict.fromkeys(w.strip(".,;:!?\"'()").lower() for w in text.split())
        seen.update(w for w in words if w and w not in plain)
    best = sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:count]
    often = [word for word, n in best if n > 1] or [word for word, _ in best[:1]]
    return ", ".join(often) or texts[0][:40]


class BaseRates:
    """On which ordinary prompts each feature fires: one bit per prompt and feature."""

    def __repr__(self) -> str:
        return f"BaseRates({len(self.fired)} features on {self.prompts} prompts)"

    def __init__(self, prompts: int, fired: Mapping[FeatureId, NDArray[np.bool_]]) -> None:
        """``fired`` gives (prompts,) for each feature; one that is missing never fires."""
        self.prompts = prompts
        self.fired = fired

    @classmethod
    def measure(cls, steerable: SteerableModel, prompts: Sequence[Sample]) -> BaseRates:
        """Run the prompts up to the deepest dictionary."""
        fired: dict[FeatureId, NDArray[np.bool_]] = {}
        for number, sample in enumerate(prompts):
            batch = steerable.prompt(sample)
            sites = steerable.sites
            with torch.no_grad():
                outputs = steerable.subject.run(batch, sites)
            for key, dictionary in steerable.dictionaries.items():
                x, read = readable(dictionary.site, outputs[dictionary.site], batch)
                codes = dictionary.encode(x[read].float())
                for index in torch.unique(codes.indices[codes.values != 0]).tolist():
                    row = fired.setdefault((key, index), np.zeros(len(prompts), dtype=np.bool_))
                    row[number] = True
        return cls(len(prompts), fired)

    def surprise(self, features: Sequence[FeatureId]) -> float:
        """Bits: −log₂ of the share of ordinary prompts on which all of these features fire.

        At most log₂(prompts + 1).
        """
        none = np.zeros(self.prompts, dtype=np.bool_)
        together = np.sum([self.fired.get(f, none) for f in features], axis=0)  # (prompts,)
        prompts_with_all = int((together >= len(features)).sum())
        return float(-math.log2((prompts_with_all + 1) / (self.prompts + 1)))
