"""Where dense architectures begin, and what a short run with the defaults comes to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semascope.dictionary import (
    ActivationBatch,
    CoderConfig,
    SparseCoder,
    TensorSource,
    TrainConfig,
    quality,
    train,
)
from semascope.dictionary.architectures import dense
from semascope.dictionary.architectures.gated import gate_l1
from semascope.dictionary.architectures.jumprelu import target_l0
from semascope.dictionary.architectures.relu import weighted_l1
from semascope.dictionary.training.losses import LossContext
from semascope.dictionary.training.trainer import Trainer

DENSE = ["gated", "jumprelu", "relu"]


def begun(name: str, x: Tensor, target: Tensor | None = None) -> Trainer:
    """A trainee before its first step."""
    config = TrainConfig(width=64, k=4, architecture=name, transcode=target is not None)  # type: ignore[arg-type]
    return Trainer.begin(config, ActivationBatch(x, torch.ones(len(x)), target))


def moment(x: Tensor) -> LossContext:
    """A step over the batch x."""
    none = torch.zeros(0, dtype=torch.int64)
    return LossContext((x - x.mean(0)).square().sum(), len(x), none, 4, 1.0)


@pytest.mark.parametrize("numbers", [1 << 24, 1500])
def test_every_latent_has_its_share_of_the_first_tokens(
    numbers: int, activations: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one block of latents or in many: a level that is off starves some or floods all."""
    monkeypatch.setattr(dense, "LEVEL_NUMBERS", numbers)
    coder, x = SparseCoder(CoderConfig(d_in=16, width=64, k=4), seed=1), activations[:800]
    coder.b_enc.data.normal_(generator=torch.Generator().manual_seed(0))
    pre = (x - coder.b_dec) @ coder.W_enc.t() + coder.b_enc
    over = (pre > dense.levels(coder, x) + 1e-5).sum(0)  # 800 · 4 / 64 = 50 tokens each
    assert bool(((over - 50).abs() <= 1).all())
    assert len(dense.levels(coder, x[:1])) == 64  # one token is enough to go on


@pytest.mark.parametrize("name", DENSE)
def test_a_dense_architecture_begins_at_k(name: str, activations: Tensor) -> None:
    """Begun at a threshold of 0, half of all latents would be on at every token."""
    trainee = begun(name, activations)
    x = activations * trainee.scaling.unit
    done = trainee.coder(x)
    assert done.z is not None
    on = (done.z > 0).float()
    assert on.sum(1).mean().item() == pytest.approx(4, rel=0.05)
    assert on.mean(0).min() > 0.5 * 4 / 64


def test_sparse_architectures_begin_as_they_were_drawn(activations: Tensor) -> None:
    """A TopK run keeps its bits: nothing of it is set by the first batch but b_dec and a scale."""
    for name in ("topk", "batchtopk"):
        trainee = begun(name, activations)
        fresh = SparseCoder(trainee.coder.cfg)
        for key, tensor in fresh.state_dict().items():
            assert key == "b_dec" or torch.equal(tensor, trainee.coder.state_dict()[key])


@pytest.mark.parametrize("name", DENSE)
def test_latents_that_face_away_from_an_offset_begin_with_the_others(
    name: str, activations: Tensor
) -> None:
    """A transcoder reads its input with the mean left in: half of its latents see it negative."""
    x = activations + 3
    trainee = begun(name, x, activations)
    done = trainee.coder(trainee.scaling.into(x, trainee.config), activations)
    gate = done.extras.get("gate", done.z)
    assert (gate > 0).float().mean(0).min() > 0.5 * 4 / 64


