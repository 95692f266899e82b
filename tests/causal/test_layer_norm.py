"""Dictionaries of layer-normed inputs, whose features write in units of each token's deviation."""

import pytest
import torch

from semascope.causal.attribution.ablation import ablate_exactly
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.metrics import LogProb, measured, prepare
from semascope.causal.steering.edits import edits_for
from semascope.causal.steering.interventions import Intervention
from semascope.dictionary import ActivationBatch, CoderConfig, SparseCoder, quality
from semascope.subject.types import EditContext

SITE = "resid_post.1"


@pytest.fixture(scope="module")
def normed(subject):
    d = subject.sites()[SITE]
    cfg = CoderConfig(d_in=d, width=4 * d, k=6, layer_norm=True, unit_norm=False)
    coder = SparseCoder(cfg, site=SITE, name="normed", seed=2)
    return coder.eval().requires_grad_(False)


def test_attribution_sums_and_predicts_ablation(subject, sample, normed):
    """Without the deviation, features' shares and the bias would not sum to x · g, and taking a
    feature away would take the wrong length."""
    batch = subject.encode([sample], answer="")
    for steps in (1, 2):
        found = attribute(subject, batch, [normed], LogProb(7), integrated=steps)
        assert found.sites[0].gap() < 1e-4
        assert found.sites[0].gain is not None
    found = attribute(subject, batch, [normed], LogProb(7))
    taken = ablate_exactly(subject, batch, [normed], LogProb(7), found, top=3)
    forced = prepare(batch, LogProb(7))
    for feature, effect in zip(taken.features, taken.effects, strict=True):
        edits = edits_for([Intervention(features=(feature.id,), how="ablate")], [normed])
        value = float(measured(subject, forced, LogProb(7), edits)[0])
        assert float(found.values[0]) - value == pytest.approx(float(effect), abs=1e-4)
        assert abs(float(effect)) > 1e-5


def test_steering_moves_what_the_decoder_would(normed, token_map):
    """Turning a feature off is decoding its code without it."""
    x = torch.randn((1, 10, normed.d_in), generator=torch.Generator().manual_seed(0)) * 3 + 1
    codes = normed.encode(x[0])
    feature = int(codes.indices[4, 0])
    off = Intervention(features=((f"{SITE}/normed", feature),), how="ablate")
    edit = edits_for([off], [normed])[SITE]
    after = edit(x, EditContext(0, (token_map,)))[0]
    without = codes._replace(values=codes.values.masked_fill(codes.indices == feature, 0.0))
    want = x[0] + normed.decode(without, x[0]) - normed.decode(codes, x[0])
    changed = (after - x[0]).abs().sum(1) > 0
    assert bool(changed[4])
    torch.testing.assert_close(after[changed], want[changed], rtol=1e-4, atol=1e-5)


def test_quality_gives_the_decoder_its_input(normed):
    """Its mean and deviation are the token's own."""
    x = torch.randn((50, normed.d_in), generator=torch.Generator().manual_seed(0)) * 0.01 + 7
    assert quality(normed, [ActivationBatch(x, torch.ones(50))]).fvu < 1
