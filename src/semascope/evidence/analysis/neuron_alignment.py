"""Which MLP neurons fire as a feature does: Pearson correlation over tokens, in one pass.

A feature that one neuron alone carries is no news; a feature that no neuron follows is what a
dictionary is for (Bricken et al. 2023, neuron alignment). Knows subject and dictionary by their
protocols; memory is O(features × neurons), whatever the length of the corpus.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from semascope.corpus.sample import Corpus
from semascope.dictionary.types import Dictionary
from semascope.errors import EvidenceError
from semascope.evidence.gathering.options import EvidenceOptions
from semascope.evidence.gathering.reader import ReadTokens, batches, chunks, encoded
from semascope.subject.protocols import ActivationSource
from semascope.subject.types import Batch

MOST_BYTES = 2 << 30
"""Of the table of products; for more features than it has room for, they are taken in turns."""


class NeuronAlignment(NamedTuple):
    """k neurons for each of n features, the strongest correlation of either sign first."""

    neuron: NDArray[np.int32]
    """(n, k) numbers of neurons, −1 where there are fewer."""
    correlation: NDArray[np.float32]
    """(n, k) signed; 0 where the feature or the neuron never changed."""


@dataclass(slots=True)
class _Sums:
    """What a correlation needs, added up token by token."""

    n: int
    z: NDArray[np.float64]
    """(f,) sum of activations."""
    zz: NDArray[np.float64]
    x: NDArray[np.float64]
    """(neurons,) sum of the neurons'."""
    xx: NDArray[np.float64]
    zx: NDArray[np.float64]
    """(f, neurons) sum of products."""


def neurons_beside(sites: Any, site: str) -> str | None:
    """The MLP neurons of the layer that ``site`` belongs to; None where it has none."""
    layer = re.fullmatch(r"(?:resid_pre|resid_post|attn_out|mlp_in|mlp_out)\.(\d+)", site)
    name = f"mlp_neurons.{layer[1]}" if layer else ""
    return name if name in sites else None


def align(
    subject: ActivationSource,
    corpus: Corpus,
    dictionary: Dictionary,
    features: NDArray[np.int64],
    *,
    k: int = 3,
    rows: int | None = None,
    options: EvidenceOptions | None = None,
) -> NeuronAlignment:
    """The neurons nearest to each of ``features`` (n,), over the first ``rows`` of a corpus.

    EvidenceError where the dictionary's site has no neurons beside it.
    """
    options = options or EvidenceOptions()
    site = neurons_beside(subject.sites(), dictionary.site)
    if site is None:
        raise EvidenceError(f"No MLP neurons belong to {dictionary.site}: nothing to align with.")
    width = int(subject.sites()[site])
    step = max(1, MOST_BYTES // (8 * width))
    stop = len(corpus) if rows is None else min(rows, len(corpus))
    parts = []
    for first in range(0, len(features), step):
        some = features[first : first + step]
        sums = _summed(subject, corpus, dictionary, some, site, width, stop, options)
        parts.append(_best(_correlation(sums), k))
    if not parts:
        return NeuronAlignment(np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
    return NeuronAlignment(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _summed(
    subject: ActivationSource,
    corpus: Corpus,
    dictionary: Dictionary,
    features: NDArray[np.int64],
    site: str,
    width: int,
    stop: int,
    options: EvidenceOptions,
) -> _Sums:
    place = np.full(dictionary.width, -1, np.int64)
    place[features] = np.arange(len(features))
    f = len(features)
    sums = _Sums(
        0, np.zeros(f), np.zeros(f), np.zeros(width), np.zeros(width), np.zeros((f, width))
    )
    for chunk in chunks(corpus, 0, stop, options.chunk):
        given = (
            batch
            for samples in batches(chunk, options.batch_size)
            for batch in encoded(subject, [s for _, s in samples], options.max_tokens)
        )
        for batch in given:
            read = _read(subject, dictionary, batch, site, options)
            z, x = _sparse(read[0], place, f), read[1]
            sums.n += len(x)
            sums.z += np.asarray(z.sum(axis=0)).ravel()
            sums.zz += np.asarray(z.multiply(z).sum(axis=0)).ravel()
            sums.x += x.sum(axis=0)
            sums.xx += (x * x).sum(axis=0)
            sums.zx += z.T @ x
    return sums


@torch.inference_mode()
def _read(
    subject: ActivationSource,
    dictionary: Dictionary,
    batch: Batch,
    site: str,
    options: EvidenceOptions,
) -> tuple[Any, NDArray[np.float64]]:
    """Codes of the tokens that are looked at, and (N, neurons) what the neurons do there."""
    found = subject.run(batch, [dictionary.site, site])
    mask = torch.from_numpy(ReadTokens.of(batch, options).mask)
    at, beside = (found[s][mask.to(found[s].device)].float() for s in (dictionary.site, site))
    return dictionary.encode(at), beside.double().cpu().numpy()


def _sparse(codes: Any, place: NDArray[np.int64], features: int) -> sp.csr_matrix:
    """(N, features) activations of the features that are asked about."""
    value, index = codes.values.double().cpu().numpy(), place[codes.indices.cpu().numpy()]
    token, slot = np.nonzero((value > 0) & (index >= 0))
    data = value[token, slot], (token, index[token, slot])
    return sp.csr_matrix(data, (len(value), features))


def _correlation(sums: _Sums) -> NDArray[np.float32]:
    """(f, neurons) Pearson; 0 where either side is constant."""
    n = max(sums.n, 1)
    shared = sums.zx - np.outer(sums.z, sums.x) / n
    spread_z = np.sqrt(np.maximum(sums.zz - sums.z**2 / n, 0))
    spread_x = np.sqrt(np.maximum(sums.xx - sums.x**2 / n, 0))
    scale = np.outer(spread_z, spread_x)
    out: NDArray[np.float32] = np.where(scale > 1e-12, shared / np.maximum(scale, 1e-12), 0)
    return out.astype(np.float32)


def _best(correlation: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], Any]:
    width = correlation.shape[1]
    order = np.argsort(-np.abs(correlation), axis=1, kind="stable")[:, : min(k, width)]
    values = np.take_along_axis(correlation, order, axis=1)
    pad = ((0, 0), (0, max(k - width, 0)))
    return (
        np.pad(order.astype(np.int32), pad, constant_values=-1),
        np.pad(values, pad).astype(np.float32),
    )
