"""Words: what would be counted twice, missed, or taken for a name."""

import pytest

from semascope.explain.text import categories, hypernyms, terms
from semascope.explain.text.claims import claim


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("Cherries", "cherry"),
        ("boxes", "box"),
        ("matches", "match"),
        ("glasses", "glass"),
        ("glass", "glass"),
        ("bus", "bus"),
        ("its", "its"),
        ("Bolivia’s", "bolivia"),
        ("mangos", "mango"),
        ("this", "this"),
    ],
)
def test_plurals_meet_and_nothing_else_does(word: str, key: str) -> None:
    assert terms.stem(word) == key


def test_a_phrase_is_a_term_only_where_its_words_touch() -> None:
    text = "french fries and a red, circle"
    keys = {key for key, _, _ in terms.grams(text, terms.spans(text), 3)}
    assert "french fry" in keys
    assert "fry and" not in keys
    assert "red circle" not in keys, "a comma stands between them"


def test_numbers_keep_their_marks() -> None:
    text = "On 2024-05-01, 9.11 came before 9.9 (v1.2.3), says 3:16, in 1984 for 1,000."
    assert [text[a:b] for a, b in terms.spans(text) if text[a].isdigit()] == [
        "2024-05-01", "9.11", "9.9", "1.2.3", "3:16", "1984", "1,000"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("9.11", "#decimal number"),
        ("3:16", "#verse number"),
        ("2024-05-01", "#date"),
        ("1984", "#year"),
        ("1.2.3", "#version number"),
        ("42", "#number"),
        ("NASA", "#capitals"),
    ],
)
def test_shapes_tell_dates_from_verses_and_versions(word: str, first: str) -> None:
    assert terms.shapes(word)[0] == first


def test_a_label_is_read_back_as_its_alternatives() -> None:
    assert terms.alternatives("red circles or a mango") == [("red", "circle"), ("mango",)]
    assert terms.alternatives("a green background") == [("green", "background")]
    assert terms.quoted('word piece "ing"') == ["ing"]


@pytest.mark.parametrize(
    ("label", "seen", "expected"),
    [
        ("mango or apple", True, "object"),
        ("red or yellow", True, "colour"),
        ("red mango", True, "object"),
        ("glass of water", True, "object"),
        ("striped background", True, "scene"),
        ("happy or laughing", True, "emotion"),
        ("harbour", False, "text"),
    ],
)
def test_the_last_word_decides_the_category(label: str, seen: bool, expected: str) -> None:
    assert categories.category(label, seen=seen) == expected


def test_the_judge_looks_for_every_kind_that_the_namer_can_name() -> None:
    """Said as a label and read back: a kind that is also half of a mark's name was lost."""
    counts = {f"{number} thing" for number in hypernyms.NUMBERS[1:]}
    for key in hypernyms.kinds() | counts:
        wanted = {" ".join(phrase) for phrase in claim(key, f"Pictures of {key}.").phrases}
        assert key in wanted, key


def test_a_plural_of_a_shape_may_be_the_word() -> None:
    assert claim("year", "").phrases == ()
    years = claim("years", "")
    assert years.phrases == (("year",),)
    assert years.shapes == ("@years", "#year")
    assert claim("years", "Text with years.").shapes == ("@years",)
