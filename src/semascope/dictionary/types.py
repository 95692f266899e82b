"""What a dictionary is to everybody else: sparse codes out, directions in the model's space.

Knows tensors only: no tokenizer, no image, no model.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Codes(NamedTuple):
    """A sparse code of N tokens, k entries each. Nothing past the encoder is dense in the width."""

    values: Tensor
    """(N, k) activations; an entry of 0 is padding and its index means nothing."""
    indices: Tensor
    """(N, k) int64 feature numbers."""


@runtime_checkable
class Dictionary(Protocol):
    """SAEs, transcoders, signed neurons and plain directions all look like this.

    A feature's id is ``site/name/index``.
    """

    name: str
    site: str
    """Where its input is read, e.g. ``resid_post.12``."""
    site_out: str
    """Where its directions live, if that is not where it reads: a transcoder's target; else ""."""
    width: int
    d_in: int

    def encode(self, x: Tensor) -> Codes:
        """(N, d_in) -> sparse codes."""
        ...

    def decode(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        """Sparse codes -> (N, d_out). Who has the input (N, d_in) gives it: a skip path and a layer
        norm need it."""
        ...

    def directions(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d_out): what one unit of each feature adds to the model's space.

        Where ``gain`` is given, in multiples of it.
        """
        ...


def gain(dictionary: Dictionary, x: Tensor) -> Tensor | None:
    """(N, d_in) -> (N, 1) by what directions are multiplied at each token; None where by 1.

    A dictionary of layer-normed inputs writes in units of the token's deviation. One that does has
    a method ``gain``.
    """
    own = getattr(dictionary, "gain", None)
    return None if own is None else own(x)
