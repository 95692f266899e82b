"""The reader: a model names its own activations; phrases are tried before they are said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import NAMES, World

from semascope.errors import ExplainError
from semascope.evidence.store import peak_vectors
from semascope.evidence.types import FeatureEvidence
from semascope.explain.reader.explainer import ReaderExplainer
from semascope.explain.reader.generalise import commonness, phrases
from semascope.explain.reader.readings import Reading, names, shared_parts
from semascope.explain.reader.self_reading import SelfReader, SelfReadingTrial, reading_site
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.text.letters import letter_rule
from semascope.explain.types import Explanation
from semascope.subject.testing import tiny

SEEING = ("llava", "qwen2_vl", "qwen3_vl", "idefics3", "gemma3", "internvl", "paligemma", "glm4v")


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=200)


@pytest.mark.parametrize(
    ("reading", "things"),
    [
        ("a brown cross and a sock", ["brown cross", "sock"]),
        ("the flag of Bosnia and Herzegovina", ["flag of Bosnia and Herzegovina"]),
        ("the word STOP", ["word STOP"]),
        ("a snail, a snail, a water", ["snail", "water"]),
        ("Santa Claus and Santa Claus", ["Santa Claus"]),
        ("nothing", []),
        ("", []),
        ("a \x00 b", []),
    ],
)
def test_what_a_reading_names(reading: str, things: list[str]) -> None:
    """Names are whole, keep their capitals, and are named once."""
    assert names(reading) == things


def test_parts_that_names_share() -> None:
    """What two things have in common is among the parts of both."""
    assert {"cross", "brown"} <= set(shared_parts("brown cross"))
    assert "flag" in shared_parts("flag of South Sudan")
    assert "sport" in set(shared_parts("soccer ball")) & set(shared_parts("tennis ball"))
    assert "words that begin with S" in set(shared_parts("word STOP")) & set(
        shared_parts("word SALT")
    )


@pytest.mark.parametrize(
    ("said", "label"),
    [
        (["a cross", "a red cross", "a blue cross", "a grey cross"], "cross"),
        (["the word SALT", "the word SLEEP", "the word SHOP", "the word SALE"],
         "words that begin with S"),
        (["a clock", "a clock", "a golf flag", "a golf flag"], "golf flag; clock"),
    ],
)  # fmt: skip
def test_readings_become_phrases(said: list[str], label: str) -> None:
    """Without: one exemplar's name stands for all of them."""
    others = [[Reading(f"a {name}", 1.0)] for name in NAMES] * 5
    found = phrases([Reading(text, 1.0) for text in said], commonness(others))
    assert label in [phrase.label for phrase in found[:4]]


@pytest.mark.parametrize(
    ("label", "fits", "misses"),
    [
        ("words that begin with S", "the word STOP", "the word GAS"),
        ("words with EA", "a cat and the word BREAD", "the word SUN"),
        ("words that end in P", "the word STOP and a cat", "the word PEACE"),
    ],
)
def test_words_are_told_by_their_letters(label: str, fits: str, misses: str, world: World) -> None:
    """The judge reads what such a label says; "begin" itself is not looked for."""
    rule = letter_rule(label)
    assert rule is not None
    assert rule.label == label
    scene = world.scenes[0]
    shown = [
        replace(scene, id=text, truth={**scene.truth, "caption": text}) for text in (fits, misses)
    ]
    (ratings,) = LexicalJudge().rate([Explanation(0, f"Pictures of {label}.", label)], [shown])
    assert ratings.tolist() == [1.0, 0.0]
    assert letter_rule("words of anger") is None


def texts(records: Sequence[FeatureEvidence], say: str) -> dict[tuple[int, int], str]:
    """The same reading at every peak."""
    found = [peak for record in records for peak in peak_vectors.peaks(record, None)]
    return {(peak.row, peak.token): say for peak in found}


def others(world: World) -> dict[tuple[int, int], str]:
    """Readings of features of other things."""
    found: dict[tuple[int, int], str] = {}
    for number, name in enumerate(("tent", "bat", "piano", "umbrella", "mango", "banana")):
        found |= texts([world.sees(number, name)], f"a {name}")
    return found


def test_a_planted_thing_is_named(world: World) -> None:
    """What the model reads becomes the words; confidence is how well they tell."""
    record = world.sees(0, "violin")
    known = others(world) | texts([record], "a violin")
    (words,) = ReaderExplainer(known, model="m").explain([record])
    assert (words.label, words.author) == ("violin", "reader:m")
    assert words.confidence > 0.9
    assert words.cost.calls == 4


def test_a_reading_that_is_wrong_is_not_said(world: World) -> None:
    """Without: whatever the model mumbles becomes an explanation."""
    record = world.sees(0, "violin")
    known = others(world) | texts([record], "a glass of water")
    (words,) = ReaderExplainer(known, model="m").explain([record])
    assert words.abstained
    assert "tells too little: glass of water." in words.description


def test_a_model_that_cannot_read_itself_explains_nothing(world: World) -> None:
    """Its reason is told, once a feature."""
    (words,) = ReaderExplainer({}, model="m", refusal="It cannot.").explain(
        [world.sees(0, "violin")]
    )
    assert words.abstained
    assert words.description == "It cannot."
    (none,) = ReaderExplainer({}, model="m").explain([world.reads(0, " walked")])
    assert none.abstained
    assert not SelfReadingTrial(0.1, 0.0, 32).can_read
    assert SelfReadingTrial(0.9, 0.02, 32).can_read


def test_peaks_go_from_strong_to_weak_and_stay_in_the_explain_split(world: World) -> None:
    """Without: what scores the words was read to make them."""
    record = world.sees(0, "cat")
    found = peak_vectors.peaks(record)
    assert [p.strength for p in found] == sorted((p.strength for p in found), reverse=True)
    assert len(found) == 4
    assert found[-1].strength < 0.7
    held_out = {e.shown.row for e in record.top if e.shown.split == "score"}
    assert not held_out & {p.row for p in found}
    assert peak_vectors.peaks(world.reads(1, " walked")) == []


@pytest.mark.parametrize("family", SEEING)
def test_every_family_is_read_and_noise_is_refused(family: str) -> None:
    """One placeholder stands for the picture; the quick way says what the plain one says."""
    subject = tiny(family)
    reader = SelfReader(subject, "resid_post.0", max_new_tokens=3)
    ids, at = reader.prompt
    assert sum(i in subject.encoder.shown_ids for i in ids) == 1
    assert ids[at] in subject.encoder.shown_ids
    vectors = np.random.default_rng(0).normal(size=(5, subject.d_model)).astype(np.float32)
    said = reader.read(vectors)
    assert said == reader._plainly(torch.from_numpy(vectors))
    assert said[:2] == reader.read(vectors[:2])
    assert not reader.measure(4).can_read


def test_sites_and_models_that_cannot_be_read_are_sentences() -> None:
    """Errors in the user's words."""
    assert reading_site("mlp_out.3") == "resid_post.3"
    with pytest.raises(ExplainError, match=r"resid_post\.N"):
        reading_site("vision.2")
    with pytest.raises(ExplainError, match="reads no pictures"):
        SelfReader(tiny("llama"), "resid_post.0")
