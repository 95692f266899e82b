"""Published studies on a tiny subject: they run, and their baselines are fair."""

import json

import numpy as np
import pytest
import torch

from semascope.causal import Intervention
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.causal.steering.studies import (
    compare_clamped,
    few_shot_vector,
    probe_persona,
    with_vector,
)
from semascope.corpus.sample import Sample, Turn
from semascope.errors import CausalError

KEY = "resid_post.1/main"


def said(text):
    return Sample(id=text, turns=(Turn("user", text),))


@pytest.fixture(scope="module")
def steerable(subject, coders):
    return SteerableModel.of(subject, coders[1:], {KEY: {"max": np.full(128, 4.0)}})


def test_a_feature_at_ten_times_its_maximum(steerable, sample):
    (told,) = compare_clamped(steerable, (KEY, 3), [sample], max_new_tokens=4)
    assert told.interventions[0].strength == 10.0
    assert told.kl > 0


def test_persona_probes_stand_side_by_side(steerable):
    off = Intervention(features=((KEY, 3),), strength=0.0)
    told = probe_persona(
        steerable, [off], persona=("Who are you?",), refusal=("Do it",), max_new_tokens=3
    )
    assert told.before == told.after
    assert json.dumps(told.as_json())
    assert len(told.refused_before) == 1


def test_the_few_shot_vector_carries_one_mean_to_the_other(steerable, subject):
    """Strength 1 must be the difference itself, or the baseline is not the one to beat."""
    with_wish, without = [said("red cat"), said("red dog")], [said("blue cat"), said("blue dog")]
    vector, stats = few_shot_vector(steerable, "resid_post.1", with_wish, without)
    both = with_vector(steerable, vector, stats)
    one = Intervention(features=(("resid_post.1/few_shot", 0),), how="add")
    batch = subject.encode([without[0]], answer="")
    plain = subject.run(batch, ["resid_post.1"])["resid_post.1"]
    moved = subject.run(batch, ["resid_post.1"], edits=both.edits([one]))["resid_post.1"]

    def mean_of(samples):
        parts = []
        for sample in samples:
            own = subject.encode([sample], answer="")
            parts.append(subject.run(own, ["resid_post.1"])["resid_post.1"][0].mean(0))
        return torch.stack(parts).mean(0)

    wanted = mean_of(with_wish) - mean_of(without)
    torch.testing.assert_close(moved - plain, wanted.expand_as(plain), rtol=1e-3, atol=1e-4)
    with pytest.raises(CausalError, match="the same to this model"):
        few_shot_vector(steerable, "resid_post.1", without, without)
    with pytest.raises(CausalError, match="needs examples"):
        few_shot_vector(steerable, "resid_post.1", [], without)
