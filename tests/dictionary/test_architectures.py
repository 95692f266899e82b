"""Every architecture: inference equals training, scales fold away, gradients are the published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semascope.dictionary import (
    ActivationBatch,
    CoderConfig,
    SparseCoder,
    TensorSource,
    TrainConfig,
    load,
    quality,
    train,
)
from semascope.dictionary.architectures import ACTIVATIONS
from semascope.dictionary.architectures.batchtopk import choose
from semascope.dictionary.architectures.jumprelu import BANDWIDTH, l0, target_l0
from semascope.dictionary.crosscoder import CrossSource, site_norms, site_parts
from semascope.dictionary.training.losses import LossContext, matryoshka
from semascope.dictionary.training.resample import resample
from semascope.errors import DictionaryError

NAMES = sorted(ACTIVATIONS)


def ready(name: str, **fields: object) -> SparseCoder:
    """A coder with weights that are all at work."""
    cfg = CoderConfig(d_in=16, width=64, k=4, architecture=name, **fields)  # type: ignore[arg-type]
    coder, g = SparseCoder(cfg, seed=4), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=g))
        coder.normalise()
        if name == "batchtopk":
            coder.activation.threshold.fill_(0.8)  # type: ignore[union-attr,operator]
        if name == "jumprelu":
            coder.activation.threshold.abs_()  # type: ignore[union-attr,operator]
    return coder.eval()


def undecided(coder: SparseCoder, x: Tensor) -> Tensor:
    """(N,): some pre-activation is so near its threshold that rounding decides if it is on."""
    threshold = getattr(coder.activation, "threshold", None)
    if threshold is None:
        return torch.zeros(len(x), dtype=torch.bool)
    pre = (x - coder.b_dec) @ coder.W_enc.t() + coder.b_enc
    return ((pre - threshold).abs() < 1e-4).any(1)


@pytest.mark.parametrize("name", NAMES)
def test_inference_gives_the_code_of_training(name: str, activations: Tensor) -> None:
    """encode and decode are another way than the differentiable pass; they must agree."""
    coder, x = ready(name), activations[:200]
    codes = coder.encode(x)
    assert bool((codes.values >= 0).all())
    if name == "batchtopk":
        pre = (x - coder.b_dec) @ coder.W_enc.t() + coder.b_enc
        z = (pre * (pre > 0.8)).detach()
        truth = z @ coder.W_dec + coder.b_dec
    else:
        truth = coder(x).x_hat
    torch.testing.assert_close(coder.decode(codes), truth.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_input_scale_folds_away(name: str, activations: Tensor) -> None:
    """What was trained on 7 x reads x afterwards, its activations in the units of x."""
    coder, x = ready(name), activations[:200]
    x = x[~undecided(coder, 7 * x)]
    assert len(x) > 150
    before = coder.encode(7 * x)
    x_hat = coder.decode(before) / 7
    coder.fold(7.0)
    after = coder.encode(x)
    torch.testing.assert_close(coder.decode(after), x_hat, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.values.sum(), before.values.sum() / 7, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_each_learns_and_loads_back(name: str, activations: Tensor, tmp_path: Path) -> None:
    """Well below the mean's error in few steps, with Matryoshka prefixes over it as well."""
    config = TrainConfig(
        width=64,
        k=4,
        architecture=name,  # type: ignore[arg-type]
        steps=150,
        lr=5e-3,
        prefixes=(25, 100),
        dead_tokens=10_000,
        sparsity=0.1 if name in ("relu", "gated") else 0.0,
        sparsity_warmup=0.0,
    )
    report = train(TensorSource(activations, batch_size=256), config, tmp_path)
    again = load(tmp_path)
    result = quality(again, [ActivationBatch(activations, torch.ones(4096))])
    assert result.fvu < 0.6
    assert 0.5 < result.l0 < 16
    assert again.cfg == report.coder.cfg
    assert again.cfg.prefixes == (16, 64)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), k=st.integers(1, 12), seed=st.integers(0, 99))
def test_batchtopk_chooses_the_batch_s_largest(n: int, k: int, seed: int) -> None:
    """One token may want far more than its share: the second look must find all of it."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn((n, 8), generator=g) * (1 + 20 * torch.rand((n, 1), generator=g) ** 4)
    weight, bias = torch.randn((48, 8), generator=g), torch.randn(48, generator=g)
    values, indices = choose(x, weight, bias, k)
    pre = x @ weight.t() + bias
    truth = pre.flatten().topk(n * k).values.clamp(min=0)
    assert values.sum().item() == pytest.approx(truth.sum().item(), rel=1e-4, abs=1e-4)
    on = values > 0
    picked = pre.gather(1, indices)
    torch.testing.assert_close(values[on], picked[on], rtol=1e-4, atol=1e-4)


def moment(x: Tensor, k: int = 4) -> LossContext:
    """A step over the batch x."""
    none = torch.zeros(0, dtype=torch.int64)
    return LossContext((x - x.mean(0)).square().sum(), len(x), none, k, 1.0)


def test_jumprelu_has_the_published_estimator(activations: Tensor) -> None:
    """θ moves only for pre-activations within half a bandwidth of it."""
    coder, x = ready("jumprelu"), activations[:300]
    done = coder(x)
    l0(1.0)(coder, done, moment(x)).backward()
    pre = (x - coder.b_dec) @ coder.W_enc.t() + coder.b_enc
    theta = coder.activation.threshold  # type: ignore[union-attr]
    near = ((pre - theta).abs() < BANDWIDTH / 2).float() / BANDWIDTH
    grad = coder.activation.threshold.grad  # type: ignore[union-attr]
    torch.testing.assert_close(grad, -near.sum(0) / 300, rtol=1e-4, atol=1e-5)
    assert not coder.b_enc.grad.any()  # type: ignore[union-attr]
    on = (pre > theta).float().sum() / 300
    value = target_l0(0.5)(coder, done, moment(x)).item()
    assert value == pytest.approx(0.5 * (on.item() / 4 - 1) ** 2, rel=1e-4)


def test_unit_rows_have_tangent_gradients_when_dense(activations: Tensor) -> None:
    """Otherwise the optimiser's moments fill with what normalising takes away."""
    coder, x = ready("gated"), activations[:100]
    (coder(x).x_hat - x).square().sum().backward()
    along = (coder.W_dec.grad * coder.W_dec).sum(1)  # type: ignore[operator]
    torch.testing.assert_close(along.detach(), torch.zeros(64), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["topk", "relu"])
