"""Factors of sites and targets: folded away exactly, and what they are there for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from semascope.dictionary import TensorSource, TrainConfig, load, train
from semascope.dictionary.crosscoder import CrosscoderAtSite, site_parts
from semascope.dictionary.metrics.quality import quality
from semascope.dictionary.training.batches import ActivationBatch
from semascope.dictionary.training.scaling import Scaling
from semascope.dictionary.training.trainer import Trainer

D = (12, 8)


def planted(tokens: int = 2048) -> Tensor:
    """(N, 20): sparse sources seen at two sites, the second at a thousand times the norm."""
    draw = torch.Generator().manual_seed(0)
    z = torch.rand((tokens, 24), generator=draw) * (torch.rand((tokens, 24), generator=draw) < 0.1)
    return torch.cat(
        [
            z @ torch.randn((24, d), generator=draw) * size
            for d, size in zip(D, (1, 1000), strict=True)
        ],
        dim=1,
    )


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "jumprelu", "relu"])
@pytest.mark.parametrize("kind", ["sae", "transcoder", "skip", "crosscoder"])
def test_what_is_saved_gives_in_the_sites_units_what_was_trained(
    architecture: str, kind: str
) -> None:
    """Reading x and scaling the answer back is the identity that folding must keep."""
    x = planted(256)
    transcode = kind in ("transcoder", "skip")
    batch = ActivationBatch(x, torch.ones(len(x)))
    if transcode:
        a, b = torch.split(x, D, dim=1)
        batch = ActivationBatch(a, batch.kind, b)
    config = TrainConfig(
        width=32, k=4, steps=6, lr=5e-3, architecture=architecture, transcode=transcode,  # type: ignore[arg-type]
        skip=kind == "skip", parts=D if kind == "crosscoder" else (),
    )  # fmt: skip
    trainee = Trainer.begin(config, batch, site="a", site_out="b" if transcode else "")
    for _ in range(6):
        trainee.learn(batch)
    scaling, inside = trainee.scaling, trainee.coder.eval()
    read = scaling.into(batch.x, config)
    codes = inside.encode(read)
    given = inside.decode(codes, read)
    factor = torch.tensor(scaling.parts or (scaling.target,))
    if scaling.parts:
        factor = factor.repeat_interleave(torch.tensor(D))
    done = trainee.finished()
    assert done is not None
    assert done.site_out == ("b" if transcode else "")
    truth = given / factor
    ours = done.decode(done.encode(batch.x), batch.x)
    torch.testing.assert_close(ours, truth, rtol=1e-3, atol=1e-4 * float(truth.abs().max()))
    torch.testing.assert_close(
        done.encode(batch.x).values.sum(), codes.values.sum() / scaling.unit, rtol=1e-3, atol=1e-5
    )
    assert Scaling.from_meta(scaling.meta()) == scaling
    assert Scaling.from_tensor(scaling.tensor(torch.device("cpu"))) == scaling


def test_the_site_of_the_largest_norm_does_not_own_a_crosscoder(tmp_path: Path) -> None:
    """Left as they are, a site a thousand times smaller is not learnt at all."""
    x = planted()
    found = {}
    for scaled in (True, False):
        config = TrainConfig(
            width=64, k=6, steps=200, lr=5e-3, parts=D, normalize_input=scaled, dead_tokens=10_000
        )
        folder = tmp_path / str(scaled)
        train(TensorSource(x, batch_size=256), config, folder)
        view = CrosscoderAtSite(load(folder), 0)
        batch = ActivationBatch(x, torch.ones(len(x)))
        found[scaled] = quality(view, [view.batch(batch)]).all.fvu
    assert found[True] < 0.5 < 0.9 < found[False]


def test_a_states_one_factor_of_before_is_that_of_the_target_too() -> None:
    """States on disk from before targets had their own go on as they began."""
    assert Scaling.from_meta({"scale": 2.5}) == Scaling(2.5, 2.5)


def test_sites_of_a_crosscoder_side_by_side() -> None:
    """A view's columns are those of its site."""
    x = planted(256)
    trainee = Trainer.begin(
        TrainConfig(width=32, k=4, steps=1, parts=D), ActivationBatch(x, torch.ones(len(x)))
    )
    coder = trainee.finished()
    assert coder is not None
    ids = torch.arange(5)
    for number, part in enumerate(site_parts(coder, coder.directions(ids))):
        view = CrosscoderAtSite(coder, number)
        assert torch.equal(view.directions(ids), part)
        assert torch.equal(view.batch(ActivationBatch(x, x)).target, site_parts(coder, x)[number])  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "jumprelu", "relu", "gated"])
@pytest.mark.parametrize("kind", ["sae", "transcoder"])
def test_a_common_offset_a_hundred_times_the_spread_changes_nothing(
    architecture: str, kind: str, activations: Tensor, tmp_path: Path
) -> None:
    """Scaled to the offset's norm, FVU was .14 to 1.0 where it is .03 to .10 without an offset."""
    x = activations - activations.mean(0)
    away = torch.nn.functional.normalize(torch.arange(1.0, 17.0), dim=0)
    offset = 100 * x.norm(dim=1).mean() * away
    found = {}
    for name, moved in (("centred", x), ("moved", x + offset)):
        target = moved[:, :12] if kind == "transcoder" else None
        config = TrainConfig(
            width=64,
            k=4,
            architecture=architecture,  # type: ignore[arg-type]
            transcode=target is not None,
            steps=60,
        )
        source = TensorSource(moved, batch_size=256, target=target)
        coder = train(source, config, tmp_path / name).coder
        batch = ActivationBatch(moved, torch.ones(len(x)), target)
        found[name] = quality(coder, [batch]).fvu
    assert found["moved"] == pytest.approx(found["centred"], rel=0.05, abs=0.005)