@pytest.mark.parametrize("subtract", [True, False])
def test_pre_activations_have_every_gradient(subtract: bool, activations: Tensor) -> None:
    """b_dec's is made from sums over tokens; plain autograd gives the same the long way."""
    cfg = CoderConfig(d_in=16, width=64, architecture="relu", subtract_b_dec=subtract)
    coder, x = SparseCoder(cfg, seed=2), activations[:50].clone().requires_grad_()
    coder.b_dec.data.normal_(generator=torch.Generator().manual_seed(0))
    asked = [x, coder.W_enc, coder.b_enc, *([coder.b_dec] if subtract else [])]
    centred = x - coder.b_dec if subtract else x
    weigh = torch.randn((50, 64), generator=torch.Generator().manual_seed(1))
    truth = torch.autograd.grad((weigh * (centred @ coder.W_enc.t() + coder.b_enc)).sum(), asked)
    ours = torch.autograd.grad((weigh * dense.pre_activations(coder, x)).sum(), asked)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_usual_penalty_is_the_published_one_at_its_width(activations: Tensor) -> None:
    """‖x − x̂‖² + λ Σ z‖W_dec‖, all over the variance: λ is 5 at d = 4096, and goes with √d."""
    for name, loss in (("relu", weighted_l1()), ("gated", gate_l1())):
        trainee = begun(name, activations)
        x = activations * trainee.scaling.unit
        done = trainee.coder(x)
        z = done.extras.get("gate", done.z)
        truth = 5 / 16 * (z * trainee.coder.W_dec.norm(dim=1)).sum() / moment(x).variance
        assert loss(trainee.coder, done, moment(x)).item() == pytest.approx(truth.item(), rel=1e-4)


def test_only_thresholds_are_led_to_k(activations: Tensor) -> None:
    """A batch's L0 misses k by chance; W_enc would follow the chance."""
    coder = begun("jumprelu", activations).coder
    target_l0()(coder, coder(activations[:300]), moment(activations[:300])).backward()
    moved = {name for name, p in coder.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"activation.threshold"}


def learnt(name: str, x: Tensor, folder: Path) -> tuple[float, float]:
    """FVU and L0 of 150 steps with the defaults."""
    config = TrainConfig(width=64, k=4, architecture=name, steps=150)  # type: ignore[arg-type]
    coder = train(TensorSource(x, batch_size=256), config, folder / name).coder
    result = quality(coder, [ActivationBatch(x, torch.ones(len(x)))])
    return result.fvu, result.l0


def test_a_short_run_of_jumprelu_ends_where_it_was_asked(
    activations: Tensor, tmp_path: Path
) -> None:
    """Begun at a threshold near 0 it ended at an FVU of .21 here, against .14 (TopK: .11)."""
    fvu, l0 = learnt("jumprelu", activations, tmp_path)
    assert l0 == pytest.approx(4, rel=0.15)
    assert fvu < 0.17


@pytest.mark.parametrize("name", ["gated", "relu"])
def test_a_penalty_by_default_neither_kills_nor_spares(
    name: str, activations: Tensor, tmp_path: Path
) -> None:
    """By the published λ as it stands, at 16 dimensions: half a latent a token and FVU .55, .87."""
    fvu, l0 = learnt(name, activations, tmp_path)
    assert 2 < l0 < 16  # of 64; 2.4 are planted a token
    assert fvu < 0.1


@pytest.mark.parametrize("name", DENSE)
def test_a_run_cut_short_is_not_begun_again(name: str, activations: Tensor, tmp_path: Path) -> None:
    """Levels are set once: a resumed run has learnt its own since, and ends with the same bits."""

    class Stops(TensorSource):
        def batches(self, start_step: int) -> Iterator[ActivationBatch]:
            yield from islice(super().batches(start_step), 7 - start_step)

    config = TrainConfig(
        width=64,
        k=4,
        architecture=name,  # type: ignore[arg-type]
        steps=12,
        checkpoint_every=5,
    )
    whole = train(TensorSource(activations, batch_size=256), config, tmp_path / "whole").coder
    train(Stops(activations, batch_size=256), config, tmp_path / "cut")
    again = train(TensorSource(activations, batch_size=256), config, tmp_path / "cut").coder
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
