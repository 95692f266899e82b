"""Dictionaries that nobody trained: MLP neurons with two polarities, and plain directions.

They fit the same protocol as SAEs, so every tool works on them too. Knows tensors only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semascope.dictionary.types import Codes
from semascope.errors import DictionaryError


class SignedNeurons:
    """The neurons of an MLP layer, each as two features: 2 i fires above 0, 2 i + 1 below.

    Args:
        site: where the neurons' activations are read, e.g. ``mlp_neurons.12``.
        write: (n, d_model) what one unit of each neuron adds to the residual stream (the rows of
            the down projection, transposed). Without it, directions are in neuron space.
        k: strongest neurons a token that enter the code; 0 for all of them.
    """

    def __init__(
        self,
        site: str,
        neurons: int,
        *,
        write: Tensor | None = None,
        k: int = 0,
        name: str = "neurons",
    ) -> None:
        if write is not None and len(write) != neurons:
            raise DictionaryError(
                f"{neurons} neurons need as many rows of output weights, not {len(write)}."
            )
        if neurons < 1 or k < 0 or k > neurons:
            raise DictionaryError(f"k = {k} is not possible with {neurons} neurons.")
        self.name = name
        self.site, self.site_out = site, ""
        self.d_in = neurons
        self.width = 2 * neurons
        self.k = k or neurons
        self._write = write

    def encode(self, x: Tensor) -> Codes:
        """(N, n) -> the k neurons furthest from 0, as non-negative activations of a polarity."""
        _check(self.name, self.d_in, x)
        at = x.abs().topk(self.k, dim=1, sorted=False).indices  # (N, k)
        value = x.gather(1, at)
        return Codes(value.abs(), 2 * at + (value < 0))

    def decode(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        """Codes -> (N, d_out): the part of the layer's output that these neurons write."""
        signed = torch.where(codes.indices % 2 == 1, -codes.values, codes.values)
        neuron = torch.div(codes.indices, 2, rounding_mode="floor")
        dense = signed.new_zeros((len(signed), self.d_in)).scatter_add_(1, neuron, signed)
        return dense if self._write is None else dense @ self._write.to(dense)

    def directions(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d_out): ± the neuron's output weights."""
        neuron = torch.div(ids, 2, rounding_mode="floor")
        sign = 1.0 - 2.0 * (ids % 2).unsqueeze(1)
        if self._write is None:
            rows = torch.nn.functional.one_hot(neuron, self.d_in).to(sign.dtype)
        else:
            rows = self._write[neuron]
        return rows * sign.to(rows)


class Directions:
    """Named directions, such as steering vectors, probes or principal components.

    A feature's activation is the part of x − ``origin`` along its unit direction where that is
    positive. Directions need not be orthogonal: ``decode`` adds them up and does not invert
    ``encode``.
    """

    def __init__(
        self, site: str, rows: Tensor, *, origin: Tensor | None = None, name: str = "directions"
    ) -> None:
        """``rows`` (n, d), of any non-zero length."""
        norm = rows.norm(dim=1, keepdim=True)
        if rows.ndim != 2 or not len(rows) or bool((norm == 0).any()):
            raise DictionaryError("Directions are the rows of a matrix, none of them zero.")
        self.name = name
        self.site, self.site_out = site, ""
        self.width, self.d_in = rows.shape
        self._rows: Tensor = rows / norm  # (n, d)
        self._origin: Tensor = origin if origin is not None else rows.new_zeros(self.d_in)

    def encode(self, x: Tensor) -> Codes:
        """(N, d) -> (N, n) codes."""
        _check(self.name, self.d_in, x)
        values = torch.relu((x - self._origin.to(x)) @ self._rows.to(x).t())  # (N, n)
        every = torch.arange(self.width, device=x.device)
        return Codes(values, every.expand(len(x), -1))

    def decode(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        """Codes -> (N, d)."""
        dense = codes.values.new_zeros((len(codes.values), self.width))
        dense.scatter_add_(1, codes.indices, codes.values)
        return dense @ self._rows.to(dense) + self._origin.to(dense)

    def directions(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d) unit rows."""
        return self._rows[ids]


def _check(name: str, width: int, x: Tensor) -> None:
    if x.ndim != 2 or x.shape[1] != width:
        raise DictionaryError(
            f"Dictionary {name!r} reads (tokens, {width}); it was given {tuple(x.shape)}."
        )
