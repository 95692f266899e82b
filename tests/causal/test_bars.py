"""The bars run whole on a tiny subject, and controls cannot pass for effects."""

import json

import numpy as np
import pytest
import torch

from semascope.causal import Intervention, Where, edits_for
from semascope.causal.bars import (
    Plan,
    blank_sample,
    evaluate_attribution,
    evaluate_hallucination,
    evaluate_steering,
)
from semascope.causal.measure import Lever
from semascope.causal.rows import per_row
from semascope.causal.wish import Options
from semascope.errors import CausalError

KEY = "resid_post.1/main"


@pytest.fixture(scope="module")
def lever(subject, coders):
    stats = {KEY: {"max": np.full(128, 3.0), "density": np.full(128, 0.1)}}
    return Lever.of(subject, coders[1:], stats)


def test_rows_of_a_batch_are_steered_each_by_its_own(subject, coders):
    sample = blank_sample()
    edits = [
        edits_for([Intervention(features=((KEY, i),), strength=30.0, unit="absolute")], coders)
        for i in (3, 8)
    ]
    together = subject.generate_batch([sample] * 3, edits=per_row([*edits, {}]), max_new_tokens=4)
    alone = [subject.generate(sample, edits=own, max_new_tokens=4) for own in (*edits, {})]
    assert [g.text for g in together] == [g.text for g in alone]
    with pytest.raises(CausalError, match="edits for 3"):
        subject.generate_batch([sample] * 2, edits=per_row([*edits, {}]), max_new_tokens=1)


def test_attribution_bar(lever):
    told = evaluate_attribution(lever, samples=2, top=6, steps=2)
    assert told["identity_gap"] < 1e-4
    assert told["r_integrated"]["n"] == 2
    assert told["cost_ratio"] > 0
    assert json.dumps(told)


def test_steering_bar_names_its_choice_and_its_controls(lever):
    objects = [((KEY, i), "zebra") for i in range(3)]
    objects.append((((KEY, 3), (KEY, 4)), "zebra"))
    plan = Plan(wheres=(Where(kinds=("image",)),), doses=(1.0,), tokens=2)
    told = evaluate_steering(lever, objects, plan=plan)
    assert told["named"]["n"] == 4
    assert told["named_random"]["n"] == 4
    assert told["named_unsteered"]["value"] == 0.0
    assert told["where"] == {"kinds": ["image"]}
    with pytest.raises(CausalError, match="at least four"):
        evaluate_steering(lever, objects[:2])


def test_hallucination_bar(lever):
    options = Options(candidates=2, doses=(1.0,), trial_cases=2, tokens=2, controls=1)
    told = evaluate_hallucination(lever, samples=10, options=options)
    arms = {row["arm"]: row for row in told["arms"]}
    assert arms["no-op"]["unchanged"]["value"] == 1.0
    assert "reconstruction" in arms
    assert told["finding"]["reason"]
    assert json.dumps(told)
    assert torch.is_grad_enabled()
