"""Which terms set firing samples apart from silent ones: numbers only, no words, no samples.

Two statistics of the same counts. ``z`` is the signed root of the likelihood ratio of two
binomials (Dunning 1993), of samples instead of tokens: it says whether the difference is more
than luck. The silent side takes an informative prior from the background (as Monroe, Colaresi
and Quinn 2008 do for log-odds; the Wald error of a log-odds ratio explodes for a rare word that
no silent sample has, which is just what a good name looks like, hence the likelihood ratio).
``gain`` is recall minus false alarms (Youden's J): (1 + gain) / 2 is the AUROC of "contains the
term" as a detector, so the term with the largest gain is the one that will detect best.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

PRIOR = 10.0
"""Weight, in samples, of the background rate of a term."""


class TermContrast(NamedTuple):
    """One entry a (feature, term) pair that occurs in a firing sample."""

    feature: NDArray[np.int32]
    term: NDArray[np.int32]
    recall: NDArray[np.float64]
    """Share of the activation-weighted firing samples that have the term."""
    alarms: NDArray[np.float64]
    """Share of silent samples that have it, shrunk to the background rate."""
    z: NDArray[np.float64]

    @property
    def gain(self) -> NDArray[np.float64]:
        """Youden's J, −1 to 1."""
        return self.recall - self.alarms

    def take(self, order: NDArray[np.int64]) -> TermContrast:
        """The same entries in another order."""
        return TermContrast(
            self.feature[order],
            self.term[order],
            self.recall[order],
            self.alarms[order],
            self.z[order],
        )


def incidence(
    sets: list[frozenset[int]], width: int, weights: NDArray[np.float64] | None = None
) -> sparse.csr_matrix:
    """(n, width) CSR with a 1 (or the row's weight) where the term is in the set."""
    lengths = np.fromiter((len(s) for s in sets), np.int64, len(sets))
    indices = np.fromiter((t for s in sets for t in s), np.int32, int(lengths.sum()))
    data = np.ones(len(indices)) if weights is None else np.repeat(weights, lengths)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return sparse.csr_matrix((data, indices, indptr), shape=(len(sets), width))


def grouping(owners: NDArray[np.int64], groups: int) -> sparse.csr_matrix:
    """(groups, n) CSR that sums the rows of each group."""
    n = len(owners)
    return sparse.csr_matrix((np.ones(n), (owners, np.arange(n))), shape=(groups, n))


def contrast(
    fired: sparse.csr_matrix,
    weight: NDArray[np.float64],
    effective: NDArray[np.float64],
    silent: sparse.csr_matrix,
    n_silent: NDArray[np.float64],
    background: NDArray[np.float64],
) -> TermContrast:
    """Compare every feature's firing samples with its silent ones, term by term.

    ``fired`` (F, V): summed weight of the firing samples that have the term; ``weight`` (F,) the
    sum of all their weights; ``effective`` (F,) their effective number (Kish: (Σw)²/Σw²), which
    is what luck depends on. ``silent`` (F, V) counts; ``n_silent`` (F,). ``background`` (V,)
    share of all samples with the term.
    """
    pairs = fired.tocoo()
    f, t = pairs.row.astype(np.int32), pairs.col.astype(np.int32)
    recall = np.minimum(pairs.data / np.maximum(weight[f], 1e-12), 1.0)
    base = background[t]
    hits = np.asarray(silent[f, t], np.float64).ravel() if len(f) else np.zeros(0)
    m = n_silent[f]
    alarms = (hits + PRIOR * base) / (m + PRIOR)
    z = _z(recall * effective[f], effective[f], hits, m, base)
    return TermContrast(f, t, recall, alarms, z)


def _z(
    y: NDArray[np.float64],
    n: NDArray[np.float64],
    s: NDArray[np.float64],
    m: NDArray[np.float64],
    base: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Signed root of 2 log likelihood ratio: y of n firing against s of m silent samples."""
    s, m = s + PRIOR * base, m + PRIOR
    p, q, both = y / np.maximum(n, 1e-12), s / m, (y + s) / (n + m)
    ratio = _entropy(y, n, p) + _entropy(s, m, q) - _entropy(y, n, both) - _entropy(s, m, both)
    return np.asarray(np.sign(p - q) * np.sqrt(np.maximum(2.0 * ratio, 0.0)))


def _entropy(
    k: NDArray[np.float64], n: NDArray[np.float64], p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log likelihood of k of n at rate p, with 0 log 0 = 0."""
    return np.asarray(special.xlogy(k, p) + special.xlogy(np.maximum(n - k, 0.0), 1.0 - p))
