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
    width: int
    d_in: int

    def encode(self, x: Tensor) -> Codes:
        """(N, d_in) -> sparse codes."""
        ...

    def decode(self, codes: Codes) -> Tensor:
        """Sparse codes -> (N, d_out)."""
        ...

    def directions(self, ids: Tensor) -> Tensor:
        """(n,) -> (n, d_out): what one unit of each feature adds to the model's space."""
        ...
