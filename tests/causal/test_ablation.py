"""What attribution promises, held against running the model again."""

import numpy as np
import pytest
import torch

from semascope.causal import Intervention, edits_for
from semascope.causal.attribution.ablation import AblationResult, ablate_exactly
from semascope.causal.attribution.active_features import active_features
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.attribution.graph import graph
from semascope.causal.attribution.metrics import ContinuationContrast, Logit, LogProb
from semascope.causal.attribution.patching import attribute_patch
from semascope.causal.attribution.report import ablation_table
from semascope.causal.steering.units import quantile
from semascope.corpus.sample import Sample, Turn
from semascope.errors import CausalError


@pytest.fixture(scope="module")
def batch(subject, sample):
    return subject.encode([sample], answer="")


@pytest.mark.parametrize("metric", [LogProb(7), ContinuationContrast((7, 9), (8,))])
def test_ablation_by_rows_is_ablation_by_intervention(metric, subject, batch, coders):
    """Sixteen features in one batch must be what an 'ablate' of each gives alone."""
    found = attribute(subject, batch, coders, metric)
    told = ablate_exactly(subject, batch, coders, metric, found, top=10, rows=4)
    assert len(told.effects) == 10
    from semascope.causal.attribution.metrics import prepare

    forced = prepare(batch, metric)
    for feature, effect in zip(told.features[:4], told.effects, strict=False):
        edits = edits_for([Intervention(features=(feature.id,), how="ablate")], coders)
        logits = subject.logits(forced.batch, edits=edits)
        gone = float(metric.measure(logits, forced.ends)[0])
        assert float(effect) == pytest.approx(float(found.values[0]) - gone, abs=1e-4)


def test_attribution_agrees_with_ablation_where_the_model_is_nearly_linear(subject, batch, coders):
    """Small features make a first-order estimate exact; a sign or an offset gone wrong does not."""
    import copy

    small = copy.deepcopy(coders[1])
    small.W_dec.data *= 0.02
    metric = LogProb(7)
    found = attribute(subject, batch, [small], metric)
    told = ablate_exactly(subject, batch, [small], metric, found, top=20)
    assert told.r > 0.99


def test_only_features_that_fire_can_be_ablated(subject, batch, coders, sample):
    metric = LogProb(7)
    found = attribute(subject, batch, coders, metric)
    from semascope.causal.attribution.feature_share import FeatureShare

    silent = set(range(128)) - set(found.sites[0].feature.tolist())
    share = FeatureShare(found.sites[0].key, silent.pop(), 0.0, 0.0, 0.0, 0.0, 0)
    with pytest.raises(CausalError, match="never fires in this prompt"):
        ablate_exactly(subject, batch, coders, metric, found, features=[share])
    two = subject.encode([sample, sample], answer="")
    with pytest.raises(CausalError, match="one prompt at a time"):
        ablate_exactly(subject, two, coders, metric, found)


def shares(*scores):
    return tuple(
        FeatureShare("resid_post.1/main", i, s, max(s, 0), min(s, 0), 1.0, 1)
        for i, s in enumerate(scores)
    )


def test_there_is_no_agreement_of_constant_or_few_effects():
    """Without: a report shows NaN, or 0 as though it had been measured."""
    equal = AblationResult(shares(1.0, 2.0, 3.0), np.ones(3, np.float32))
    few = AblationResult(shares(1.0, 2.0), np.asarray([1.0, 2.0], np.float32))
    for result, why in ((equal, "all scores or effects are equal"), (few, "fewer than 3 features")):
        assert result.r is None
        assert why in repr(result)
        assert why in result._repr_html_()
        assert ablation_table(result, {})["r"] is None
    opposite = AblationResult(shares(1.0, 2.0, 3.0), np.asarray([3.0, 2.0, 1.0], np.float32))
    assert opposite.r == pytest.approx(-1.0)
    assert "r = -1.000" in repr(opposite)


def test_patching_carries_the_whole_difference_of_two_prompts(subject, sample, coders):
    """Features, error and bias of the difference sum to (x_clean − x_corrupted) · g."""
    from PIL import Image

    grey = Image.new("RGB", sample.images[0].size, (90, 90, 90))
    clean = subject.encode([sample], answer="")
    wrong = subject.encode([Sample(id="g", turns=sample.turns, images=(grey,))], answer="")
    found, target = attribute_patch(subject, clean, wrong, coders, Logit(7))
    assert found.values[0] != pytest.approx(target, abs=1e-4)
    for site in found.sites:
        assert site.gap() < 1e-4
        assert np.abs(site.bias).max() < 1e-6
    same, _ = attribute_patch(subject, clean, clean, coders, Logit(7))
    assert all(np.abs(site.score).max() < 1e-6 for site in same.sites)
    other = subject.encode([Sample(id="o", turns=(Turn("user", "hello"),))], answer="")
    with pytest.raises(CausalError, match="as many tokens"):
        attribute_patch(subject, clean, other, coders, Logit(7))


def test_an_edge_is_the_derivative_of_the_later_feature(subject, batch, coders):
    """Against a difference quotient of the later feature's activation along the earlier one."""
    found = graph(subject, batch, coders, LogProb(7), nodes=4)
    assert [n.key for n in found.nodes] == ["resid_post.0/main"] * 4 + ["resid_post.1/main"] * 4
    assert found.edges
    edge = max(found.edges, key=lambda e: abs(e.weight))
    early, late = found.nodes[edge.source], found.nodes[edge.target]
    row = coders[0].directions(torch.tensor([early.feature]))[0]

    def activation(amount):
        def edit(x, _):
            x = x.clone()
            x[0, early.position] += amount * row
            return x

        x = subject.run(batch, ["resid_post.1"], edits={"resid_post.0": edit})["resid_post.1"]
        codes = coders[1].encode(x[0, late.position : late.position + 1])
        return float(codes.values[codes.indices == late.feature].sum())

    step = 1e-2
    slope = (activation(step) - activation(-step)) / (2 * step)
    wanted = early.activation * slope * late.score / late.activation
    assert edge.weight == pytest.approx(wanted, rel=0.05, abs=1e-5)
    assert len(found.as_json()["edges"]) == len(found.edges)


def test_activation_mode_ranks_by_the_features_own_maximum(subject, batch, coders):
    stats = {"resid_post.1/main": {"max": np.full(128, 2.0, dtype=np.float32)}}
    found = active_features(subject, batch, coders[1:], stats)
    x = subject.run(batch, ["resid_post.1"])["resid_post.1"][0]
    codes = coders[1].encode(x)
    assert found[0].activation == pytest.approx(float(codes.values.max()), rel=1e-5)
    assert found[0].ratio == pytest.approx(found[0].activation / 2, rel=1e-5)
    last = np.zeros(len(batch.maps[0]), dtype=bool)
    last[-1] = True
    here = active_features(subject, batch, coders[1:], stats, at=last)
    assert {f.position for f in here} == {len(last) - 1}
    assert len(here) == int((codes.values[-1] > 0).sum())


def test_quantiles_come_off_a_histogram():
    edges = 2.0 ** (np.arange(9) / 2)
    counts = np.array([0, 10, 20, 40, 20, 10, 0, 0])
    assert quantile(edges, counts, 0.1) == pytest.approx(edges[2])
    assert edges[3] < quantile(edges, counts, 0.5) < edges[4]
    assert quantile(edges, counts * 0, 0.5) == 0.0
