"""The sparse arithmetic equals the dense one, values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig
from semascope.dictionary.kernels import sparse, topk


def dense_topk_loss(coder: SparseCoder, x: Tensor) -> Tensor:
    """The textbook formula, dense in the width, left to autograd."""
    pre = (x - coder.b_dec) @ coder.W_enc.t() + coder.b_enc
    kept = torch.zeros_like(pre).scatter(1, pre.topk(coder.k).indices, 1.0)
    return ((torch.relu(pre) * kept) @ coder.W_dec + coder.b_dec - x).square().sum()


@pytest.mark.parametrize("unit_norm", [False, True])
def test_a_sparse_step_has_the_dense_gradient(unit_norm: bool) -> None:
    """A wrong grouping, a lost b_dec path or a bad projection changes a gradient."""
    cfg = CoderConfig(d_in=12, width=96, k=7, unit_norm=unit_norm)
    coder = SparseCoder(cfg, seed=1)
    with torch.no_grad():
        coder.b_enc.normal_(std=0.1)
        coder.b_dec.normal_()
    x = torch.randn(50, 12)
    done = coder(x)
    (done.x_hat - x).square().sum().backward()
    mine = {n: p.grad.clone() for n, p in coder.named_parameters() if p.grad is not None}
    coder.zero_grad()
    dense_topk_loss(coder, x).backward()
    truth = {n: p.grad.clone() for n, p in coder.named_parameters() if p.grad is not None}
    if unit_norm:
        along = (truth["W_dec"] * coder.W_dec).sum(1, keepdim=True)
        truth["W_dec"] -= along * coder.W_dec.detach()
    assert mine.keys() == truth.keys()
    for name, grad in truth.items():
        torch.testing.assert_close(mine[name], grad, rtol=1e-4, atol=1e-4)


def test_the_input_has_its_gradient_too() -> None:
    """Attribution differentiates through the encoder to x."""
    coder = SparseCoder(CoderConfig(d_in=8, width=64, k=5), seed=2)
    x = torch.randn(9, 8, requires_grad=True)
    (coder(x).x_hat.square().sum()).backward()
    mine = x.grad
    x2 = x.detach().clone().requires_grad_()
    pre = (x2 - coder.b_dec) @ coder.W_enc.t() + coder.b_enc
    kept = torch.zeros_like(pre).scatter(1, pre.topk(5).indices, 1.0)
    ((torch.relu(pre) * kept) @ coder.W_dec + coder.b_dec).square().sum().backward()
    torch.testing.assert_close(mine, x2.grad, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    width=st.sampled_from([33, 64, 160, 1024, 2048]),
    k=st.integers(1, 30),
    seed=st.integers(0, 999),
)
def test_topk_is_exact(n: int, width: int, k: int, seed: int) -> None:
    """Both selections together hold the k largest, also when every value is negative."""
    generator = torch.Generator().manual_seed(seed)
    pre = torch.randn((n, width), generator=generator) - 5 * (seed % 2)
    values, indices = topk.topk(pre, k)
    torch.testing.assert_close(values.sort(1).values, pre.topk(k).values.sort(1).values)
    torch.testing.assert_close(pre.gather(1, indices), values)
    assert all(len(set(row)) == k for row in indices.tolist())


def test_tiles_do_not_change_the_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last, smaller tile, a tile larger than the batch, and room kept from a larger batch."""
    x, weight, bias = torch.randn(150, 6), torch.randn(64, 6), torch.randn(64)
    whole = topk.select_topk(x, weight, bias, 3)
    room = topk.TileBuffer()
    topk.select_topk(torch.randn(300, 6), weight, bias, 3, room)
    kept = topk.select_topk(x, weight, bias, 3, room)
    for name in ("TILE_BYTES", "ROOM_BYTES"):
        monkeypatch.setattr(topk, name, 1)
    assert topk.tile_rows(64, x.device, 150, 1) == 64
    for parts in (kept, *(topk.select_topk(x, weight, bias, 3, r) for r in (None, room))):
        torch.testing.assert_close(whole[0].sort(1).values, parts[0].sort(1).values)


@given(n=st.integers(0, 30), k=st.integers(1, 8), seed=st.integers(0, 99))
def test_dots_by_latent_are_those_by_token(n: int, k: int, seed: int) -> None:
    """The same numbers in whichever order weights are fetched."""
    g = torch.Generator().manual_seed(seed)
    rows, weight = torch.randn((n, 5), generator=g), torch.randn((12, 5), generator=g)
    indices = torch.randint(0, 12, (n, k), generator=g)
    by_latent = sparse.Grouping(indices, 12).dot(rows, weight)
    torch.testing.assert_close(by_latent, sparse.gather_dot(rows, weight, indices))


def test_padding_counts_for_nothing() -> None:
    """Ragged codes are padded with value 0 at feature 0, which must not receive a gradient."""
    token = torch.tensor([0, 0, 0, 2])
    latent = torch.tensor([4, 1, 3, 2])
    value = torch.tensor([1.0, 2.0, 3.0, 4.0])
    values, indices = topk.pad_entries(token, latent, value, 3)
    assert values.tolist() == [[1, 2, 3], [0, 0, 0], [4, 0, 0]]
    weight = torch.randn(5, 4)
    out = sparse.weighted_rows(values, indices, weight)
    torch.testing.assert_close(out[1], torch.zeros(4))
    torch.testing.assert_close(out[2], 4 * weight[2])
    groups = sparse.Grouping(indices, 5)
    assert groups.sum((values > 0).float()).tolist() == [0, 1, 1, 1, 1]


def test_gather_dot_paths_agree() -> None:
    """The CPU kernel and the portable product give one answer."""
    rows, weight = torch.randn(20, 6), torch.randn(30, 6)
    indices = torch.randint(0, 30, (20, 4))
    fast = sparse.gather_dot(rows, weight, indices)
    slow = sparse.gather_dot(rows.double(), weight.double(), indices)
    torch.testing.assert_close(fast, slow.float())
