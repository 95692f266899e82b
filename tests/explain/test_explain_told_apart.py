"""Words against those of the nearest features: who is told apart, and what chance would give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted import NAMES, World

from semascope.errors import ExplainError
from semascope.explain.llm.async_map import Backoff
from semascope.explain.llm.client import LMM
from semascope.explain.llm.fake_server import FakeLMM
from semascope.explain.llm.parse_answer import UnreadableError
from semascope.explain.scorers.lmm_choice import LMMChooser, choice_of
from semascope.explain.scorers.lmm_judge import LMMJudge
from semascope.explain.scorers.told_apart import (
    Chooser,
    ToldApartScorer,
    nearest_explained,
    shares,
)
from semascope.explain.types import Explanation, Score, Scorer


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=240)


def words(feature: int, label: str) -> Explanation:
    return Explanation(feature, f"Pictures of {label}.", label, author="a")


def scored(world: World, labels: list[str], **options: Any) -> dict[str, list[Score]]:
    """Features of the first names, explained by ``labels``; each has the others as neighbours."""
    own = [words(i, label) for i, label in enumerate(labels)]
    scorer = ToldApartScorer(lambda i: [e for e in own if e.feature != i], **options)
    records = [world.sees(i, name) for i, name in enumerate(NAMES[: len(labels)])]
    found: dict[str, list[Score]] = {}
    for score in scorer.score(records, own):
        found.setdefault(score.kind, []).append(score)
    return found


def test_right_words_are_told_apart_and_shuffled_ones_at_chance(world: World) -> None:
    found = scored(world, list(NAMES[:6]))
    values = [s.value for s in found["told_apart"]]
    assert len(values) == 6
    # Scenes hold up to four things, so another feature's thing is often there as well.
    assert min(values) > 0.4 and np.mean(values) > 0.55
    assert all(s.low <= s.value <= s.high for s in found["told_apart"])
    assert {s.baseline for s in found["told_apart"]} == {1 / 6}
    assert found["told_apart"][0].evidence["among"] == [0, 1, 2, 3, 4, 5]
    assert sum(found["told_apart"][0].evidence["assigned"]) == pytest.approx(1, abs=0.01)


def test_the_control_is_at_chance_over_many_features(world: World) -> None:
    """Without it, a mistake in the shares would pass for skill."""
    own = [words(i, NAMES[i % 6]) for i in range(6)]
    values = []
    for seed in range(40):
        scorer = ToldApartScorer(lambda i: [e for e in own if e.feature != i], seed=seed)
        made = scorer.score([world.sees(0, NAMES[0])], own[:1])
        values += [s.value for s in made if s.kind == "told_apart_shuffled"]
    assert np.mean(values) == pytest.approx(1 / 6, abs=0.12)


def test_features_with_the_same_words_share(world: World) -> None:
    """Six features called "fruit" must get chance and no more, however well the word fits."""
    same = scored(world, ["mango"] * 6)["told_apart"][0]
    assert [same.value, same.low, same.high] == pytest.approx([1 / 6] * 3)
    two = scored(world, ["mango", "mango", "tent"])["told_apart"][0]
    assert 0.4 < two.value <= 0.5
    assert two.baseline == pytest.approx(1 / 3), "of two neighbours chance is a third"


def test_no_neighbour_and_no_exemplar_give_no_score(world: World) -> None:
    record = world.sees(0, "mango")
    assert ToldApartScorer(lambda i: []).score([record], [words(0, "mango")]) == []
    few = ToldApartScorer(lambda i: [words(1, "tent")], least=1000)
    assert few.score([record], [words(0, "mango")]) == []
    silent = Explanation(0, "No words.", abstained=True)
    assert ToldApartScorer(lambda i: [words(1, "tent")]).score([record], [silent]) == []


def test_shares_add_up_and_missing_ratings_are_no_choice() -> None:
    found = shares(np.array([[1.0, 0.5, 1.0], [0.0, 0.0, 0.0], [0.2, np.nan, 0.9]]))
    assert found[0].tolist() == [0.5, 0.0, 0.5]
    assert found[1] == pytest.approx(1 / 3)
    assert np.isnan(found[2]).all()


def test_neighbours_are_merged_by_rank_and_have_words() -> None:
    """A neighbour without words must not leave five descriptions where six were promised."""
    direction = np.array([[1, 2, 3, 4, -1]], np.int32)
    firing = np.array([[5, 1, 0, 6, 7]], np.int32)
    own = {i: words(i, f"thing {i}") for i in (0, 1, 3, 4, 5, 6, 7)}
    near = nearest_explained(direction, firing, own)(0)
    assert [e.feature for e in near] == [1, 5, 3, 4, 6]


def test_an_lmm_chooses_with_one_question_a_sample(world: World) -> None:
    """The order is drawn anew for each sample: a model that always says 1 is at chance."""

    def answer(request: Mapping[str, Any]) -> Mapping[str, Any]:
        lines = request["messages"][0]["content"][0]["text"].splitlines()
        return {"choice": next(line[0] for line in lines if "mango" in line)}

    def first(request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"choice": 1}

    found = {}
    for name, said in (("right", answer), ("first", first)):
        with FakeLMM(answer=said) as server:
            lmm = LMM(server.base_url, "fake", backoff=Backoff(0.0, longest=0.01, attempts=2))
            judge = LMMJudge(lmm, lambda _: Image.new("RGB", (32, 32), "grey"))
            found[name] = scored(world, list(NAMES[:6]), chooser=LMMChooser(judge), most=8)
            assert judge.asked == len(server.requests) == 6 * 8
            assert "caption" not in json.dumps(server.requests[0]["messages"])
    assert found["right"]["told_apart"][0].value == 1.0
    assert found["right"]["told_apart"][1].value == 0.0
    assert np.mean([s.value for s in found["first"]["told_apart"]]) < 0.4
    assert found["right"]["told_apart"][0].evidence["judge"] == "lmm:fake"


def test_choices_that_cannot_be_read_are_counted(world: World) -> None:
    with FakeLMM(answer=lambda request: {"choice": 9}) as server:
        lmm = LMM(server.base_url, "fake", backoff=Backoff(0.0, longest=0.01, attempts=2))
        judge = LMMJudge(lmm, lambda _: Image.new("RGB", (32, 32), "grey"))
        scorer = ToldApartScorer(lambda i: [words(1, "tent")], LMMChooser(judge), most=8)
        assert scorer.score([world.sees(0, "mango")], [words(0, "mango")]) == []
        assert "could not be read" in scorer.missing[0]
        assert judge.unread.total() == 8
        with pytest.raises(ExplainError, match="could not be used"):
            for i in range(1, 6):
                scorer.score([world.sees(i, "tent")], [words(i, "tent")])


@pytest.mark.parametrize("text", ['{"choice": 2}', "2", '{"choice": "2"}', 'Sure. {"choice": 2.0}'])
def test_a_choice_is_read_as_models_write_it(text: str) -> None:
    assert choice_of(text, 6) == 2


@pytest.mark.parametrize("text", ["0", '{"choice": 7}', '{"choice": 1.5}', "the second", "50%"])
def test_what_is_no_choice_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableError):
        choice_of(text, 6)


def test_protocols_are_kept() -> None:
    assert isinstance(ToldApartScorer(lambda i: []), Scorer)
    assert isinstance(ToldApartScorer(lambda i: []).chooser, Chooser)
