"""Losses against their formulas, and over micro-batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semascope.dictionary import CoderConfig, SparseCoder
from semascope.dictionary.training.losses import LossContext, auxk, fvu, multi_topk


def moment(x: Tensor, dead: Tensor | None = None, tokens: int = 0) -> LossContext:
    """A step over the batch x."""
    return LossContext(
        variance=(x - x.mean(0)).square().sum(),
        tokens=tokens or len(x),
        dead=torch.zeros(0, dtype=torch.int64) if dead is None else dead,
        k=4,
        ramp=1.0,
    )


@pytest.fixture
def coder() -> SparseCoder:
    """With biases that matter."""
    coder = SparseCoder(CoderConfig(d_in=16, width=64, k=4, unit_norm=False), seed=3)
    with torch.no_grad():
        coder.b_enc.normal_(std=0.1)
        coder.b_dec.normal_()
    return coder


def test_auxk_models_the_detached_residual_without_b_dec(
    coder: SparseCoder, activations: Tensor
) -> None:
    """Adding b_dec twice, or letting the residual carry gradient, changes value or gradient."""
    x, dead = activations[:100], torch.tensor([3, 9, 11, 12, 13, 20, 21, 22, 40, 41, 42, 63])
    done = coder(x)
    loss = auxk(1 / 32)(coder, done, moment(x, dead))
    loss.backward()
    assert coder.b_dec.grad is None
    moved = coder.W_dec.grad.abs().sum(1).nonzero().squeeze(1)  # type: ignore[union-attr]
    assert set(moved.tolist()) <= set(dead.tolist())
    pre = (x - coder.b_dec) @ coder.W_enc[dead].t() + coder.b_enc[dead]
    z = torch.zeros_like(pre).scatter(1, pre.topk(8).indices, 1.0) * torch.relu(pre)
    left = (x - done.x_hat).detach()
    truth = (z @ coder.W_dec[dead] - left).square().sum() / (left - left.mean(0)).square().sum()
    assert loss.item() == pytest.approx(truth.item() / 32, rel=1e-4)


def test_few_dead_latents_weigh_less(coder: SparseCoder, activations: Tensor) -> None:
    """Two dead of the eight wanted: a quarter of the weight. None: nothing."""
    x = activations[:100]
    done = coder(x)
    pair = torch.tensor([1, 2])
    full = auxk(1.0, k_aux=2)(coder, done, moment(x, pair))
    part = auxk(1.0, k_aux=8)(coder, done, moment(x, pair))
    assert part.item() == pytest.approx(full.item() / 4, rel=1e-5)
    assert auxk()(coder, done, moment(x)).item() == 0


def test_shares_of_micro_batches_add_up(coder: SparseCoder, activations: Tensor) -> None:
    """FVU exactly; its denominator is the whole batch's."""
    x = activations[:90]
    whole = fvu(coder, coder(x), moment(x))
    parts = sum(fvu(coder, coder(x[i : i + 40]), moment(x)).item() for i in (0, 40, 80))
    assert parts == pytest.approx(whole.item(), rel=1e-5)


def test_a_wider_code_leaves_less(coder: SparseCoder, activations: Tensor) -> None:
    """Multi-TopK reconstructs with 4 k latents of the same dictionary."""
    x = activations[:50]
    pre = (x - coder.b_dec) @ coder.W_enc.t() + coder.b_enc
    z = torch.zeros_like(pre).scatter(1, pre.topk(16).indices, 1.0) * torch.relu(pre)
    truth = (z @ coder.W_dec + coder.b_dec - x).square().sum() / moment(x).variance
    loss = multi_topk(1.0)(coder, coder(x), moment(x))
    assert loss.item() == pytest.approx(truth.item(), rel=1e-4)
