"""Attributions as pictures, text and tables."""

import numpy as np
import pytest
from PIL import Image

from semascope.causal import Region
from semascope.causal.attribution.notebook import AttributionView, heat_on
from semascope.causal.attribution.result import Attribution, SiteAttribution
from semascope.causal.attribution.views import by_region, split_common
from semascope.errors import CausalError
from semascope.html import by_activation

KEY = "resid_post.1/main"


@pytest.fixture
def attribution(token_map):
    """Feature 5 at two image tokens and a word, feature 6 at one image token."""
    zeros = np.zeros((1, 10), dtype=np.float32)
    site = SiteAttribution(
        key=KEY,
        row=np.zeros(4, dtype=np.int32),
        position=np.array([1, 2, 7, 4], dtype=np.int32),
        feature=np.array([5, 5, 5, 6]),
        activation=np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32),
        score=np.array([0.5, -0.25, 1.0, -2.0], dtype=np.float32),
        error=zeros,
        bias=zeros,
        total=zeros,
    )
    return Attribution("logprob", np.array([-1.0], dtype=np.float32), (site,), (token_map,))


def test_features_are_signed_sums_strongest_first(attribution):
    first, second = attribution.features()
    assert (first.index, first.score, first.tokens) == (6, -2.0, 1)
    assert (second.score, second.positive, second.negative) == (1.25, 1.5, -0.25)
    assert second.peak == 3.0
    assert attribution.feature(KEY, 5) == second
    with pytest.raises(CausalError, match="never fires in this prompt"):
        attribution.feature(KEY, 7)
    assert attribution.by_token().tolist() == [0, 0.5, -0.25, 0, -2, 0, 0, 1, 0, 0]


def test_heat_keeps_strength_and_place(attribution):
    """A mask of on and off made a touch and a blow look alike."""
    drawn = np.asarray(heat_on(Image.new("RGB", (40, 20), "white"), attribution)).astype(int)
    assert drawn.shape == (20, 40, 3)
    assert drawn[5, 5, 0] > drawn[5, 5, 2]
    assert drawn[15, 25, 2] > drawn[15, 25, 0]
    assert drawn[15, 5].tolist() == [255, 255, 255]


def test_a_region_sums_what_looks_at_it(attribution):
    shares = by_region(attribution, Region(left=0, top=0, right=20, bottom=10))
    assert [(s.index, s.score) for s in shares] == [(5, 0.5)]
    with pytest.raises(CausalError, match="outside the picture"):
        by_region(attribution, Region(left=0, top=0, right=99, bottom=10))


def test_common_features_are_shown_apart_not_dropped(attribution):
    density = np.zeros(10)
    density[6] = 0.5
    specific, common = split_common(attribution.features(), {KEY: {"density": density}})
    assert [s.index for s in specific] == [5]
    assert [s.index for s in common] == [6]


def test_html_escapes_what_the_model_read(attribution):
    page = by_activation(["<script>", "a\n"], np.array([1.0, -0.5], dtype=np.float32), 1.0)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    shown = AttributionView(
        attribution, [Image.new("RGB", (40, 20))], {(KEY, 6): "a <b> cat"}
    )._repr_html_()
    assert "data:image/png" in shown
    assert "a &lt;b&gt; cat" in shown


def test_one_prompt_of_a_batch(attribution):
    assert len(attribution.of(0).sites[0]) == 4
    with pytest.raises(CausalError, match="no prompt 1"):
        attribution.of(1)
