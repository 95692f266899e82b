"""The model card's figures: right answers must count as right, wrong ones as wrong."""

from __future__ import annotations

import math

import pytest
import torch

from semascope.corpus.sample import Question
from semascope.corpus.scenes import SceneCorpus
from semascope.errors import SubjectError
from semascope.evaluate import subject as module
from semascope.evaluate.subject import (
    AnswerCounts,
    evaluate_subject,
    names,
    perplexity,
    same,
)
from semascope.subject.testing import tiny


def _truth(rows: int = 60) -> list[Question]:
    corpus = SceneCorpus(rows, seed=4, split="heldout")
    return [q for r in range(rows) for q in corpus.scene(r)[1].questions]


def test_the_truth_scores_one_in_everything() -> None:
    tally = AnswerCounts()
    for q in _truth():
        tally.add(q, q.answer)
    figures = tally.figures()
    kinds = ("caption_f1", "presence", "position", "colour", "count", "word", "emotion", "map")
    assert {k: figures[k] for k in kinds} == dict.fromkeys(kinds, 1.0)


def test_always_yes_is_chance_and_always_nothing_is_zero() -> None:
    tally = AnswerCounts()
    for q in _truth():
        tally.add(q, "yes" if q.kind == "presence" else "nothing")
    figures = tally.figures()
    assert figures["presence"] == 0.5
    assert figures["caption_f1"] == 0.0
    assert figures["count"] == 0.0


def test_an_invented_thing_costs_precision_and_a_missing_one_recall() -> None:
    tally = AnswerCounts()
    q = Question("describe", "What is in the picture?", "a cat, a mango and the word STOP")
    tally.add(q, "a cat, a bat and the word STOP.")
    figures = tally.figures()
    assert figures["caption_precision"] == pytest.approx(2 / 3)
    assert figures["caption_recall"] == pytest.approx(2 / 3)
    assert figures["caption_f1"] == pytest.approx(2 / 3)


def test_an_empty_picture_is_right_only_when_called_empty() -> None:
    tally = AnswerCounts()
    tally.add(Question("describe", "?", "nothing"), "a bat and a glass of water")
    assert (tally.hits, tally.named, tally.true) == (0, 2, 0)
    assert names("nothing") == []


def test_names_keep_those_that_hold_an_and() -> None:
    assert names("a cat, a bow and arrow and an orange star") == [
        "cat",
        "bow and arrow",
        "orange star",
    ]
    assert names("a fork and knife and some grapes") == ["fork and knife", "grapes"]
    assert names("the flag of Bolivia") == ["flag of bolivia"]


def test_case_articles_and_stops_do_not_matter_but_words_do() -> None:
    assert same("A Mango.", "a mango")
    assert same("mango", "some mango")
    assert not same("a green apple", "an apple")
    assert not same("", "three")


def test_shares_have_wilsons_interval() -> None:
    counts = AnswerCounts()
    counts.right["colour"], counts.asked["colour"] = 3, 10
    interval = counts.figures()["intervals"]["colour"]
    assert interval == pytest.approx((0.10779126740630099, 0.6032218525388546))


def test_perplexity_of_a_uniform_guess_is_the_size_of_the_vocabulary() -> None:
    ids = [torch.randint(0, 50, (1, 9)), torch.randint(0, 50, (1, 5))]
    assert perplexity(lambda i: torch.zeros(1, i.shape[1], 50), ids) == pytest.approx(50, rel=1e-5)
    sure = perplexity(lambda i: 100 * torch.nn.functional.one_hot(i.roll(-1, 1), 50), ids)
    assert math.isclose(sure, 1.0, rel_tol=1e-5)


def test_each_kind_of_question_gets_its_number() -> None:
    found = module._questions(seed=3, samples=6, split="heldout")
    kinds = [q.kind for _, asked in found for q in asked]
    assert all(kinds.count(k) == 6 for k in ("describe", "position", "colour", "count", "word"))
    assert kinds.count("presence") == 6
    assert kinds.count("map") == 2


def test_sharing_a_picture_changes_no_answer() -> None:
    """A question asked after a shared prefix is answered as if it had been asked alone."""
    subject, corpus = tiny("llava"), SceneCorpus(3, seed=8)
    scenes = [
        (corpus.sample(r), ["What is in the picture?", "How many?", "Is there a cat?"][: r + 1])
        for r in range(3)
    ]
    together = module.answer_scenes(subject, scenes)
    for (sample, texts), answers in zip(scenes, together, strict=True):
        for text, answer in zip(texts, answers, strict=True):
            alone = subject.generate(module.ask(sample, text, "x"), max_new_tokens=module.LONGEST)
            assert alone.text.strip() == answer


def test_it_runs_on_any_subject_that_sees_and_says_no_to_one_that_does_not() -> None:
    figures = evaluate_subject(tiny("llava"), seed=2, samples=2)
    assert 0 <= figures["caption_f1"] <= 1
    assert figures["asked"]["describe"] == 2
    with pytest.raises(SubjectError, match="reads text only"):
        evaluate_subject(tiny("llama"), samples=2)
