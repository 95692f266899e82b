"""What rooms need of a model, where wrappers of a ``Subject`` serve as well as the subject itself.

``Subject`` has all of it; so have subjects whose passes are cached, counted or run in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from semascope.corpus.sample import Sample
from semascope.subject.types import Batch


class ActivationSource(Protocol):
    """Encodes samples, and gives activations at sites."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations."""
        ...

    def sites(self) -> Mapping[str, int]:
        """Width of every site, in the order of a forward pass."""
        ...

    def encode(self, samples: Sequence[Sample], *, max_tokens: int | None = 512) -> Batch:
        """Samples to a padded batch. SubjectError for a sample that the model cannot read."""
        ...

    def run(self, batch: Batch, sites: Sequence[str]) -> Mapping[str, Tensor]:
        """Activations at each site: (B, T, width), or (pictures, patches, width)."""
        ...


class LogitSource(ActivationSource, Protocol):
    """Also has an output embedding, and a tokenizer that spells its rows."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Spells tokens."""
        ...

    def unembedding(self) -> Tensor:
        """(V, d) rows that read a token's logit off the residual stream."""
        ...


class Tokenizer(Protocol):
    """A tokenizer, as far as spelling goes."""

    def decode(self, token_ids: list[int]) -> str:
        """Token ids to text."""
        ...
