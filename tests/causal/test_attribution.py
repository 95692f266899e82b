"""Attribution against what can be computed another way: by hand, by ablation, by definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from semascope.causal.attribution.ablation import ablate_exactly
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.metrics import (
    ContinuationContrast,
    ContinuationLogProb,
    Logit,
    LogitDiff,
    LogProb,
    Prob,
    metric_from,
    token_id,
)
from semascope.causal.attribution.scores import features_part
from semascope.causal.attribution.watched_run import encode, run_for
from semascope.corpus.sample import Sample, Turn
from semascope.dictionary.types import Codes
from semascope.errors import CausalError
from semascope.subject.types import EditContext

METRICS = [
    Logit(7),
    LogProb(7),
    Prob(7),
    LogitDiff(7, 9),
    ContinuationLogProb((7, 9, 11)),
    ContinuationContrast((7,), (9, 8)),
]


@pytest.fixture(scope="module")
def batch(subject, sample):
    return subject.encode([sample], answer="")


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    metric=st.sampled_from(METRICS),
    steps=st.sampled_from([1, 1, 2]),
    words=st.lists(st.sampled_from(["a", "red", "cat", "the", "blue", "dog"]), min_size=1),
)
def test_the_shares_sum_to_x_dot_g(metric, steps, words, subject, sample, coders):
    """The bar: features + error + bias = x · g to 1e-4, for every metric, input and step count."""
    said = Sample(id="x", turns=(Turn("user", " ".join(words), 1),), images=sample.images)
    found = attribute(subject, subject.encode([said], answer=""), coders, metric, integrated=steps)
    assert len(found.sites) == 2
    for site in found.sites:
        assert len(site) > 0
        assert site.sums_up()


def test_the_identity_holds_where_x_is_orthogonal_to_the_gradient(subject, sample, coders):
    """There x·g is the small rest of large terms: relative to it, rounding looks like a fault."""
    noise = np.random.default_rng(32).normal(128, 80, (48, 64)).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(noise).convert("RGB")
    same_question = Sample(id="32", turns=sample.turns, images=(picture,))
    batch = subject.encode([same_question], answer="")
    run = run_for(subject, batch, coders[1:], Logit(7), {})
    x, g = run.seen["resid_post.1"][0, -1], run.gradients["resid_post.1"][0, -1]
    g -= x * (x @ g) / (x @ x)  # now x·g is 0, up to rounding
    site = attribute(subject, batch, coders[1:], Logit(7), run=run).sites[0]
    assert np.abs(site.score).sum() > 0.1
    assert site.missing().max() < 1e-5
    assert site.gap() > 1e-3
    assert site.sums_up()
    assert not replace(site, score=site.score * np.float32(1.001)).sums_up()


def test_one_score_is_the_derivative_by_that_feature(subject, batch, coders):
    """z · dm/dz against a difference quotient along one feature at one token."""
    coder = coders[1]
    found = attribute(subject, batch, [coder], LogProb(7)).sites[0]
    strongest = np.argsort(-np.abs(found.score))[:5]
    for entry in strongest:
        position, z = int(found.position[entry]), float(found.activation[entry])
        row = coder.directions(torch.tensor([found.feature[entry]]))[0]

        def moved(x, _, t, amount, row=row, position=position):
            x = x.clone()
            x[0, position] += amount * row
            return x

        def value(amount, moved=moved):
            edit = {coder.site: lambda x, c: moved(x, c, None, amount)}
            logits = subject.logits(batch, edits=edit)
            return float(logits[0, -1].double().log_softmax(-1)[7])

        step = 2e-2
        slope = (value(step) - value(-step)) / (2 * step)
        assert z * slope == pytest.approx(float(found.score[entry]), rel=0.02, abs=2e-4)


def test_a_batch_of_prompts_is_attributed_as_each_alone(subject, sample, coders):
    other = Sample(
        id="y", turns=(Turn("user", "name the red thing that is here", 1),), images=sample.images
    )
    together = attribute(subject, subject.encode([sample, other], answer=""), coders, LogProb(7))
    for prompt, one in enumerate((sample, other)):
        alone = attribute(subject, subject.encode([one], answer=""), coders, LogProb(7))
        mine = together.of(prompt)
        assert mine.values == pytest.approx(alone.values, abs=1e-4)
        for a, b in zip(mine.sites, alone.sites, strict=True):
            assert a.feature_sums().sum() == pytest.approx(b.feature_sums().sum(), abs=1e-3)
            assert np.array_equal(a.feature, b.feature)


def test_a_contrast_is_the_difference_of_two_spans(subject, batch, coders):
    wanted, unwanted = (7, 9), (11, 12, 13)
    both = attribute(subject, batch, coders[:1], ContinuationContrast(wanted, unwanted))
    spans = [
        attribute(subject, batch, coders[:1], ContinuationLogProb(s)) for s in (wanted, unwanted)
    ]
    assert both.values[0] == pytest.approx(spans[0].values[0] - spans[1].values[0], abs=1e-4)
    prompt = len(both.maps[0])
    sums = [a.sites[0].feature_sums()[:, :prompt].sum(0) for a in (both, *spans)]
    assert np.allclose(sums[0], sums[1] - sums[2], atol=1e-4)


def test_integrated_scores_add_up_to_what_all_features_do(subject, batch, coders):
    """Completeness: Σ scores = m(x) − m(x without the features), as n grows."""

    metric, coder = LogProb(7), coders[1]
    run = run_for(subject, batch, [coder], metric, {})
    part = torch.zeros_like(run.seen[coder.site])
    part[run.real] = features_part(coder, encode(coder, run), run)
    without = subject.logits(batch, edits={coder.site: lambda x, _: x - part})
    gone = float(metric.measure(without, run.forced.ends)[0])
    effect = float(run.values[0]) - gone
    gaps = []
    for steps in (1, 4, 32):
        found = attribute(subject, batch, [coder], metric, integrated=steps, groups=1)
        gaps.append(abs(float(found.sites[0].score.sum()) - effect))
    assert gaps[2] < 0.02 * max(1.0, abs(effect))
    assert gaps[2] <= gaps[0] + 1e-4


def test_scores_of_a_group_add_up_to_what_the_group_does(subject, batch, coders):
    """Each group goes to 0 while all others stay."""
    metric, coder, groups = LogProb(7), coders[1], 3
    found = attribute(subject, batch, [coder], metric, integrated=6, groups=groups).sites[0]
    assert found.gap() < 1e-4
    run = run_for(subject, batch, [coder], metric, {})
    codes = encode(coder, run)
    for group in range(groups):
        own = Codes(torch.where(codes.indices % groups == group, codes.values, 0.0), codes.indices)
        part = torch.zeros_like(run.seen[coder.site])
        part[run.real] = features_part(coder, own, run)
        without = subject.logits(batch, edits={coder.site: lambda x, _, part=part: x - part})
        effect = float(run.values[0] - metric.measure(without, run.forced.ends)[0])
        told = float(found.score[found.feature % groups == group].sum())
        assert told == pytest.approx(effect, abs=0.02 * max(1.0, abs(effect)))


def test_attention_sinks_are_left_out(subject, batch, coders):
    """A first token a hundred times as long as the rest gets no score and is not steered."""
    from semascope.causal import Intervention, edits_for
    from semascope.subject.sinks import sinks

    coder = coders[0]
    far = lambda x, _: torch.cat([x[:, :1] * 0 + 300.0, x[:, 1:]], 1)  # noqa: E731
    found = attribute(subject, batch, [coder], LogProb(7), edits={coder.site: far})
    assert found.sites[0].position.min() > 0
    assert found.sites[0].gap() < 1e-4
    run = run_for(subject, batch, [coder], LogProb(7), {coder.site: far})
    assert sinks(run.seen[coder.site], run.real).sum(1).tolist() == [1] * len(batch.maps)
    add = Intervention(features=((f"{coder.site}/{coder.name}", 3),), strength=9.0, unit="absolute")
    (edit,) = edits_for([add], coders).values()
    x = far(torch.randn(1, len(batch.maps[0]), run.seen[coder.site].shape[-1]), None)
    after = edit(x, EditContext(0, batch.maps[:1]))
    assert torch.equal(after[:, 0], x[:, 0])
    assert not torch.equal(after[:, 1:], x[:, 1:])


def test_steered_runs_are_attributed_as_they_run(subject, batch, coders):
    """Monitor's activations ignored its own interventions."""
    from semascope.causal import Intervention, edits_for

    steer = Intervention(features=(("resid_post.0/main", 3),), strength=9.0, unit="absolute")
    edits = edits_for([steer], coders)
    plain = attribute(subject, batch, coders, LogProb(7))
    steered = attribute(subject, batch, coders, LogProb(7), edits=edits)
    assert steered.values[0] != pytest.approx(plain.values[0], abs=1e-3)
    assert all(site.gap() < 1e-4 for site in steered.sites)
    first = steered.site("resid_post.0/main")
    z = first.activation[first.feature == 3]
    assert len(z) == len(batch.maps[0])
    # 9 is added to what the feature does by itself, which differs from token to token.
    assert np.median(z) == pytest.approx(9.0, rel=0.25)
    assert z.min() > 3


