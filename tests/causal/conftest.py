"""A dictionary small enough to compute by hand, and a token map with a picture in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from semascope.dictionary.types import Codes
from semascope.subject.types import Kind, Role, TokenMap


@dataclass(eq=False)
class TopKFake:
    """z = TopK(ReLU(x E)), x̂ = z W + b: the protocol and nothing else."""

    name: str
    site: str
    encoder: Tensor
    W_dec: Tensor
    b_dec: Tensor
    k: int = 4
    site_out: str = ""

    @property
    def width(self) -> int:
        return len(self.W_dec)

    @property
    def d_in(self) -> int:
        return len(self.encoder)

    def encode(self, x: Tensor) -> Codes:
        values, indices = ((x - self.b_dec) @ self.encoder).relu().topk(self.k, dim=-1)
        return Codes(values, indices)

    def decode(self, codes: Codes, x: Tensor | None = None) -> Tensor:
        return (codes.values[..., None] * self.W_dec[codes.indices]).sum(-2) + self.b_dec

    def directions(self, ids: Tensor) -> Tensor:
        return self.W_dec[ids]

    def dense(self, x: Tensor) -> Tensor:
        """(N, width): what a test compares with."""
        codes = self.encode(x)
        return torch.zeros(len(x), self.width).scatter_add(1, codes.indices, codes.values)


def make_dictionary(
    d: int = 8, width: int = 24, site: str = "resid_post.1", name: str = "main", seed: int = 0
) -> TopKFake:
    draw = torch.Generator().manual_seed(seed)
    decoder = torch.randn(width, d, generator=draw)
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    bias = 0.1 * torch.randn(d, generator=draw)
    return TopKFake(name, site, decoder.T.clone(), decoder, bias)


@pytest.fixture
def dictionary() -> TopKFake:
    return make_dictionary()


@pytest.fixture(scope="session")
def make():  # type: ignore[no-untyped-def]
    return make_dictionary


@pytest.fixture
def token_map() -> TokenMap:
    """<s>, a 2 × 2 picture of 40 × 20 pixels, 'a red cat?', and the answer's opening."""
    image, text = Kind.IMAGE, Kind.TEXT
    rects = np.full((10, 4), np.nan, dtype=np.float32)
    rects[1:5] = [[0, 0, 20, 10], [20, 0, 40, 10], [0, 10, 20, 20], [20, 10, 40, 20]]
    kinds = [Kind.SPECIAL, image, image, image, image, text, text, text, text, Kind.SPECIAL]
    user, assistant = Role.USER, Role.ASSISTANT
    return TokenMap(
        ids=np.array([0, 1, 1, 1, 1, 5, 6, 7, 8, 9]),
        tokens=("<s>", "", "", "", "", "a", " red", " cat", "?", "<a>"),
        kinds=np.asarray(kinds, dtype=np.int8),
        roles=np.asarray([Role.NONE] + [user] * 8 + [assistant], dtype=np.int8),
        image=np.asarray([-1, 0, 0, 0, 0, -1, -1, -1, -1, -1], dtype=np.int16),
        rects=rects,
        sizes=((40, 20),),
    )


@pytest.fixture(scope="session")
def subject():  # type: ignore[no-untyped-def]
    from semascope.subject.testing import tiny

    return tiny("llava")


@pytest.fixture(scope="session")
def sample():  # type: ignore[no-untyped-def]
    from PIL import Image

    from semascope.corpus.sample import Sample, Turn

    # Not effect_noise: it draws from the C library, so the picture would hang on what ran before.
    noise = np.random.default_rng(0).normal(128, 80, (48, 64)).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(noise).convert("RGB")
    turns = (Turn("user", "what colour is the cat?", images=1),)
    return Sample(id="noise", turns=turns, images=(picture,))


@pytest.fixture(scope="session")
def coders(subject):  # type: ignore[no-untyped-def]
    """Two dictionaries of the tiny subject, wide enough that features differ by token."""
    from semascope.dictionary.coder import SparseCoder
    from semascope.dictionary.config import CoderConfig

    made = []
    for seed, site in enumerate(["resid_post.0", "resid_post.1"]):
        config = CoderConfig(d_in=subject.d_model, width=128, k=6)
        coder = SparseCoder(config, site=site, seed=seed)
        coder.b_dec.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(9))
        made.append(coder)
    return made
