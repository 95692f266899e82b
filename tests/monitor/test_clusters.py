"""Clusters: what is grouped, how unusual it is, and that its effect is an exact one."""

import numpy as np
import pytest

from semascope.atlas import HashingEmbedder
from semascope.causal.attribution.feature_share import FeatureShare
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.errors import CausalError
from semascope.monitor import BaseRates, cluster
from semascope.monitor.clusters import coherence, shared_words

KEY = "resid_post.1/main"


def share(index, score=1.0):
    return FeatureShare(KEY, index, score, max(score, 0), min(score, 0), 1.0, 1)


WORDS = {
    1: "numbers of bible verses",
    2: "bible verses and chapters",
    3: "verses of the bible",
    4: "red cars on a road",
    5: "cars that are red",
    6: "a red car",
    7: "underwater welding",
}
DESCRIPTIONS = {(KEY, i): text for i, text in WORDS.items()}


def test_features_that_say_the_same_are_one_cluster():
    shares = [share(i, score=float(i)) for i in WORDS] + [share(9)]
    found = cluster(shares, DESCRIPTIONS, HashingEmbedder(), similarity=0.3, smallest=3)
    assert [sorted(f.index for f in c.features) for c in found] == [[4, 5, 6], [1, 2, 3]]
    verses = found[1]
    assert "bible" in verses.label
    assert "verses" in verses.label
    assert [f.index for f in verses.features] == [3, 2, 1]
    assert verses.score == 6.0
    assert 1.0 < verses.coherence <= 7.0
    assert verses.suppress().how == "ablate"


def test_a_judge_and_a_labeller_can_be_asked_instead():
    shares = [share(i) for i in (1, 2, 3)]
    (found,) = cluster(
        shares,
        DESCRIPTIONS,
        HashingEmbedder(),
        similarity=0.2,
        labeller=lambda texts: f"{len(texts)} texts",
        judge=lambda texts: 6.5,
    )
    assert (found.label, found.coherence) == ("3 texts", 6.5)


def test_too_few_or_wordless_features_make_no_cluster():
    assert cluster([share(1)], DESCRIPTIONS, HashingEmbedder()) == []
    assert cluster([share(i) for i in (20, 21, 22)], DESCRIPTIONS, HashingEmbedder()) == []
    with pytest.raises(CausalError, match="similarity"):
        cluster([share(1)], DESCRIPTIONS, HashingEmbedder(), similarity=2.0)


def test_coherence_runs_from_one_to_seven():
    same = np.tile([1.0, 0.0], (4, 1))
    assert coherence(same) == pytest.approx(7.0)
    assert coherence(np.array([[1.0, 0.0], [-1.0, 0.0]])) == 1.0
    assert shared_words(["a cat", "the cat"]) == "cat"
    assert shared_words(["flag, above all flag of Cuba", "flag, above all new"]) == "flag"


def test_surprise_is_how_rarely_ordinary_prompts_do_this():
    """A cluster that always fires is no news, however coherent."""
    always, seldom = np.ones(15, dtype=bool), np.zeros(15, dtype=bool)
    seldom[:3] = True
    ordinary = BaseRates(15, {("a", 1): always, ("a", 2): always, ("a", 3): seldom})
    assert ordinary.surprise([("a", 1), ("a", 2)]) == 0.0
    assert ordinary.surprise([("a", 1), ("a", 3)]) == pytest.approx(2.0)
    assert ordinary.surprise([("a", 9)]) == pytest.approx(4.0)


@pytest.fixture(scope="module")
def steerable():
    from semascope.dictionary import CoderConfig, SparseCoder
    from semascope.subject.testing import tiny

    subject = tiny("llava")
    coder = SparseCoder(CoderConfig(d_in=subject.d_model, width=64, k=6), site="resid_post.1")
    return SteerableModel.of(subject, [coder])
