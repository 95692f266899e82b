"""Thinning and caching of chunks; stability across seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semascope.dictionary import ActivationBatch, CoderConfig, SparseCoder
from semascope.dictionary.metrics.stability import stability
from semascope.dictionary.training.token_sampling import CachedChunks, SampledChunks, TokenSampling
from semascope.errors import DictionaryError


def chunk(number: int) -> ActivationBatch | None:
    """A thousand tokens of kinds 0 to 3; the first of each chunk is a giant."""
    if number > 2:
        return None
    x = torch.randn((1000, 4), generator=torch.Generator().manual_seed(number))
    x[1] *= 1000
    return ActivationBatch(x, (torch.arange(1000) % 4).to(torch.int8))


def test_rates_outliers_and_counts() -> None:
    """Each kind at its own rate; giants out; everything that was left out is counted."""
    thin = SampledChunks(chunk, TokenSampling(rates={3: 0.1, 2: 0.0}, outlier=20.0), seed=5)
    batch = thin(0)
    assert batch is not None
    kinds = batch.kind.tolist()
    assert kinds.count(1) == 249  # all but the giant
    assert kinds.count(2) == kinds.count(0) == 0
    assert 10 <= kinds.count(3) <= 45
    assert thin.counts["seen"] == {1: 250, 2: 250, 3: 250}
    assert thin.counts["outlier"] == {1: 1}
    assert thin.counts["kept"] == {1: 249, 3: kinds.count(3)}
    again = thin(0)
    assert again is not None
    assert torch.equal(batch.x, again.x)
    assert thin(3) is None
    with pytest.raises(DictionaryError, match="between 0 and 1"):
        SampledChunks(chunk, TokenSampling(rates={1: 1.5}))


@pytest.mark.parametrize("half", [False, True])
def test_a_cached_chunk_needs_no_model(half: bool, tmp_path: Path) -> None:
    """The first pass and the second give the same bits."""
    made: list[int] = []

    def counted(number: int) -> ActivationBatch | None:
        made.append(number)
        return chunk(number)

    kept = CachedChunks(counted, tmp_path, half=half)
    first, second = kept(1), kept(1)
    assert first is not None
    assert second is not None
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.kind, second.kind)
    assert made == [1]
    assert kept(9) is None
    assert not list(tmp_path.glob("*9*"))


def test_stability_is_one_for_a_permuted_copy() -> None:
    """And low for an unrelated dictionary."""
    one = SparseCoder(CoderConfig(d_in=32, width=64, k=4), seed=1)
    copy = SparseCoder(CoderConfig(d_in=32, width=64, k=4), seed=2)
    other = stability(one, copy)
    assert other.matched is not None
    assert other.matched < 0.6
    copy.W_dec.data.copy_(one.W_dec.data[torch.randperm(64)])
    same = stability(one, copy)
    assert same.matched == pytest.approx(1, abs=1e-5)
    assert same.shared == 1
    narrow = SparseCoder(CoderConfig(d_in=8, width=64, k=4))
    with pytest.raises(DictionaryError, match="32 and 8"):
        stability(one, narrow)
