"""The page's questions to dictionaries of the vision side: by token, and nothing of text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.dictionary import CoderConfig, SparseCoder
from semascope.monitor import BaseRates
from semascope.monitor.conversation import Conversation
from semascope.monitor.try_out import feature_activations, view_both
from semascope.subject.testing import tiny
from semascope.subject.types import Kind

WIDTH = 32
SITES = ("projector", "vision.1")


@pytest.fixture(scope="module")
def steerable() -> SteerableModel:
    subject = tiny("llava")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        coders = [
            SparseCoder(CoderConfig(d_in=subject.hooks[site].width, width=WIDTH, k=4), site=site)
            for site in SITES
        ]
    figures = {"max": np.full(WIDTH, 2.0), "density": np.full(WIDTH, 0.01)}
    return SteerableModel.of(subject, coders, {f"{site}/main": figures for site in SITES})


def seen() -> Sample:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    return Sample(id="x", turns=(Turn("user", "what is it", images=1),), images=(picture,))


@pytest.mark.parametrize("site", SITES)
def test_a_feature_is_tried_on_the_patches_of_a_picture(
    steerable: SteerableModel, site: str
) -> None:
    found = [
        feature_activations(steerable, seen(), (f"{site}/main", index)) for index in range(WIDTH)
    ]
    pictured = found[0][1].kinds == Kind.IMAGE
    total = np.sum([values for values, _ in found], axis=0)  # (T,)
    assert (total[pictured] > 0).any()
    assert (total[~pictured] == 0).all()


@pytest.mark.parametrize("site", SITES)
def test_a_text_has_nothing_of_it(steerable: SteerableModel, site: str) -> None:
    values, _ = feature_activations(
        steerable, Sample(id="t", text="one two three"), (f"{site}/main", 1)
    )
    assert not values.any()


def test_two_of_them_are_compared_on_a_picture(steerable: SteerableModel) -> None:
    found = view_both(Conversation(steerable, seen(), answer=(7, 9)))
    assert [side.l0 for side in found.sides] == pytest.approx([4.0, 4.0], abs=1.0)
    assert all(side.fvu is not None and side.fvu > 0 for side in found.sides)


def test_ordinary_prompts_may_show_no_picture(steerable: SteerableModel) -> None:
    plain = Sample(id="t", turns=(Turn("user", "hello"),))
    found = BaseRates.measure(steerable, [seen(), plain])
    assert {key for key, _ in found.fired} == {f"{site}/main" for site in SITES}
    assert all(row[0] and not row[1] for row in found.fired.values())
