"""What architectures and losses share: one differentiable pass, and the coder that makes it.

``Coder`` is ``SparseCoder`` as those see it that it is built of, so that they need not import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from semascope.dictionary.config import CoderConfig
from semascope.dictionary.kernels.sparse import Grouping


@dataclass(slots=True)
class Pass:
    """One differentiable forward pass over N tokens.

    Either ``values`` and ``groups`` hold a sparse code, or ``z`` a dense one: architectures whose
    L0 is free begin nearly dense, and a dense product is then the faster one.
    """

    x: Tensor
    """(N, d_in)."""
    target: Tensor
    """(N, d_out): x itself, but for a transcoder."""
    centred: Tensor
    """(N, d_in): x − b_dec, no gradient to b_dec."""
    x_hat: Tensor
    """(N, d_out)."""
    values: Tensor | None = None
    """(N, k), zeros where a chosen latent was not positive."""
    groups: Grouping | None = None
    """Whose ``indices`` are (N, k)."""
    z: Tensor | None = None
    """(N, F)."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """What this architecture's own losses need."""

    @property
    def residual(self) -> Tensor:
        """(N, d_out) target − x_hat, detached."""
        return (self.target - self.x_hat).detach()


class Coder(Protocol):
    """The weights of a dictionary of F latents, and what can be made with them."""

    cfg: CoderConfig
    width: int
    W_enc: nn.Parameter
    """(F, d_in)."""
    b_enc: nn.Parameter
    """(F,)."""
    W_dec: nn.Parameter
    """(F, d_out)."""
    b_dec: nn.Parameter
    """(d_out,)."""
    W_skip: nn.Parameter | None
    """(d_out, d_in) of a skip transcoder."""
    bf16: bool
    training: bool

    @property
    def k(self) -> int:
        """Active latents a token, where the architecture counts them."""
        ...

    @property
    def d_out(self) -> int:
        """Width of the reconstruction."""
        ...

    def centre(self, x: Tensor) -> Tensor:
        """(N, d_in) -> what the encoder's product reads."""
        ...

    def reconstruct(self, values: Tensor, groups: Grouping, x: Tensor | None) -> Tensor:
        """(N, k) values -> (N, d_out)."""
        ...

    def from_some(self, centred: Tensor, latents: Tensor, k: int) -> Tensor:
        """(N, d_in) -> (N, d_out) from the ``k`` largest of some latents, no b_dec."""
        ...

    def add_skip(self, x_hat: Tensor, x: Tensor | None) -> Tensor:
        """The linear path of a skip transcoder."""
        ...

    def __call__(self, x: Tensor, target: Tensor | None = None, *, k: int | None = None) -> Pass:
        """(N, d_in) -> a differentiable pass; ``target`` (N, d_out) for a transcoder."""
        ...
