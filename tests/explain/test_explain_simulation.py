"""Simulation and monosemanticity with planted truth."""

import numpy as np
import pytest
from planted import World
from scipy import sparse

from semascope.evidence.types import EvidenceSample
from semascope.explain.scorers.monosemanticity import MonosemanticityScorer, monosemanticity, unit
from semascope.explain.scorers.simulation import SimulationScorer, WordSimulator
from semascope.explain.types import Explanation


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=200)


def r(world: World, record: object, label: str, where: str, truth: bool = False) -> float:
    words = Explanation(0, f"{where} {label}.", label)
    scorer = SimulationScorer(WordSimulator(truth=truth))
    return scorer.score([record], [words])[0].value  # type: ignore[list-item]


def test_right_words_simulate_text_and_wrong_ones_do_not(world: World) -> None:
    record = world.reads(0, " harbour")
    assert r(world, record, "harbour", "Text with") == pytest.approx(1.0)
    assert r(world, record, "garden", "Text with") < 0.05, "signed: wrong is never high"
    half = r(world, record, "harbour or garden", "Text with")
    assert 0.3 < half < 0.95


def test_with_truth_the_place_counts(world: World) -> None:
    record = world.sees(0, "mango")
    right = r(world, record, "mango", "Pictures of", truth=True)
    blind = r(world, record, "mango", "Pictures of")
    assert right > 0.8
    assert blind < right, "a caption does not say where"
    assert r(world, record, "violin", "Pictures of", truth=True) < 0.05


def test_monosemanticity_in_closed_form_is_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(0)
    e, a = rng.normal(size=(20, 8)), rng.random((20, 5)) * (rng.random((20, 5)) < 0.6)
    cosines = unit(e) @ unit(e).T
    pairs = [(i, j) for i in range(20) for j in range(i)]
    for k in range(5):
        weights = np.array([a[i, k] * a[j, k] for i, j in pairs])
        slow = weights @ np.array([cosines[i, j] for i, j in pairs]) / weights.sum()
        assert monosemanticity(e, a)[k] == pytest.approx(slow)
    assert monosemanticity(e, sparse.csr_array(a)) == pytest.approx(monosemanticity(e, a))


def test_one_sample_has_no_pair() -> None:
    a = np.zeros((4, 2))
    a[0, 0] = 0.3
    assert np.isnan(monosemanticity(np.eye(4), a)).all()


def test_a_feature_of_one_thing_is_more_of_a_piece_than_noise(world: World) -> None:
    names = sorted({o["name"] for s in world.scenes for o in s.truth["objects"]})

    def vectors(samples: list[EvidenceSample]) -> np.ndarray:
        return np.array(
            [[n in [o["name"] for o in s.truth["objects"]] for n in names] for s in samples], float
        )

    scorer = MonosemanticityScorer(vectors)  # type: ignore[arg-type]
    words = Explanation(0, "", abstained=True)
    one, noise = scorer.score([world.sees(0, "mango"), world.noise(1)], [words, words])
    assert one.low <= one.value <= one.high
    assert one.value > one.baseline + 0.2
    assert noise.value == pytest.approx(noise.baseline, abs=0.1)
