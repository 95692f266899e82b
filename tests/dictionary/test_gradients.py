"""Gradient buffers: the same gradients, without memory that is made anew at every step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semascope.dictionary import CoderConfig, SparseCoder
from semascope.dictionary.kernels import sparse
from semascope.dictionary.kernels.sparse import GradientBuffer
from semascope.dictionary.training.losses import Loss, LossContext, auxk, fvu, multi_topk


@pytest.mark.parametrize("unit_norm", [True, False])
@pytest.mark.parametrize("losses", [[fvu], [fvu, auxk(0.5), multi_topk(0.5)], [auxk(0.5), fvu]])
def test_buffered_gradients_are_autograds_own(
    losses: list[Loss],
    unit_norm: bool,
    activations: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In blocks that end within the width, in any order of losses, over micro-batches, twice."""
    monkeypatch.setattr(sparse, "BLOCK_BYTES", 16 * 4 * 20)  # blocks of 20 of 64 latents
    x = activations[:200]
    now = LossContext(
        variance=(x - x.mean(0)).square().sum(),
        tokens=len(x),
        dead=torch.tensor([3, 9, 20, 63]),
        k=4,
        ramp=1.0,
    )
    plain, buffered = (
        SparseCoder(CoderConfig(d_in=16, width=64, k=4, unit_norm=unit_norm)) for _ in range(2)
    )
    buffers = [GradientBuffer(buffered.W_enc), GradientBuffer(buffered.W_dec)]
    for _ in range(2):  # what the step before left behind must not count
        for coder in (plain, buffered):
            coder.zero_grad()
            for buffer in buffers:
                buffer.clear()
            for part in (x[:120], x[120:]):
                done = coder(part)
                sum(loss(coder, done, now) for loss in losses).backward()  # type: ignore[union-attr]
        for buffer in buffers:
            buffer.give()
        for name, parameter in plain.named_parameters():
            other = buffered.get_parameter(name).grad
            assert other is not None
            torch.testing.assert_close(other, parameter.grad, rtol=1e-5, atol=1e-7)


def test_a_dense_gradient_and_a_buffered_one_add_up() -> None:
    """ReLU's own loss goes through autograd, its AuxK through the buffer."""
    weight = torch.nn.Parameter(torch.randn(6, 3))
    buffer = GradientBuffer(weight)
    loss = (2 * weight).sum() + sparse.some_rows(weight, torch.tensor([1, 4])).sum()
    loss.backward()
    buffer.give()
    truth = torch.full((6, 3), 2.0)
    truth[[1, 4]] += 1
    assert weight.grad is not None
    assert torch.equal(weight.grad, truth)
