"""Replies as servers send them: what they think, draft, refuse and break never becomes words."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semascope import wellformed
from semascope.explain.llm import completion, parse_answer
from semascope.explain.text.language import is_english

FINAL = (
    '{"description": "A red flag on a pole.", "label": "red flag", "category": "object", '
    '"confidence": 0.9, "abstain": false}'
)
DRAFT = '{"description": "A cat on the sofa.", "label": "cat"}'
MANY = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@pytest.mark.parametrize(
    "text",
    [
        f"<think>Is it {DRAFT}? No.</think>\n{FINAL}",
        f"<thinking>{DRAFT}</thinking>{FINAL}",
        f"Maybe {DRAFT}, but no.</think>{FINAL}",
        f"<|channel|>analysis<|message|>{DRAFT}?<|end|><|start|>assistant<|channel|>final"
        f"<|message|>{FINAL}<|return|>",
        f"analysisWe see {DRAFT}.assistantfinal{FINAL}",
        f"◁think▷{DRAFT} no◁/think▷{FINAL}",
        f"[THINK]{DRAFT}[/THINK]{FINAL}",
        f"<|START_THINKING|>{DRAFT}<|END_THINKING|>{FINAL}",
        f"<unused94>thought {DRAFT}<unused95>{FINAL}",
        f"<think>a</think>{DRAFT}? No. <think>b</think>{FINAL}",
        f"{FINAL}<think>That is good: {DRAFT} was worse.</think>",
        f"First idea: {DRAFT}. That does not fit.\nMy answer: {FINAL}",
        f"```json\n{DRAFT}\n```\nBetter:\n```json\n{FINAL}\n```\nI hope it helps {{}}",
        f'{FINAL}\nThe form was {{"label": "...", "description": "..."}}',
        f"[{FINAL}]",
        f'{{"answer": {{"explanation": {FINAL}}}}}',
        json.dumps(FINAL),
        json.dumps({"result": FINAL}),
        FINAL.replace('"label"', '"Label"').replace('"description"', '"Description "'),
        FINAL.replace("}", ",}"),
        FINAL.replace('"', "'").replace("false", "False"),
        FINAL.replace('"', "'"),
        FINAL.replace('"description"', "“description”").replace('"label"', "“label”"),
        FINAL.replace("A red", "A\n\tred"),
    ],
)
def test_the_answer_is_found_and_no_draft(text: str) -> None:
    """The first JSON of a text was taken: five features of six got the rejected draft."""
    said = parse_answer.read(text)
    assert said is not None
    assert said.label == "red flag"


@pytest.mark.parametrize(
    "text",
    [
        f"<think>Is it {DRAFT}? Let me see",
        f"<|channel|>analysis<|message|>Is it {DRAFT}",
        f"First idea: {DRAFT}. No: " + FINAL[:40],
        f"<think>{DRAFT}</think>",
        f"<think>hm</think>{FINAL[:50]}",
        '{"type": "object", "properties": {"label": {"type": "string"}}}',
        "",
        "\x00",
        "{" * 5000,
        '{"a":' * 5000,
        "[" * 5000,
        '{"label": ' + "9" * 5000 + "}",
    ],
)
def test_what_ends_before_its_answer_is_unreadable(text: str) -> None:
    """A draft in a cut reply is the one that was to be rejected."""
    assert not parse_answer.usable(text) or parse_answer.read(text) is None


def test_a_tag_that_the_words_are_about_stays() -> None:
    """A feature may fire on the very tags."""
    said = parse_answer.read(
        '{"description": "The tag </think> in a text.", "label": "closing tag"}'
    )
    assert said is not None
    assert said.label == "closing tag"


@pytest.mark.parametrize(
    "answer",
    [
        {"label": "refusal", "description": "I'm sorry, but I can't help with identifying people."},
        {"label": "", "description": "I am unable to view the images you have provided."},
        {"label": "people", "description": "I’m not able to identify people in images."},
        {"label": "n/a", "description": "As an AI, I cannot see pictures."},
        {"label": "images", "description": "No images were provided."},
        {"label": "images", "description": "The images could not be loaded."},
        {"label": "I cannot tell", "description": "Something."},
        {"label": "rote Fahne", "description": "Bilder mit einer roten Fahne in der Mitte"},
        {"label": "drapeaux", "description": "drapeaux rouges"},
        {"label": "banderas rojas", "description": "banderas rojas"},
        {"label": "bandiera rossa", "description": "Immagini di una bandiera rossa"},
        {"label": "红旗", "description": "红色的旗帜"},
        {"label": "красный флаг", "description": "красный флаг на столбе"},
        {"error": "I'm sorry, but I can't help with that."},
        {"refusal": "I must decline."},
    ],
)
def test_refusals_and_other_languages_are_no_words(answer: dict[str, Any]) -> None:
    """They became labels, and were searched, scored and shown."""
    with pytest.raises(
        parse_answer.UnreadableError, match=r"refused|not in English|no JSON|cut off"
    ):
        if parse_answer.read(json.dumps(answer, ensure_ascii=False)) is None:
            raise parse_answer.UnreadableError("refused")


@pytest.mark.parametrize("label", ["null", "N/A", "none", "Unknown", "unclear.", "?", "No label"])
def test_a_label_that_names_nothing_is_an_abstention_with_its_reason(label: str) -> None:
    """ "Unknown" is not what a feature means."""
    text = json.dumps({"label": label, "description": "The examples share nothing."})
    assert parse_answer.read(text) is None
    assert parse_answer.abstention(text) == "The examples share nothing."


@pytest.mark.parametrize("value", ["true", "True", "yes", 1, True, "The samples differ."])
def test_an_abstention_may_be_text(value: object) -> None:
    """ "true" in quotes was words."""
    text = json.dumps({"abstain": value, "label": "", "description": "Nothing in common."})
    assert parse_answer.read(text) is None
    assert parse_answer.abstention(text)


def test_a_missing_half_is_not_the_word_none() -> None:
    """null became "None"."""
    one = parse_answer.read('{"label": null, "description": "A red flag."}')
    other = parse_answer.read('{"label": "red flag", "description": null, "abstain": "false"}')
    assert one is not None and one.label == "A red flag."
    assert other is not None and other.description == "red flag"


@pytest.mark.parametrize(
    "text",
    [
        "Pictures of pasta alla carbonara.",
        "Red flags",
        'The German words "der", "die" and "das" and other articles',
        "Casa Blanca and similar names of places",
        "jalapeño peppers",
        "crème brûlée",
        "Text in French such as 'les drapeaux rouges'",
        "chat windows on a screen",
        "digits",
        "sushi",
    ],
)
def test_english_stays_english(text: str) -> None:
    """Words about another language, and loanwords, are English."""
    assert is_english(text)


def test_a_refusal_that_a_feature_is_about_is_words() -> None:
    """A feature may fire on refusals."""
    text = json.dumps({"label": "refusals", "description": "Refusals such as 'I cannot help'."})
    said = parse_answer.read(text)
    assert said is not None and said.label == "refusals"


@pytest.mark.parametrize(
    ("value", "confidence"),
    [("0.9", 0.9), ("85%", 0.85), (1.5, 1.0), ("9/10", 0.9), (85, 0.85), (7, 0.5), (True, 0.5),
     (None, 0.5), (float("inf"), 0.5), ("0,9", 0.9), ([], 0.5)],
)  # fmt: skip
def test_confidence_is_read_as_it_is_written(value: object, confidence: float) -> None:
    """1.5 was 0.015, and "0.9" nothing."""
    assert parse_answer.confidence_of({"confidence": value}) == pytest.approx(confidence)


@pytest.mark.parametrize(
    ("text", "fit"),
    [('{"fit": "3"}', 1.0), ('{"Fit": 1.5}', 0.5), ("3", 1.0), ('"2"', 2 / 3),
     ('{"fit": "3/3"}', 1.0),
     ('<think>{"fit": 0}?</think>{"fit": 3}', 1.0), ('[{"fit": 0}]', 0.0)],
)  # fmt: skip
def test_a_judgement_is_read_as_it_is_written(text: str, fit: float) -> None:
    """A number in quotes made every judgement "undecided"."""
    assert parse_answer.fit_of(text) == pytest.approx(fit)


@pytest.mark.parametrize(
    "text", ['{"fit": true}', '{"fit": 10}', '{"fit": -1}', '{"fit": NaN}', '{"fit": "85%"}', "yes",
             '{"fit": null}', '{"fit": [3]}', '{"score": 3}', "7", "true"]
)  # fmt: skip
def test_what_is_no_judgement_is_none(text: str) -> None:
    """A number off the scale says nothing of the sample."""
    with pytest.raises(parse_answer.UnreadableError):
        parse_answer.fit_of(text)


def test_half_a_surrogate_pair_can_be_written() -> None:
    """It ended an import and a run in a traceback."""
    said = parse_answer.read(
        '{"description": "A red \\ud83d flag.", "label": "red \\ud83d flag \\ud83d\\ude00"}'
    )
    assert said is not None and said.label == "red \ufffd flag 😀"
    assert said.description.encode()
    assert wellformed.loads('{"a\\ud83d": ["\\udc00", "\\ud83d\\ude00", 1]}') == {
        "a\ufffd": ["\ufffd", "😀", 1]
    }


BITS = st.sampled_from(
    ["<think>", "</think>", "{", "}", "[", "]", '"', "'", ":", ",", "```json", "```", "null",
     "true",
     '"label"', '"description"', '"abstain"', '"fit"', "3", "NaN", "1e999", "\\ud83d",
     "\ud83d", "\x00",
     "<|channel|>analysis<|message|>", "assistantfinal", FINAL, DRAFT, '{"fit": 3}', "I'm sorry",
     "◁think▷", "\u202e", " ", "\n", "\\", "“", "9" * 30]
)  # fmt: skip
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(["3", "null", "N/A", "I cannot", "\ud83d", "85%"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["label", "description", "abstain", "confidence", "category", "fit",
                         "answer",
                         "choices", "message", "content", "error", "usage", "finish_reason", "text",
                         "type", "refusal", "tool_calls", "function", "arguments", "detail",
                         "Label"]),
        inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


def harmless(text: str) -> None:
    """Whatever a reply says: words that can be written and shown, or a reason."""
    try:
        said = parse_answer.read(text)
        if said is None:
            parse_answer.abstention(text).encode()
        else:
            for one in (said.label, said.description):
                assert one.encode() and not set(one) & set("<>`{}\x00\n")
            assert said.label.lower() not in ("none", "null", "n/a", "unknown")
            assert 0 <= said.confidence <= 1
    except parse_answer.UnreadableError as error:
        assert str(error).encode("utf-8", "strict")
    with contextlib.suppress(parse_answer.UnreadableError):
        assert 0 <= parse_answer.fit_of(text) <= 1


@MANY
@given(st.lists(BITS, max_size=25).map("".join) | st.text(max_size=200))
def test_no_string_is_too_strange(text: str) -> None:
    """A reply is text from outside."""
    harmless(text)


@MANY
@given(TREES)
def test_no_tree_is_too_strange(tree: object) -> None:
    """JSON of any shape, under any of our keys."""
    harmless(json.dumps(tree))


@MANY
@given(TREES, st.binary(max_size=60), st.sampled_from([b"", b"<html>", b"data: {", b"{"]))
def test_no_body_is_too_strange(tree: object, noise: bytes, before: bytes) -> None:
    """What comes with status 200 may be anything: a completion, or a sentence about it."""
    for body in (json.dumps(tree).encode(), before + noise,
                 json.dumps({"choices": [{"message": tree}]}).encode(),
                 json.dumps({"choices": tree, "usage": tree}).encode()):  # fmt: skip
        try:
            read = completion.completion(body)
        except completion.NotACompletionError as error:
            assert str(error).encode() and "\n" not in str(error)
        else:
            assert read.text.encode() is not None and read.prompt_tokens >= 0


@pytest.mark.parametrize(
    ("found", "told"),
    [({"error": {"message": "a"}}, "a"), ({"error": "a"}, "a"), ({"detail": "a"}, "a"),
     ({"detail": [{"loc": ["body", "seed"], "msg": "a"}]}, "body.seed: a"), ({"message": "a"}, "a"),
     ({"object": "error", "message": "a", "code": 400}, "a"), ({"errors": ["a", "b"]}, "a; b"),
     ([{"error": {"message": "a"}}], "a"), ({"data": 1}, "")],
)  # fmt: skip
def test_an_error_of_any_shape_is_told(found: Any, told: str) -> None:
    """Only {"error": {"message"}} was."""
    assert completion.error_text(found) == told


@pytest.mark.parametrize(
    ("message", "text"),
    [({"content": [{"type": "thinking", "thinking": DRAFT}, {"type": "text", "text": FINAL}]},
      FINAL),
     ({"content": FINAL, "reasoning_content": DRAFT}, FINAL),
     ({"content": None, "reasoning": DRAFT}, ""),
     ({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": FINAL}}]}, FINAL),
     ({"content": {"text": FINAL}}, FINAL), ({"content": None}, ""), ({"content": 3}, "")],
)  # fmt: skip
def test_content_of_any_shape_is_read_and_thinking_is_not(message: Any, text: str) -> None:
    """Thinking in a field of its own is no answer either."""
    assert (
        completion.completion(json.dumps({"choices": [{"message": message}]}).encode()).text == text
    )


@pytest.mark.parametrize(
    "text",
    [
        f"{FINAL}\nOn reflection, I'm sorry, but I can't help with that.",
        json.dumps({"label": "images", "description": "It seems the images were not provided."}),
        json.dumps({"label": "x", "description": "Lo siento, no puedo ayudar con eso"}),
        json.dumps({"label": "x", "description": "Desculpe, não posso ajudar"}),
        json.dumps({"label": "红旗", "description": "A red flag in the picture."}),
        json.dumps({"label": "rote Fahne", "description": "A red flag in the picture."}),
    ],
)
def test_what_is_taken_back_or_foreign_is_no_words(text: str) -> None:
    """Without: a rejected draft, a refusal or a foreign label becomes a feature's name."""
    with pytest.raises(parse_answer.UnreadableError):
        parse_answer.read(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{FINAL}\nI'm sorry if this is not precise.",
        json.dumps([FINAL]),
        json.dumps({"label": "red flag", "description": "A red flag on a pole."}),
        json.dumps({"label": '"de la"', "description": "The words de la in Spanish text."}),
    ],
)
def test_answers_beside_politeness_lists_and_quoted_tokens_stay(text: str) -> None:
    """Without: a reader of refusals swallows answers."""
    said = parse_answer.read(text)
    assert said is not None and said.label in ("red flag", "de la")
