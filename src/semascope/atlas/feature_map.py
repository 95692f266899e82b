"""A map of features: places in the plane from near neighbours, regions with names.

**Places.** From the nearest neighbours alone (exact, found while evidence is gathered), by UMAP
(McInnes et al. 2018) where ``umap-learn`` is installed, else by t-SNE (van der Maaten 2014). Both
begin from the same spectral layout, so that the large shape is not left to chance, and end with
the same places for the same seed.

**Regions.** Areas of the map (k-means over the places). A region's name is the label that lies
nearest to the mean of its features' description vectors, after what all features share is taken
away: what is meant here and not everywhere. No two regions have one name.

Knows numbers and words; knows no model and no database.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

LEAST, MOST = 3, 60
"""Regions of a map, at least and at most."""
_EACH = 6.0
"""The number of regions is √n by this."""


@dataclass(frozen=True, slots=True)
class MapRegion:
    """An area of the map."""

    label: str
    """Empty where no feature of the region has words."""
    x: float
    y: float
    features: int


@dataclass(frozen=True, slots=True, eq=False)
class MapLayout:
    """A finished map of n features."""

    places: NDArray[np.float32]
    """(n, 2), within −1…1 on each axis."""
    region: NDArray[np.int32]
    """(n,) numbers of ``regions``."""
    regions: tuple[MapRegion, ...]
    method: str
    """umap or tsne."""


def draw(
    near: NDArray[np.integer[Any]],
    cosine: NDArray[np.floating[Any]],
    labels: list[str],
    vectors: NDArray[np.float32] | None = None,
    *,
    seed: int = 0,
    method: str = "",
) -> MapLayout:
    """The map of n features.

    ``near`` (n, k) are the numbers 0…n−1 of each one's nearest others, nearest first, and
    ``cosine`` (n, k) how near; ``labels`` (n,) and ``vectors`` (n, d) name the regions, empty
    and zero where a feature has no words. ``method`` is umap, tsne, or the better one here.
    """
    method = method or ("umap" if importlib.util.find_spec("umap") else "tsne")
    places = _places(near, cosine, seed, method)
    region, centres = _areas(places, seed)
    names = _names(region, len(centres), labels, vectors)
    counts = np.bincount(region, minlength=len(centres))
    regions = tuple(
        MapRegion(name, round(float(x), 4), round(float(y), 4), int(n))
        for name, (x, y), n in zip(names, centres, counts, strict=True)
    )
    return MapLayout(places, region, regions, method)


def _places(
    near: NDArray[np.integer[Any]], cosine: NDArray[np.floating[Any]], seed: int, method: str
) -> NDArray[np.float32]:
    """(n, 2) within −1…1."""
    n, k = near.shape
    if n < 5 or k < 2:  # nothing to lay out: a row
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(n)
        return np.stack([line, np.zeros(n)], axis=1).astype(np.float32)
    index = np.concatenate([np.arange(n)[:, None], near], axis=1).astype(np.int32)
    away = np.clip(1 - cosine.astype(np.float64), 0, 2)
    distance = np.concatenate([np.zeros((n, 1)), away], axis=1).astype(np.float32)
    start = _spectral(index, distance, seed)
    lay = _umap if method == "umap" else _tsne
    return _framed(lay(index, distance, start, seed))


def _spectral(
    index: NDArray[np.int32], distance: NDArray[np.float32], seed: int
) -> NDArray[np.float32]:
    """(n, 2) second and third singular vectors of the neighbours' graph, as it scales itself."""
    from sklearn.decomposition import TruncatedSVD

    n, k = index.shape
    rows = np.repeat(np.arange(n), k)
    weight = np.exp(-distance.reshape(-1) / max(float(np.median(distance)), 1e-6))
    graph = sp.csr_matrix((weight, (rows, index.reshape(-1))), (n, n))
    graph = (graph + graph.T) / 2
    scale = sp.diags(1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel()))
    # One more than is asked for where there is room: the first is the trivial one.
    svd = TruncatedSVD(min(3, n - 1), random_state=seed)
    found = svd.fit_transform(scale @ graph @ scale)[:, 1:3]
    return _framed(found)


def _framed(places: NDArray[Any]) -> NDArray[np.float32]:
    """Centred, and scaled as a whole to −1…1."""
    places = places - (places.max(axis=0) + places.min(axis=0)) / 2
    largest = float(np.abs(places).max()) or 1.0
    return (places / largest).astype(np.float32)


def _umap(
    index: NDArray[np.int32], distance: NDArray[np.float32], start: NDArray[np.float32], seed: int
) -> NDArray[Any]:
    import warnings

    with warnings.catch_warnings():  # of parts that nobody needs: one thread, no search index
        warnings.simplefilter("ignore")
        import umap

        model = umap.UMAP(
            n_neighbors=index.shape[1],
            precomputed_knn=(index, distance, None),
            init=10 * start,
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(start))


def _tsne(
    index: NDArray[np.int32], distance: NDArray[np.float32], start: NDArray[np.float32], seed: int
) -> NDArray[Any]:
    from sklearn.manifold import TSNE

    n, k = index.shape
    ends = np.arange(n + 1) * k
    graph = sp.csr_matrix((distance.reshape(-1), index.reshape(-1), ends), (n, n))
    model = TSNE(
        perplexity=max(1.0, (k - 2) / 3),  # it reads three times as many neighbours
        metric="precomputed",
        init=1e-4 * start / max(float(start[:, 0].std()), 1e-6),
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(model.fit_transform(graph))


def _areas(places: NDArray[np.float32], seed: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(n,) which area each place is in, and the areas' centres, larger areas first."""
    from sklearn.cluster import KMeans

    n = len(places)
    wanted = min(int(np.clip(np.sqrt(n) / _EACH, LEAST, MOST)), len(np.unique(places, axis=0)))
    if wanted < 2:
        return np.zeros(n, np.int32), places[:1].copy()
    found = KMeans(wanted, n_init=4, random_state=seed).fit(places.astype(np.float64))
    order = np.argsort(-np.bincount(found.labels_, minlength=wanted), kind="stable")
    rank = np.empty(wanted, np.int32)
    rank[order] = np.arange(wanted)
    return rank[found.labels_], found.cluster_centers_[order].astype(np.float32)


def _names(
    region: NDArray[np.int32], count: int, labels: list[str], vectors: NDArray[np.float32] | None
) -> list[str]:
    """One name a region, none twice."""
    has = np.array([bool(label) for label in labels], bool)
    rows = vectors if vectors is not None else _by_label(labels)
    common = rows[has].mean(axis=0) if has.any() else np.zeros(rows.shape[1], np.float32)
    names: list[str] = []
    for number in range(count):
        mine = np.flatnonzero((region == number) & has)
        if not len(mine):
            names.append("")
            continue
        centre = rows[mine].mean(axis=0) - common
        score = rows[mine] @ centre
        told = sorted(zip(-score, (labels[i] for i in mine), strict=True))
        names.append(next((label for _, label in told if label not in names), ""))
    return names


def _by_label(labels: list[str]) -> NDArray[np.float32]:
    """(n, labels) one column a label, so that the commonest here is the most central."""
    places = {label: i for i, label in enumerate(sorted(set(labels) - {""}))}
    out = np.zeros((len(labels), max(len(places), 1)), np.float32)
    for row, label in zip(out, labels, strict=True):
        if label:
            row[places[label]] = 1
    return out
