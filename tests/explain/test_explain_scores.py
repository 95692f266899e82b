"""Scores with planted truth: words made right, wrong and half right must score so."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from planted import NAMES, World
from sklearn.metrics import average_precision_score, roc_auc_score

from semascope import statistics as stats
from semascope.config import ScoreOptions
from semascope.errors import ExplainError
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.scorers.iou import IoUScorer
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.shuffled_words import shuffled_words
from semascope.explain.types import Explanation, Score, Scorer
from semascope.pipeline.scorers import check_scorers


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def said(feature: int, name: str) -> Explanation:
    return Explanation(feature, f"Pictures of {name}.", name, author="planted")


def by(scores: list[Score], kind: str) -> dict[int, float]:
    return {s.feature: s.value for s in scores if s.kind == kind}


def planted(world: World) -> tuple[list, list[Explanation]]:
    """0–11 right; 100–111 named as their neighbour; 200–211 half right."""
    right = [world.sees(i, n) for i, n in enumerate(NAMES)]
    wrong = [world.sees(100 + i, n) for i, n in enumerate(NAMES)]
    half = [world.half(200 + i, n) for i, n in enumerate(NAMES)]
    words = [said(i, n) for i, n in enumerate(NAMES)]
    words += [said(100 + i, NAMES[(i + 1) % len(NAMES)]) for i in range(len(NAMES))]
    words += [said(200 + i, n) for i, n in enumerate(NAMES)]
    return [*right, *wrong, *half], words


@pytest.mark.parametrize("scorer", [DetectionScorer(), IoUScorer()])
def test_right_beats_half_right_beats_wrong(world: World, scorer: Scorer) -> None:
    values = by(scorer.score(*planted(world)), scorer.name)
    right = np.mean([values[i] for i in range(12)])
    wrong = np.mean([values[100 + i] for i in range(12)])
    half = np.mean([values[200 + i] for i in range(12)])
    assert right == pytest.approx(1.0)
    assert wrong < half < right
    if scorer.name == "detection":
        assert wrong == pytest.approx(0.5, abs=0.1), "wrong words detect by chance"
    else:
        assert wrong < 0.1


def test_controls_are_at_chance(world: World) -> None:
    """The shuffled control is how a leak of the answer into the task would show."""
    records, words = (part[:12] for part in planted(world))
    scores = DetectionScorer().score(records, words) + IoUScorer().score(records, words)
    shuffled = list(by(scores, "detection_shuffled").values())
    assert len(shuffled) == 12
    assert np.mean(shuffled) == pytest.approx(0.5, abs=0.05)
    assert np.mean(list(by(scores, "iou_random").values())) < 0.02


def test_every_score_lies_in_its_interval(world: World) -> None:
    scores = DetectionScorer().score(*planted(world)) + IoUScorer().score(*planted(world))
    for score in scores:
        assert 0.0 <= score.low <= score.value + 1e-9 <= score.high + 2e-9 <= 1.0 + 3e-9
        assert 0.0 <= score.baseline <= 1.0


def test_only_held_out_samples_are_scored(world: World) -> None:
    """Samples of the explain split could be replaced by anything."""
    record = world.sees(0, "mango")
    score = DetectionScorer().score([record], [said(0, "mango")])[0]
    held_out = record.split("score")
    assert score.evidence["positives"] == len(held_out.top)
    assert score.evidence["negatives"] == len(held_out.silent)


def test_too_few_samples_and_abstentions_have_no_score(world: World) -> None:
    few = world.sees(0, "mango", top=3)
    silent = Explanation(1, "No word.", abstained=True)
    records, words = [few, world.sees(1, "cat")], [said(0, "mango"), silent]
    assert DetectionScorer().score(records, words) == []
    assert IoUScorer().score(records, words) == []


def test_a_colour_and_its_absence_are_grounded(world: World) -> None:
    """ "circle" and "red" both name the red circle; "blue circle" names nothing there."""
    record = world.sees(5, "red circle")
    values = [
        by(IoUScorer().score([record], [said(5, name)]), "iou")[5]
        for name in ("red circle", "circle", "red", "blue circle", "plain background")
    ]
    assert values == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_a_judge_of_meaning_knows_a_synonym(world: World) -> None:
    """ "Feline" stands in no caption; vectors that put it beside "cat" tell what fires."""

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        near = [[1.0, 0.0] if {"cat", "feline"} & set(t.split()) else [0.0, 1.0] for t in texts]
        return np.array(near, np.float32)

    name = next(n for n in NAMES if "cat" in n.split())
    record, words = world.sees(0, name), [Explanation(0, "Pictures of feline.", "feline")]
    plain = DetectionScorer(LexicalJudge()).score([record], words)[0]
    meant = DetectionScorer(LexicalJudge(embed=vectors)).score([record], words)[0]
    assert plain.value == 0.5
    assert meant.value > 0.95
    assert meant.evidence["judge"] == "words and word vectors"


def test_a_judge_of_meaning_needs_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    check_scorers(ScoreOptions(judge="words"))
    monkeypatch.setattr("semascope.atlas.embed.minilm_folder", lambda: None)
    with pytest.raises(ExplainError, match="word vectors"):
        check_scorers(ScoreOptions(judge="meaning"))


def test_auroc_and_precision_agree_with_a_second_implementation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.integers(0, 5, 40).astype(float)
        truth = rng.random(40) < 0.4
        weights = rng.random(40)
        mine = stats.auroc(scores[truth], scores[~truth], weights[truth])
        both = np.where(truth, weights, 1.0)
        assert mine == pytest.approx(roc_auc_score(truth, scores, sample_weight=both))
        ap = float(stats.average_precision(scores, truth)[0])
        assert ap == pytest.approx(average_precision_score(truth, scores))


def test_pearson_keeps_its_sign() -> None:
    """A score taken after a linear fit calls a perfectly wrong explanation perfect."""
    a = np.arange(20.0)
    assert stats.pearson(a, -a) == pytest.approx(-1.0)
    assert stats.pearson(a, np.ones(20)) == 0.0


def test_an_interval_of_pearson_draws_samples_whole() -> None:
    """All draws at once give what a draw at a time does, also where a draw is of one value."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        samples = int(rng.integers(2, 12))
        owner = np.repeat(np.arange(samples), rng.integers(1, 20, samples))
        a = np.where(rng.random(len(owner)) < 0.2, 50 * rng.random(len(owner)), 0.0)
        b = (owner % 3 == 0).astype(float)
        rows = stats.resample_counts(samples, 0)
        one_by_one = np.array([stats.pearson(a, b, row[owner]) for row in rows])
        found = stats.pearson_interval(a, b, owner)
        assert (found.value, *found.interval) == pytest.approx(
            (stats.pearson(a, b), *stats.percentiles(one_by_one)), abs=1e-9
        )


def test_the_control_never_lends_a_feature_its_own_words() -> None:
    labels = ["mango", "mango", "mango", "cat", "bat", "tent"]
    lent = shuffled_words(labels, 0)
    assert sorted(lent) == list(range(6))
    assert all(labels[i] != labels[j] for i, j in enumerate(lent))
    assert list(shuffled_words(["mango", "mango"], 0)) == [-1, -1]
    assert (shuffled_words(["mango", "mango", "cat"], 0) >= 0).sum() == 2