def test_matryoshka_is_the_mean_over_prefixes(name: str, activations: Tensor) -> None:
    """Sparse and dense codes, against the formula."""
    coder, x = ready(name, prefixes=(8, 32, 64)), activations[:100]
    done = coder(x)
    z = done.z
    if z is None:
        z = torch.zeros(100, 64).scatter(1, done.groups.indices, done.values)
    errors = [(z[:, :p] @ coder.W_dec[:p] + coder.b_dec - x).square().sum() for p in (8, 32, 64)]
    truth = torch.stack(errors).mean() / moment(x).variance
    value = matryoshka(coder, done, moment(x))
    assert value.item() == pytest.approx(truth.item(), rel=1e-4)


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_learns_the_map(skip: bool, activations: Tensor, tmp_path: Path) -> None:
    """Another width out; the skip path carries what is linear."""
    mapped = activations @ torch.randn((16, 6), generator=torch.Generator().manual_seed(1)) + 2
    config = TrainConfig(
        width=64, k=4, steps=200, lr=5e-3, transcode=True, skip=skip, dead_tokens=10_000
    )
    source = TensorSource(activations, batch_size=256, target=mapped)
    train(source, config, tmp_path)
    coder = load(tmp_path)
    batch = ActivationBatch(activations, torch.ones(4096), mapped)
    assert quality(coder, [batch]).fvu < (0.1 if skip else 0.5)
    assert coder.d_out == 6
    if skip:
        with pytest.raises(DictionaryError, match="skip path"):
            coder.decode(coder.encode(activations[:3]))
    with pytest.raises(DictionaryError, match="target"):
        train(TensorSource(activations, batch_size=256), config, tmp_path / "none")


def test_a_crosscoder_reads_and_writes_each_site(activations: Tensor, tmp_path: Path) -> None:
    """Two sites side by side; a feature's share of each is its rows' norms."""

    class Two:
        def batches(self, start_step: int) -> Iterator[dict[str, ActivationBatch]]:
            for batch in TensorSource(activations, batch_size=256).batches(start_step):
                yield {"a": batch, "b": batch._replace(x=batch.x[:, :5] * 100)}

    source = CrossSource(Two(), ["a", "b"], [1.0, 0.01])
    config = TrainConfig(
        width=64, k=4, steps=150, lr=5e-3, parts=(16, 5), architecture="relu", sparsity=0.02
    )
    report = train(source, config, tmp_path)
    norms = site_norms(report.coder)
    assert norms.shape == (64, 2)
    torch.testing.assert_close(norms.square().sum(1).sqrt(), report.coder.W_dec.norm(dim=1))
    a, b = site_parts(report.coder, next(source.batches(0)).x)
    assert (a.shape[1], b.shape[1]) == (16, 5)
    assert report.figures["fvu"] < 0.6
    with pytest.raises(DictionaryError, match=r"no activations of \['c'\]"):
        next(CrossSource(Two(), ["a", "c"]).batches(0))


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "signum"])
def test_optimisers_learn(optimizer: str, activations: Tensor, tmp_path: Path) -> None:
    """Each moves the weights in a useful direction at its automatic rate, scaled up for a toy."""
    config = TrainConfig(
        width=64,
        k=4,
        steps=120,
        optimizer=optimizer,
        lr_scale=4,
        dead_tokens=10_000,  # type: ignore[arg-type]
    )
    report = train(TensorSource(activations, batch_size=256), config, tmp_path)
    fresh = SparseCoder(report.coder.cfg)
    batches = [ActivationBatch(activations, torch.ones(4096))]
    fresh.b_dec.data.copy_(activations.mean(0))
    assert quality(report.coder, batches).fvu < 0.8 * quality(fresh, batches).fvu


def test_resampling_gives_dead_latents_tokens(activations: Tensor) -> None:
    """New rows are directions of tokens; their moments are forgotten; others keep theirs."""
    coder = ready("topk").train()
    optimizer = torch.optim.Adam(coder.parameters(), 1e-3)
    (coder(activations[:500]).x_hat - activations[:500]).square().sum().backward()
    optimizer.step()
    kept = coder.W_dec.detach().clone()
    dead = torch.tensor([2, 30, 31])
    x = activations[:500]
    assert resample(coder, dead, x, [optimizer], torch.Generator().manual_seed(0)) == 3
    cosine = coder.W_dec[dead] @ torch.nn.functional.normalize(x - coder.b_dec, dim=1).t()
    torch.testing.assert_close(cosine.amax(1).detach(), torch.ones(3), rtol=1e-4, atol=1e-4)
    assert not optimizer.state[coder.W_enc]["exp_avg"][dead].any()
    others = torch.tensor([i for i in range(64) if i not in (2, 30, 31)])
    assert torch.equal(coder.W_dec[others], kept[others])
    assert optimizer.state[coder.W_dec]["exp_avg"][others].any()
