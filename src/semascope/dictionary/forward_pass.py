"""``Pass``: one differentiable forward pass, as losses read it. Knows no architecture."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

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