def test_a_target_of_several_tokens_must_be_a_sequence(subject):
    with pytest.raises(CausalError, match="Use the whole sequence"):
        token_id(subject, "a red cat that flies")
    span = metric_from(subject, "span", "a red cat that flies", None)
    assert len(span.tokens) > 1
    with pytest.raises(CausalError, match="no metric 'loss'"):
        metric_from(subject, "loss", "cat", None)
    with pytest.raises(CausalError, match="against another"):
        metric_from(subject, "logit_diff", 5, None)


def test_nothing_to_attribute_to(subject, batch, coders):
    with pytest.raises(CausalError, match="at least one dictionary"):
        attribute(subject, batch, [], Logit(7))
    with pytest.raises(CausalError, match="at least 1 step"):
        attribute(subject, batch, coders, Logit(7), integrated=0)


def test_signed_neurons_of_every_layer_account_for_the_mlps(subject, batch):
    """Neurons are read at one site and write at another; all of them together leave no error."""
    from semascope.dictionary.neurons import SignedNeurons

    neurons = []
    for layer in range(3):
        site = f"mlp_neurons.{layer}"
        write = subject.hooks[site].module.weight.detach().T
        neurons.append(SignedNeurons(site, subject.sites()[site], write=write))
    found = attribute(subject, batch, neurons, LogProb(7))
    for site in found.sites:
        assert site.gap() < 1e-4
        assert site.error_share() < 1e-4
        assert (site.activation > 0).all()
    told = ablate_exactly(subject, batch, neurons, LogProb(7), found, top=8)
    assert told.r > 0.8
