"""The bars that are measured on fresh scenes: concepts with a feature, and what a cascade saves."""

from __future__ import annotations

import numpy as np
import pytest
from planted import NAMES, World
from scipy import sparse

from semascope.evaluate.concept_coverage import best_feature, cover, share_covered
from semascope.evaluate.explanations import BARS
from semascope.evaluate.explanations_run import _holds, _says, compared, drawn_concepts
from semascope.evidence.gathering.scene_truth import truth_record
from semascope.explain.scorers.generated_scenes import SceneGenerator, maker
from semascope.explain.scorers.match_truth import names_object
from semascope.explain.scorers.sensitivity import SensitivityScorer
from semascope.explain.text.claims import claim
from semascope.explain.types import Cost, Explanation


@pytest.mark.parametrize(
    "label",
    ["mango", "french fries", "red circle", "striped square", "word STOP", '"stop"', "bird",
     "sad", "in love", "flag of Bolivia", "blue", "mango or violin"],
)  # fmt: skip
def test_scenes_hold_what_was_asked_for(label: str) -> None:
    found = SceneGenerator(64)(label, 4, seed=5)
    assert len(found) == 4
    said = claim(label, "")
    for scene in found:
        things = truth_record(scene.truth)["objects"]
        assert any(names_object(said, thing) for thing in things), (label, things)
    again = SceneGenerator(64)(label, 4, seed=5)
    assert all(
        np.array_equal(np.asarray(a.images[0]), np.asarray(b.images[0]))
        for a, b in zip(found, again, strict=True)
    )
    other = SceneGenerator(64)(label, 4, seed=6)
    assert not np.array_equal(np.asarray(found[0].images[0]), np.asarray(other[0].images[0]))


def test_what_cannot_be_drawn_is_not() -> None:
    assert SceneGenerator()("quantum chromodynamics", 4, 0) == []
    assert maker(("colourless", "idea")) is None


def test_sensitivity_on_drawn_scenes() -> None:
    """A feature that fires on scenes of its thing, one that fires on everything, one on another."""

    def heat(samples: object, features: object) -> np.ndarray:
        rows = []
        for scene in samples:  # type: ignore[attr-defined]
            held = [_holds(scene, name) for name in ("mango", "mango", "tent")]
            rows.append([float(held[0]), 1.0, float(held[2])])
        return np.array(rows)

    words = [
        Explanation(0, "Pictures of mango.", "mango", author="a"),
        Explanation(1, "Pictures of piano.", "piano", author="a"),
        Explanation(2, "Pictures of violin.", "violin", author="a"),
    ]
    scorer = SensitivityScorer(SceneGenerator(48), heat, each=6)
    values = {s.feature: s.value for s in scorer.score([], words)}
    assert values[0] > 0.9
    assert values[1] == pytest.approx(0.5)
    assert values[2] < 0.6


def planted_peaks(
    n: int, concepts: int, width: int, seed: int = 0
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Feature c tells concept c right (c % 3 = 0), half right (1) or not at all (2)."""
    rng = np.random.default_rng(seed)
    mine = np.repeat(np.arange(concepts), n)
    holds = mine[:, None] == np.arange(concepts)[None, :]
    peaks = np.zeros((len(mine), width))
    for c in range(concepts):
        if c % 3 == 0:
            peaks[holds[:, c], c] = 1.0
        elif c % 3 == 1:
            peaks[holds[:, c] & (rng.random(len(mine)) < 0.5), c] = 1.0
            peaks[~holds[:, c] & (rng.random(len(mine)) < 0.02), c] = 1.0
    noise = (rng.random((len(mine), width - concepts)) < 0.1) * rng.random(
        (len(mine), width - concepts)
    )
    peaks[:, concepts:] = noise
    half = np.tile(np.arange(n) % 2 == 0, concepts)
    return sparse.csr_matrix(peaks), holds, half


def test_a_concept_has_a_feature_where_one_was_planted() -> None:
    peaks, holds, half = planted_peaks(n=20, concepts=12, width=80)
    names = [("name", NAMES[i]) for i in range(12)]
    named = [1.0] * 9 + [0.0] * 3
    found = cover(peaks, holds, half, names, named)
    for c, one in enumerate(found):
        if c % 3 == 0:
            assert (one.feature, one.ap) == (c, pytest.approx(1.0))
        elif c % 3 == 1:
            assert 0.2 < one.ap < 0.9
        else:
            assert one.ap < 0.35, "the luckiest of eighty is not taken at its luck"
        assert one.low <= one.ap <= one.high
        assert one.chance == pytest.approx(1 / 12)
    figure = share_covered(found)
    share, (low, high), n = figure.value, figure.interval, figure.n
    assert (share, n) == (pytest.approx(3 / 9), 9)
    assert low <= share <= high
    assert share_covered(found, least_named=0.0).n == 12
    assert share_covered([]).n == 0


def test_a_concept_on_which_nothing_fires_has_none() -> None:
    silent = sparse.csc_matrix((10, 4))
    assert best_feature(silent, np.arange(10) < 5) == (-1, 0.0)
    assert best_feature(silent, np.zeros(10, bool)) == (-1, 0.0)


def test_what_the_model_says_is_matched_whole() -> None:
    assert _says("A mango, two cats and the word STOP.", "cat")
    assert _says("A mango, two cats and the word STOP.", "word STOP")
    assert not _says("a red square and a blue circle", "red circle")


def test_drawn_concepts_are_of_every_kind_and_by_the_seed() -> None:
    some = drawn_concepts(40, 1)
    assert {kind for kind, _ in some} == {"name", "emotion", "word", "shape"}
    assert len(some) == len(set(some)) == 40
    assert some == drawn_concepts(40, 1)
    assert some != drawn_concepts(40, 2)


def test_a_cascade_is_compared_with_its_large_explainer() -> None:
    """Right on all eight, against right on six: 1 and the ratio of what is above chance."""
    world = World(n=240)
    records = [world.sees(i, name) for i, name in enumerate(NAMES[:8])]
    good = [
        Explanation(i, f"Pictures of {n}.", n, author="a", cost=Cost(calls=1))
        for i, n in enumerate(NAMES[:8])
    ]
    abstained = [
        Explanation(i, "No words.", abstained=True, author="a") if i < 2 else good[i]
        for i in range(8)
    ]
    same = compared(records, good, good, (2, 8), 0)
    assert same["cascade_score_share"] == pytest.approx(1.0)
    assert same["cascade_call_share"] == 0.25
    less = compared(records, abstained, good, (8, 8), 0)
    assert less["cascade_score_share"] == pytest.approx(6 / 8, abs=0.02)
    low, high = less["cascade_score_share_interval"]
    assert low <= less["cascade_score_share"] <= high
    silent = [Explanation(i, "No words.", abstained=True, author="a") for i in range(8)]
    assert "cascade_score_share" not in compared(records, silent, silent, (8, 8), 0)


def test_every_bar_of_the_command_has_a_name() -> None:
    assert set(BARS) == {
        "explained_fraction", "detection_auroc_mean", "detection_auroc_shuffled",
        "iou_object_mean", "iou_random", "right_concept", "concepts_with_feature",
        "cascade_score_share", "cascade_call_share", "told_apart", "labels_refused",
        "distinct_labels",
    }  # fmt: skip
