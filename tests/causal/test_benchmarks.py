"""The bars run whole on a tiny subject, and controls cannot pass for effects."""

import json

import numpy as np
import pytest
import torch

from semascope.causal import Intervention, Where, edits_for
from semascope.causal.search.goal import SearchOptions
from semascope.causal.search.ledger import Ledger
from semascope.causal.steering.controls import blank_sample
from semascope.causal.steering.per_row import per_row
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.errors import CausalError
from semascope.evaluate import steering
from semascope.evaluate.attribution import evaluate_attribution
from semascope.evaluate.hallucination_bench import evaluate_hallucination
from semascope.evaluate.steering import SteeringPlan, evaluate_steering

KEY = "resid_post.1/main"


@pytest.fixture(scope="module")
def steerable(subject, coders):
    stats = {KEY: {"max": np.full(128, 3.0), "density": np.full(128, 0.1)}}
    return SteerableModel.of(subject, coders[1:], stats)


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


def test_attribution_bar(steerable, tmp_path):
    """Stopped and begun again, it measures only what is left, and says the same."""
    ledger = Ledger(tmp_path / "parts.jsonl")
    told = evaluate_attribution(steerable, samples=2, top=6, steps=2, ledger=ledger)
    assert told["prompts_off_the_identity"] == 0
    assert told["identity_missing"] < 1e-5
    assert told["r_integrated"]["n"] == 2
    assert told["cost_ratio"] > 0
    again = Ledger(tmp_path / "parts.jsonl")
    assert len(again.parts) == 2
    nothing = SteerableModel.of(None, [])  # would fail if it were asked anything
    assert evaluate_attribution(nothing, samples=2, top=6, steps=2, ledger=again) == told
    assert json.dumps(told)


@pytest.fixture(scope="module")
def planted(subject):
    """Features of the last layer whose direction makes it say a word, with what is said then."""
    from semascope.dictionary.coder import SparseCoder
    from semascope.dictionary.config import CoderConfig

    key = "resid_post.2/main"
    coder = SparseCoder(CoderConfig(d_in=subject.d_model, width=128, k=6), site="resid_post.2")
    stats = {key: {"max": np.full(128, 100.0), "density": np.full(128, 0.1)}}
    steerable = SteerableModel.of(subject, [coder], stats)
    found = []
    for i in range(40):
        one = Intervention(features=((key, i),), how="add", where=Where(positions=(-1,)))
        said = subject.generate(blank_sample(), edits=steerable.edits([one]), max_new_tokens=1).text
        if said.strip().isalpha() and said.strip() not in {word for _, word in found}:
            found.append(((key, i), said.strip()))
    assert len(found) >= 6
    return steerable, found[:6]


def test_steering_bar_finds_place_and_dose_of_planted_features(planted):
    """Features of which it is known what they make the model say are named; random ones are not."""
    steerable, objects = planted
    plan = SteeringPlan(
        wheres=(Where(text="What"), Where(positions=(-1,))),
        doses=(0.0001, 1.0), sizes=(1,), tokens=1, first=2, finalists=2,
    )  # fmt: skip
    told = evaluate_steering(steerable, objects, plan=plan)
    assert told["named_held_out"]["value"] == 1.0
    assert told["named_random"]["value"] < 0.5
    assert told["named_unsteered"]["value"] < 0.5
    assert (told["dose"], told["where"]["positions"]) == (1.0, [-1])
    assert len(told["concepts"]) == len(objects)
    assert json.dumps(told)


def test_steering_bar_tries_sets_and_borrowed_directions(steerable):
    objects = [((KEY, i), "zebra") for i in range(3)]
    objects.append((((KEY, 3), (KEY, 4)), "zebra"))
    plan = SteeringPlan(doses=(1.0,), sizes=(1, 2), sites=("", "resid_post.0"), tokens=1)
    told = evaluate_steering(steerable, objects, plan=plan)
    assert {row["site"] for row in told["tried"]} == {"own", "resid_post.0"}
    assert {row["features"] for row in told["tried"]} == {1}  # the search half has single ones
    assert len(told["tried"]) == 2 * 5
    assert told["named_random"]["n"] == 3 * told["named"]["n"] == 12
    with pytest.raises(CausalError, match="at least four"):
        evaluate_steering(steerable, objects[:2])


def test_hallucination_bar(steerable):
    options = SearchOptions(
        candidates=2, doses=(1.0,), scales=(2.0,), trial_cases=2, tokens=2, controls=1, shortlist=2,
        judged=4,
    )  # fmt: skip
    told = evaluate_hallucination(
        steerable, samples=8, options=options, explained=2, on_blame=lambda b: b.picture().size
    )
    arms = {row["arm"]: row for row in told["arms"]}
    assert arms["no-op"]["unchanged"]["value"] == 1.0
    assert "reconstruction" in arms
    assert told["finding"]["reason"]
    assert len(told["wrong"]) == 2
    assert told["wrong"][0]["culprit"] in ("image", "text")
    assert told["wrong"][0]["picture"] == (128, 128)
    assert json.dumps(told)
    assert torch.is_grad_enabled()


def test_an_instance_names_its_kind() -> None:
    """A woman is a person; nothing else is let through."""
    plan = SteeringPlan(instances={"person": ("woman", "man")})
    assert steering._says("a woman and a dog", "person", plan)
    assert steering._says("two persons", "person", plan)
    assert not steering._says("a dog", "person", plan)
    assert not steering._says("a woman", "person", SteeringPlan())
