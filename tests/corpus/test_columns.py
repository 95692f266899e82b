"""Columns as people have them: which hold words and pictures, and what is told of the others."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from semascope.corpus import Sample, open_corpus
from semascope.errors import CorpusError


def encoded() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PICTURE = encoded()


def one(folder: Path, row: object, **more: object) -> Sample:
    (folder / "x.jsonl").write_text(json.dumps(row))
    (sample,) = (sample for _, sample in open_corpus(folder / "x.jsonl", **more).read())  # type: ignore[arg-type]
    return sample


TALKS: list[tuple[dict[str, object], list[tuple[str, str]]]] = [
    ({"question": "Which?", "answer": "red"}, [("user", "Which?"), ("assistant", "red")]),
    ({"Question": "Which?", "Answer": 7}, [("user", "Which?"), ("assistant", "7")]),
    (
        {"question": "Which?", "answers": ["red", "blue", "blue"]},
        [("user", "Which?"), ("assistant", "blue")],
    ),
    (
        {"question": "Which?", "answers": [{"answer": "red", "id": 1}]},
        [("user", "Which?"), ("assistant", "red")],
    ),
    ({"query": {"en": "Which?"}, "answers": ["red"]}, [("user", "Which?"), ("assistant", "red")]),
    (
        {"question": "Which?", "choices": ["red", "blue"], "answer": 1},
        [("user", "Which?\nA. red\nB. blue"), ("assistant", "blue")],
    ),
    ({"query": "Which?", "response": "red"}, [("user", "Which?"), ("assistant", "red")]),
    ({"prompt": "Which?", "completion": "red"}, [("user", "Which?"), ("assistant", "red")]),
    (
        {"instruction": "Sum up.", "input": "Long.", "output": "Short."},
        [("user", "Sum up.\nLong."), ("assistant", "Short.")],
    ),
    (
        {"texts": [{"user": "Which?", "assistant": "Red.", "source": "mine"}]},
        [("user", "Which?"), ("assistant", "Red.")],
    ),
    (
        {"conversations": {"from": ["human", "gpt"], "value": ["Which?", "Red."]}},
        [("user", "Which?"), ("assistant", "Red.")],
    ),
    (
        {"messages": json.dumps([{"role": "user", "content": "Which?"}])},
        [("user", "Which?")],
    ),
    (
        {
            "prompt": [{"role": "user", "content": "Which?"}],
            "completion": [{"role": "assistant", "content": "Red."}],
        },
        [("user", "Which?"), ("assistant", "Red.")],
    ),
    (
        {"query": "And?", "response": "Blue.", "history": [["Which?", "Red."]], "system": "Be."},
        [("system", "Be."), ("user", "Which?"), ("assistant", "Red."), ("user", "And?"),
         ("assistant", "Blue.")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "talk"), TALKS)
def test_questions_and_answers_are_turns(
    tmp_path: Path, row: dict[str, object], talk: list[tuple[str, str]]
) -> None:
    """Else the pictures are read without one of the words that stand beside them."""
    sample = one(tmp_path, {"image": PICTURE, **row})
    assert [(turn.role, turn.text) for turn in sample.turns] == talk
    assert next(turn.images for turn in sample.turns if turn.role == "user") == 1


@pytest.mark.parametrize(
    "row",
    [
        {"caption": "words"},
        {"TEXT": "words"},
        {"captions": ["words", "more"]},
        {"sentences": [{"raw": "words"}, {"raw": "more"}]},
        {"caption_0": "words", "caption_1": "more"},
        {"alt_text": "words"},
        {"short_caption": "words"},
    ],
)
@pytest.mark.parametrize("image", ["image", "Images", "jpg", "image_path", "image_1"])
def test_captions_under_any_usual_name(tmp_path: Path, row: dict[str, object], image: str) -> None:
    """A name that is not known must not drop the words in silence."""
    sample = one(tmp_path, {image: PICTURE, **row})
    assert (sample.text, len(sample.images)) == ("words", 1)


def test_what_was_used_as_what_and_what_was_not(tmp_path: Path) -> None:
    """Columns that were left unused, and captions beyond the first, are counted, once a row."""
    rows = [{"caption": ["a", "b"], "url": "http://x", "n": 1}, {"caption": ["c"], "n": None}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = open_corpus(tmp_path / "x.jsonl")
    assert len(list(corpus.read())) == len(list(corpus.read())) == 2
    assert {role: dict(columns) for role, columns in corpus.skipped.used.items()} == {
        "text": {"caption": 2}
    }
    assert dict(corpus.skipped.unused) == {"url": 1, "n": 1}
    assert dict(corpus.skipped.left) == {"captions beyond a picture's first": 1}


def test_a_table_without_known_columns_lists_them(tmp_path: Path) -> None:
    """Every row would be skipped; the user can say which column holds what."""
    with pytest.raises(CorpusError, match=r"its columns: body_html, shot"):
        one(tmp_path, {"body_html": "words", "shot": PICTURE})
    sample = one(
        tmp_path,
        {"body_html": "words", "shot": PICTURE},
        columns=("text=body_html", "image=shot"),
    )
    assert (sample.text, len(sample.images)) == ("words", 1)
    with pytest.raises(CorpusError, match=r"no column 'gone' in x\.jsonl; there are body_html"):
        one(tmp_path, {"body_html": "words"}, columns=("text=gone",))
    with pytest.raises(CorpusError, match="form text=NAME"):
        one(tmp_path, {"body_html": "words"}, columns=("words",))
    asked = open_corpus(f"{tmp_path / 'x.jsonl'}?question=body_html")
    assert [sample.turns[0].text for _, sample in asked.read()] == ["words"]


def test_text_that_looks_like_json_stays_text(tmp_path: Path) -> None:
    """A document that begins with a bracket is not a list of captions."""
    assert one(tmp_path, {"text": "[1, 2, 3]"}).text == "[1, 2, 3]"
    assert one(tmp_path, {"text": '["x"]'}).text == '["x"]'
