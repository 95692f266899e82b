"""The form of labels: a noun phrase or a quoted token, as a person would write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semascope.corpus.scenes.sprites import SpritePack
from semascope.evaluate.explanations import figures
from semascope.explain.text import form
from semascope.explain.text.form import refusals
from semascope.explain.types import Explanation


@pytest.mark.parametrize(
    "label",
    [
        "mango", "flag of South Korea", '"heart"', 'word piece "ing"', "the word “stop”",
        "numbers after a decimal point", '"some" or "any"', "violin or cello", "owl or penguin",
        "flag of Japan or Bangladesh", "purple circles", "no bicycles sign", "line break",
        "people of the Bible", "Emma Woodhouse", "red", "angry faces", "roast turkey",
        "last word of a sentence", "prohibition signs", "china plates", "names of months",
        "decimal number or year", "word ending in ing", "flag of Papua New Guinea", "html",
        'tokens before "="', "glass of water", "United States",
        "US states", "sad or worried", "red or blue", "text about whales", "names of people",
        "past tense verbs", "chess or card games", "Captain Ahab", 'words that end in "ing"',
    ],
)  # fmt: skip
def test_labels_that_a_person_would_write_pass(label: str) -> None:
    assert refusals(label) == []


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("", "empty"),
        ('heart or word piece "heart"', "repeated"),
        ("flag of kiribati or invited", "no kind in common"),
        ("flag of kiribati or invited", "no capital"),
        ("flag of south or korea", "part of a name"),
        ("flag of sri", "part of a name"),
        ("flag of papua new", "part of a name"),
        ("flag or turkey", "no capital"),
        ("relat", "stem"),
        ("biolog", "stem"),
        ("because", "function word"),
        ("thou or thee", "function word"),
        ("said", "verb"),
        ("3", "token"),
        ("mr", "token"),
        ('piece "ing', "not balanced"),
        ("flag, above all flag of Cuba", "above all"),
        ("pictures of mangos", "pictures of"),
        ("picture of a", 'ends with "a"'),
        ("something about", 'ends with "about"'),
        ("of water", 'begins with "of"'),
        ("war or \"against\"", "no kind in common"),
        ("mango or penguin", "no kind in common"),
        ("called or call", "repeated"),
        ("leaf or leaves or leafs", "repeated"),
        ("emma", "no capital"),
        ("monday", "no capital"),
        ("word stop", "written word"),
        ("one two three four five six seven eight nine", "more than 8"),
        ("A picture of a cat.", "punctuated"),
        ("red or penguin", "no kind in common"),
    ],
)  # fmt: skip
def test_labels_with_a_fault_are_refused_with_the_reason(label: str, reason: str) -> None:
    assert any(reason in why for why in refusals(label)), refusals(label)


def test_the_names_of_things_pass() -> None:
    """A rule that refuses what pictures are called would count good labels as faults."""
    names = sorted({sprite.name for sprite in SpritePack.load().sprites})
    refused = [name for name in names if refusals(name)]
    assert len(refused) <= 2, refused  # "can" and "saw" are other words as well


@given(st.text(max_size=40))
def test_any_text_gets_an_answer(label: str) -> None:
    """Labels come from models and imported atlases: no text may end an evaluation."""
    assert all(isinstance(reason, str) and reason for reason in refusals(label))


def test_figures_are_shares_of_the_explained() -> None:
    labels = ["mango", "Mango", "tent", "because"]
    explanations = {
        **{i: Explanation(i, f"{label}.", label) for i, label in enumerate(labels)},
        9: Explanation(9, "No words.", abstained=True),
    }
    found = figures([], explanations, [])
    assert found["labels_refused"] == 0.25
    assert found["labels_refused_n"] == 4
    assert found["distinct_labels"] == 0.75, "two mangos are one label"
    low, high = found["distinct_labels_interval"]
    assert low < 0.75 < high
    assert found["labels_refused_by_reason"] == {"a word is a function word without quotes": 1}
    assert form.figures([]) == {"labels_refused": [], "distinct_labels": []}
