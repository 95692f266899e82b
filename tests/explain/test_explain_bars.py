"""The figures of a whole dictionary, with planted truth."""

from dataclasses import replace

import numpy as np
import pytest
from planted import NAMES, World, evidence, on_object

from semascope.evaluate.detection_ceiling import ceiling
from semascope.evaluate.explanations import by_confidence, figures, says_right, true_concept
from semascope.explain.explainers.folds import swapper
from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.scorers.iou import IoUScorer
from semascope.explain.types import Explanation, Score


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=300)


def said(feature: int, name: str) -> Explanation:
    return Explanation(feature, f"Pictures of {name}.", name, author="planted")


def test_the_true_concept_is_found_and_particular(world: World) -> None:
    for i, name in enumerate(NAMES):
        concept = true_concept(world.sees(i, name))
        assert concept is not None
        assert (concept.kind, concept.name) == ("object", name)
        assert concept.iou == pytest.approx(1.0)
    assert true_concept(world.noise(0)) is None
    assert true_concept(world.reads(0, " harbour")) is None


def test_right_is_by_place(world: World) -> None:
    record = world.sees(0, "red circle")
    concept = true_concept(record)
    assert concept is not None
    for name, right in (("red circle", True), ("circle", True), ("red", True), ("cat", False)):
        assert says_right(record, said(0, name), concept) is right
    assert not says_right(record, said(0, "red circle or cat or bat or tent or piano"), concept)


def test_all_figures_and_bars(world: World) -> None:
    """Of twelve features eight are in words, six of them right."""
    records = [world.sees(i, name) for i, name in enumerate(NAMES)]
    labels = [*NAMES[:6], "violin", "violin"]
    words = {i: said(i, label) for i, label in enumerate(labels)}
    words |= {i: replace(said(i, ""), abstained=True) for i in range(8, 12)}
    with_words, all_words = list(records), [words[i] for i in range(12)]
    scores = [
        *DetectionScorer().score(with_words, all_words),
        *IoUScorer().score(with_words, all_words),
    ]
    found = figures(iter(records), words, scores)
    assert found["explained_fraction"] == pytest.approx(8 / 12)
    assert found["right_concept"] == pytest.approx(6 / 8)
    assert found["iou_object_mean"] == pytest.approx(6 / 8, abs=0.05)
    assert found["detection_auroc_mean_n"] == 8
    low, high = found["right_concept_interval"]
    assert low <= found["right_concept"] <= high
    assert found["bars"]["explained_fraction"]
    assert found["bars"]["right_concept"]
    assert not found["bars"]["detection_auroc_mean"], "two wrong of eight are seen"


def test_confident_words_are_told_apart() -> None:
    """Ten features: those whose author was surer detect better; the tenth has no score."""
    words = {i: replace(said(i, "cat"), confidence=1 - 0.1 * i) for i in range(10)}
    scores = [Score(i, "detection", 1 - 0.05 * i, 0.5, 0, 1, {}, "planted") for i in range(9)]
    found = by_confidence([*scores, replace(scores[0], kind="iou", value=0.0)], words)
    assert found["detection_surest_10"] == 1.0
    assert found["detection_surest_30"] == pytest.approx(np.mean([1.0, 0.95, 0.9]))
    assert found["confidence_r"] == pytest.approx(1.0)
    flat = {i: replace(w, confidence=0.5) for i, w in words.items()}
    assert "confidence_r" not in by_confidence(scores, flat)
    assert by_confidence([], words) == {}


def test_the_ceiling_is_of_words_made_from_what_judges(world: World) -> None:
    """A feature of one thing in one half of its samples and of another in the other half."""
    cat, tent = world.sees(0, NAMES[0]), world.sees(0, NAMES[1])
    torn = replace(
        cat,
        top=(*cat.split("explain").top, *tent.split("score").top),
        intervals=(*cat.split("explain").intervals, *tent.split("score").intervals),
        silent=(*cat.split("explain").silent, *tent.split("score").silent),
    )
    namer, scorer = VocabularyNamer(world.scenes), DetectionScorer()
    honest = [s for s in scorer.score([torn], namer.explain([torn])) if s.kind == "detection"]
    best = ceiling([torn], namer, scorer)
    assert honest[0].value < 0.6
    assert best is not None
    assert best.value > 0.9
    twice = swapper().relabel(swapper().relabel(cat))
    assert [e.shown.split for e in twice.top] == [e.shown.split for e in cat.top]
    nothing = [world.noise(1)]
    assert ceiling(nothing, namer, scorer) is None


def test_no_figure_is_no_pass() -> None:
    found = figures([], {}, [])
    assert not any(found["bars"].values())
    assert found["features_alive"] == 0


def test_a_scattered_feature_has_a_worse_concept(world: World) -> None:
    fired = []
    for shown in world.scenes_with("mango")[:20]:
        exemplar = on_object(shown, "mango")
        exemplar.activations[2:20] = 1.0
        fired.append(exemplar)
    concept = true_concept(evidence(0, fired, []))
    assert concept is None or concept.iou < 0.9
    assert np.isfinite(concept.iou if concept else 0.0)
