"""The figures against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semascope.dictionary import ActivationBatch, CoderConfig, Dictionary, SparseCoder, quality
from semascope.dictionary.metrics.quality import crowding
from semascope.errors import DictionaryError


def test_figures_equal_their_definitions_for_each_kind(activations: Tensor) -> None:
    """In any batching, with padding left out; explained variance is of the total, not a mean of
    ratios."""
    coder = SparseCoder(CoderConfig(d_in=16, width=64, k=4), seed=5)
    kind = (torch.arange(4096) % 4).to(torch.int8)
    batches = [
        ActivationBatch(activations[i : i + 700] * 50, kind[i : i + 700])
        for i in range(0, 4096, 700)
    ]
    result = quality(coder, batches)
    for at, group in [(kind != 0, result.all)] + [(kind == g, result.groups[g]) for g in (1, 2, 3)]:
        x = activations[at].double() * 50
        codes = coder.encode(x.float())
        sse = (coder.decode(codes).double() - x).square().sum()
        fvu = float(sse / (x - x.mean(0)).square().sum())
        assert group.fvu == pytest.approx(fvu, rel=1e-6)
        assert group.explained_variance == pytest.approx(1 - fvu, rel=1e-6)
        assert group.l0 == pytest.approx(float((codes.values > 0).sum()) / int(at.sum()))
        fired = torch.unique(codes.indices[codes.values > 0])
        assert group.dead_fraction == pytest.approx(1 - len(fired) / 64)
        assert sum(group.density) == len(fired)
        assert group.tokens == int(at.sum())
    assert set(result.groups) == {1, 2, 3}
    assert result.as_dict()["groups"]["1"]["fvu"] == result.groups[1].fvu


def test_crowding_sees_a_copied_feature() -> None:
    """Two latents with one direction."""
    coder = SparseCoder(CoderConfig(d_in=16, width=32, k=4))
    before = crowding(coder)["above_0.9"]
    coder.W_dec.data[3] = coder.W_dec.data[7]
    assert crowding(coder)["above_0.9"] == pytest.approx(before + 2 / 32)


def test_a_coder_is_a_dictionary_and_says_what_it_reads() -> None:
    """The protocol, and the sentence for a wrong site."""
    coder = SparseCoder(CoderConfig(d_in=16, width=32, k=4), name="main", site="resid_post.1")
    assert isinstance(coder, Dictionary)
    with pytest.raises(DictionaryError, match=r"reads \(tokens, 16\)"):
        coder.encode(torch.zeros(2, 3, 16))
    with pytest.raises(DictionaryError, match="no token"):
        quality(coder, [])
