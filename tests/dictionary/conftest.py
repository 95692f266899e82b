"""Activations with known structure, for the tests of this room."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor


def planted(tokens: int, d: int = 16, features: int = 40, seed: int = 0) -> Tensor:
    """(tokens, d): sparse positive sums of unit directions around an offset."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn((features, d), generator=g), dim=1)
    on = torch.rand((tokens, features), generator=g) < 0.06
    strength = torch.rand((tokens, features), generator=g) + 0.5
    return (on * strength) @ directions + 0.3


@pytest.fixture(scope="session")
def activations() -> Tensor:
    """(4096, 16)."""
    return planted(4096)
