"""What people see and say: refined labels, interest, duplicates, blind ratings; causal names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import NAMES, World

from semascope.corpus.sample import Sample
from semascope.errors import ExplainError
from semascope.explain.explainers.steering import CausalNamer
from semascope.explain.human import agreement
from semascope.explain.human.blind_rating import BlindRatings
from semascope.explain.refine import duplicates, interests, refine, short
from semascope.explain.types import Explanation
from semascope.subject.types import Generation, TokenChoice


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=200)


def said(feature: int, label: str, category: str = "object", author: str = "a") -> Explanation:
    return Explanation(feature, f"Pictures of {label}.", label, category, 0.9, author=author)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("a mango", "mango"),
        ("red circle or blue square or green star", "red circle or blue square"),
        ("mango", "mango"),
        ("one two three four five six seven", "one two three four five"),
    ],
)
def test_labels_are_short_and_whole(label: str, expected: str) -> None:
    assert short(label) == expected


def test_a_person_cares_for_flags_not_for_commas() -> None:
    """None of these stands in the labels that the classifier learnt from."""
    cared = [said(0, "flag of Peru"), said(1, "angry cat"), said(2, "umbrella")]
    dull = [
        said(3, "exclamation mark", "text"),
        said(4, '"for"', "text"),
        said(5, 'word piece "ed"', "text"),
        said(6, "light background", "scene"),
    ]
    high = interests(cared, [0.001] * 3)
    low = interests(dull, [0.02, 0.02, 0.004, 0.15])
    assert high.min() > low.max()
    silent = replace(said(7, ""), abstained=True)
    assert interests([silent], [0.001])[0] == 0.0


def test_duplicates_share_words_and_samples(world: World) -> None:
    mango, again, cat = world.sees(5, "mango"), world.sees(2, "mango"), world.sees(9, "cat")
    elsewhere = replace(world.sees(7, "mango"), top=cat.top)
    records = [mango, again, cat, elsewhere]
    words = [said(5, "mango"), said(2, "mangos"), said(9, "cat"), said(7, "mango")]
    assert duplicates(records, words) == [2, 2, 9, 7]
    directions = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.1]])
    assert duplicates(records, words, directions) == [5, 2, 9, 5]


def test_frequent_features_are_low_level(world: World) -> None:
    record = replace(world.sees(0, "mango"), stats={"density": 0.3})
    refined = refine([record], [said(0, "a plain background", "scene")])[0]
    assert refined.low_level
    assert (refined.label, refined.group) == ("plain background", 0)
    assert refined.interest < 0.5


def test_raters_see_no_author_and_swaps_are_hidden(tmp_path: Path) -> None:
    store = BlindRatings(tmp_path / "ratings.db")
    words = [said(i, name, author="secret") for i, name in enumerate(NAMES)]
    total = store.deal(words, swapped=0.5)
    assert total > len(NAMES)
    assert store.deal(words, swapped=0.5) == total, "dealt twice, there once"
    own = {w.feature: w.label for w in words}
    grades = {"careful": 0, "kind": 0}
    for rater in grades:
        while (task := store.next(rater)) is not None:
            assert "secret" not in repr(task)
            assert "swap" not in repr(task)
            right = own[task.feature] == task.label
            store.rate(task.id, rater, 3 if right or rater == "kind" else 0)
    assert store.progress("kind") == (total, total)
    result = store.agreement({"detection": {i: float(i) for i in range(12)}})
    assert result.raters == 2
    assert result.ratings == 2 * total
    assert result.mean[0] == 3.0
    assert result.swapped == 1.5, "the kind rater is found out"
    assert result.alpha < 0.5
    assert set(result.by_author) == {"secret"}
    assert np.isnan(result.judges["detection"]), "all grades alike agree with nobody"
    store.close()


def test_grades_agree_with_judges_when_both_see_the_same(tmp_path: Path) -> None:
    store = BlindRatings(tmp_path / "ratings.db")
    store.deal([said(i, name) for i, name in enumerate(NAMES[:8])], swapped=0.0)
    while (task := store.next("me")) is not None:
        store.rate(task.id, "me", task.feature // 2)
    few = store.agreement({"good": {0: 0.0, 7: 1.0}})
    assert np.isnan(few.judges["good"]), "two points always lie on a line"
    assert few.compared == {"good": 2}
    result = store.agreement(
        {"good": {i: i // 2 for i in range(8)}, "bad": {i: -(i // 2) for i in range(8)}}
    )
    assert result.judges == pytest.approx({"good": 1.0, "bad": -1.0})
    low, high = result.judge_intervals["good"]
    assert 0.9 < low <= high <= 1.0
    assert {name: one.value for name, one in result.shares.items()} == dict.fromkeys(
        ("right", "vague", "wrong", "silly"), 0.25
    )
    assert result.shares["silly"].low < 0.25 < result.shares["silly"].high
    one = store.agreement(tasks=list(store.grades("me"))[:1])
    assert one.ratings == 1
    store.close()


def test_bad_grades_are_sentences(tmp_path: Path) -> None:
    store = BlindRatings(tmp_path / "ratings.db")
    with pytest.raises(ExplainError, match="semascope rate"):
        store.agreement()
    store.deal([said(0, "mango")])
    task = store.next("me")
    assert task is not None
    with pytest.raises(ExplainError, match="right"):
        store.rate(task.id, "me", 7)
    with pytest.raises(ExplainError, match="no rating task"):
        store.rate("nonsense", "me", 1)
    with pytest.raises(ExplainError, match="name"):
        store.rate(task.id, " ", 1)
    store.close()


def test_alpha_by_hand_with_a_hole() -> None:
    """Two raters, three items, one hole: observed and expected squared distances by pairs."""
    ratings = np.array([[1.0, 2.0, 3.0], [1.0, 3.0, np.nan]])
    values = [1.0, 1.0, 2.0, 3.0]
    within = np.mean([0.0, 0.0, 1.0, 1.0])
    between = np.mean(
        [(x - y) ** 2 for i, x in enumerate(values) for j, y in enumerate(values) if i != j]
    )
    assert agreement.krippendorff_alpha(ratings) == pytest.approx(1 - within / between)
    assert np.isnan(agreement.krippendorff_alpha(np.array([[1.0, np.nan], [np.nan, 1.0]])))


def test_the_causal_namer_believes_what_appears_with_the_feature(world: World) -> None:
    def steered(sample: Sample, feature: int, strength: float) -> Generation:
        seen = "a bat"  # the model sees a bat in any blank
        if feature == 1 and strength >= 2:
            seen = "a mango and a bat"
        return Generation(seen, (TokenChoice(0, seen, 0.0),), 70)

    named = CausalNamer(steered, "toy").explain([world.sees(1, "mango"), world.sees(2, "cat")])
    assert named[0].label == "mango"
    assert named[0].confidence == pytest.approx(2 / 3)
    assert named[0].cost.calls == 9
    assert named[1].abstained, "what is seen without the feature is not its meaning"
