"""Ready wishes, wishes from files, the empathy case, reports, beams: what they hold and refuse."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from semascope.causal import Intervention, Where, edits_for
from semascope.causal.attribution.ablation import ablate_exactly
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.metrics import LogProb
from semascope.causal.attribution.report import ablation_table, tables, write
from semascope.causal.search.behaviours import (
    FEELINGS,
    TALK,
    NamedObject,
    goal_for,
    name_object,
    own_answers,
    read_word,
    variants,
)
from semascope.causal.search.cases import Case, meets, split
from semascope.causal.search.goal import Goal
from semascope.causal.search.goal_files import GoalItems, read_items, reading, with_files
from semascope.causal.steering.beam_search import beam_answer
from semascope.causal.steering.controls import middle_block
from semascope.causal.steering.interventions import Region
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.errors import CausalError
from semascope.evaluate.empathy import empathy

KEY = "resid_post.1/main"


@pytest.fixture(scope="module")
def steerable(subject, coders):
    stats = {KEY: {"max": np.full(128, 3.0), "density": np.full(128, 0.05)}}
    return SteerableModel.of(subject, coders[1:], stats)


@pytest.mark.parametrize(
    ("words", "means"),
    [
        ("speak with feeling", ("feeling", "")),
        ("read the word and ignore the picture", ("word", "")),
        ("do not see what is not there", ("presence", "")),
        ("talk about a red flag", ("object", "red flag")),
        ("a dog", ("object", "dog")),
    ],
)
def test_a_sentence_is_read_as_one_of_the_ready_wishes(words, means):
    assert reading(words) == means


def test_a_wish_that_names_nothing_says_what_to_write():
    with pytest.raises(CausalError, match="--want FILE"):
        reading("please make it say the")


def test_ready_wishes_can_be_split_and_judged(steerable):
    """Every one has cases on both sides, and a right answer meets its own case."""
    for name in ("object", "word", "feeling"):
        wish = goal_for(steerable, name, lambda words: [(KEY, 1)], thing=NamedObject("dog"))
        search, held = split(wish.cases)
        assert min(len(search), len(held)) >= 5
        assert all(meets(case.wanted, case) for case in wish.cases)
        assert list(wish.features) == [(KEY, 1)]
    with pytest.raises(CausalError, match="no behaviour 'dance'"):
        goal_for(steerable, "dance", lambda words: [])


def test_the_word_is_wanted_and_no_thing_beside_it(steerable):
    wish = read_word(steerable, samples=16)
    assert len(wish.cases) == len(wish.protect) == 16
    for case in wish.cases:
        word = case.accepted[0]
        assert meets(f"it says {word}", case)
        for other in (case.unwanted, *case.refused):
            assert not meets(f"{word} and a {other}", case)


def test_the_two_questions_are_contrasted_on_pictures_that_judge_nothing(steerable):
    wish = read_word(steerable, samples=16)
    held = {case.sample.id for case in split(wish.cases)[1]}
    asked = [*wish.examples, *wish.counterexamples]
    assert asked
    assert not held & {sample.id for sample in asked}
    assert [s.id for s in wish.examples] == [s.id for s in wish.counterexamples]
    assert {s.turns[0].text for s in wish.examples} == {"What word is written?"}


def test_only_words_that_the_model_reads_are_wished(subject, coders, monkeypatch):
    """A behaviour is looked for where the ability is there; its own words are what is wanted."""
    steerable = SteerableModel.of(subject, coders[1:], None)

    def told_of(subject, cases, *rest, **more):
        return [f"it says {c.wanted if n % 2 else 'NOTHING'}" for n, c in enumerate(cases)]

    monkeypatch.setattr("semascope.causal.search.behaviours.answers", told_of)
    wish = read_word(steerable, samples=16)
    assert len(wish.cases) == 16
    assert all(case.wanted == f"it says {case.accepted[0]}" for case in wish.cases)


def test_feelings_are_heard_in_any_of_their_words():
    case = Case(Sample(id="x"), "I feel happy", accepted=FEELINGS)
    assert meets("It was a sad day.", case)
    assert meets("i feel happy", case)
    assert not meets("The train is late.", case)


def test_an_object_unprompted_is_asked_of_empty_pictures(steerable):
    wish = name_object(steerable, NamedObject("dog", kinds=("poodle",)))
    assert {case.kind for case in wish.cases} == {"empty"}
    assert wish.cases[0].wanted == "a dog"
    assert name_object(steerable, NamedObject("apple")).cases[0].wanted == "an apple"
    assert meets("two red poodles", wish.cases[0])
    assert all(ids for _, ids in wish.unrelated)
    assert len({case.id for case in wish.cases}) == len(wish.cases)


def test_one_wrong_answer_becomes_cases_of_its_own_kind(sample):
    cases = variants(sample, "no", "yes")
    assert len({case.sample.id for case in cases}) == 16
    assert {case.sample.images[0].size for case in cases} == {(64, 48)}
    mirrored = cases[4].sample.images[0]
    assert mirrored.getpixel((0, 0)) == sample.images[0].getpixel((63, 0))
    with pytest.raises(CausalError, match="give the question"):
        variants(Sample(id="x", text="words"), "no", "yes")


def test_wishes_come_from_files(tmp_path):
    want, other = tmp_path / "want.txt", tmp_path / "not.txt"
    row = {"question": "Is it?", "answer": "no", "picture": "scene:1"}
    want.write_text(json.dumps(row) + "\nA text that shows it.\n\n", encoding="utf-8")
    other.write_text(json.dumps({**row, "answer": "yes"}) + "\nA plain text.\n", encoding="utf-8")
    made = with_files(
        Goal(cases=()),
        lambda picture, question: Sample(id=picture, turns=(Turn("user", question),)),
        want=read_items(want),
        not_want=read_items(other),
        keep=GoalItems({("none", "2 + 2?"): "4"}),
    )
    assert [(c.wanted, c.unwanted) for c in made.cases] == [("no", "yes")]
    assert [c.wanted for c in made.protect] == ["4"]
    assert [s.text for s in made.examples] == ["A text that shows it."]
    with pytest.raises(CausalError, match="only the unwanted answer"):
        with_files(
            Goal(cases=()), lambda p, q: Sample(id=p), want=GoalItems(), not_want=read_items(other),
            keep=GoalItems(),
        )  # fmt: skip
    want.write_text('{"question": 3}\n', encoding="utf-8")
    with pytest.raises(CausalError, match='needs a "question"'):
        read_items(want)
    want.write_text("\n", encoding="utf-8")
    with pytest.raises(CausalError, match="empty"):
        read_items(want)
    with pytest.raises(CausalError, match="cannot be read"):
        read_items(tmp_path / "none.txt")


def test_empathy_is_judged_on_prompts_that_chose_no_dose(steerable):
    told = empathy(steerable, [(KEY, 3)], doses=(1.0, 2.0), tokens=2)
    assert told["felt"]["n"] == told["felt_random"]["n"] == len(TALK) // 2
    assert [row["dose"] for row in told["curve"]] == [1.0, 2.0] * 4
    assert len({json.dumps(row["where"]) for row in told["curve"]}) == 4
    assert {"where", "dose", "kl"} <= told.keys()
    assert json.dumps(told)
    with pytest.raises(CausalError, match="no feature here"):
        empathy(steerable, [])


def test_prompts_with_the_models_own_answers(steerable):
    sample = Sample(id="t", turns=(Turn("user", TALK[0]),))
    ((_, ids),) = own_answers(steerable, [sample], tokens=3)
    assert [t.id for t in steerable.subject.generate(sample, max_new_tokens=3).tokens] == list(ids)


def test_the_report_adds_up_and_is_written_whole(steerable, subject, sample, tmp_path):
    batch = subject.encode([sample], answer="", max_tokens=None)
    found = attribute(subject, batch, steerable.dictionaries, LogProb(7))
    told = tables(found, labels={}, statistics=steerable.statistics, top=5)
    site = told["sites"][0]
    assert site["features"] + site["error"] + site["bias"] == pytest.approx(site["total"], abs=1e-3)
    image = sum(row["score"] for row in told["tokens"] if row["kind"] == "image")
    assert sum(row["score"] for row in told["regions"]) == pytest.approx(image, abs=1e-4)
    assert len(told["features"]) == 5
    assert not told["common"]
    here = tables(found, region=Region(left=0, top=0, right=32, bottom=24), top=99)
    assert 0 < len(here["features"]) < len(tables(found, top=999)["features"])
    exact = ablate_exactly(subject, batch, steerable.dictionaries, LogProb(7), found, top=4)
    told["ablation"] = ablation_table(exact, {})
    paths = write(tmp_path / "r", found, told, sample.images)
    assert [path.name for path in paths] == ["heat-0.png", "report.html", "report.json"]
    with Image.open(paths[0]) as heat:
        assert heat.size == sample.images[0].size
    assert json.loads(paths[2].read_text()) == json.loads(json.dumps(told))


def test_the_middle_block_is_nine_tokens(subject):
    turns = (Turn("user", "what?", images=1),)
    square = Sample(id="b", turns=turns, images=(Image.new("RGB", (128, 128)),))
    token_map = subject.encode([square], answer="", max_tokens=None).maps[0]
    from semascope.causal.steering.token_masks import select

    block = middle_block(token_map)
    assert select(Where(region=block), token_map, len(token_map)).sum() == 9


@pytest.mark.parametrize("beams", [1, 3])
def test_beams_are_steered_and_strength_zero_is_the_plain_search(beams, subject, sample, coders):
    """Each beam is a row of its own: edits that know one row only would steer the first."""
    one = Intervention(features=((KEY, 3),), strength=40.0, unit="absolute", how="add")
    plain = beam_answer(subject, sample, beams=beams, max_new_tokens=4)
    zero = beam_answer(
        subject, sample, edits_for([one.at(0.0)], coders), beams=beams, max_new_tokens=4
    )
    steered = beam_answer(subject, sample, edits_for([one], coders), beams=beams, max_new_tokens=4)
    assert zero == plain
    assert steered != plain
    if beams == 1:
        edits = edits_for([one], coders)
        told = subject.generate(sample, edits=edits, max_new_tokens=4).text
        assert steered == told.strip()
    with pytest.raises(CausalError, match="at least one"):
        beam_answer(subject, sample, beams=0)


def test_sampling_under_interventions_draws_the_same_with_the_same_seed(subject, sample, coders):
    one = Intervention(features=((KEY, 3),), strength=20.0, unit="absolute", how="add")
    options = {"temperature": 1.0, "seed": 5, "max_new_tokens": 5}
    edits = edits_for([one], coders)
    first = subject.generate(sample, edits=edits, **options)
    assert first.text == subject.generate(sample, edits=edits, **options).text
    plain = subject.generate(sample, **options)
    same = subject.generate(sample, edits=edits_for([one.at(0.0)], coders), **options)
    assert [t.logprob for t in same.tokens] == [t.logprob for t in plain.tokens]
    assert [t.logprob for t in first.tokens] != [t.logprob for t in plain.tokens]
    assert torch.is_grad_enabled()
