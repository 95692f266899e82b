"""The recipe's sheets: every question stands where it would stand if it were asked alone."""

from __future__ import annotations

import numpy as np
import torch
from recipes.sprite_llava.asking import DRILL, ask, drill
from recipes.sprite_llava.batches import IGNORE, Writer, pack
from recipes.sprite_llava.practice import for_reader

from semascope.corpus.sample import Question
from semascope.corpus.scenes import SpritePack
from semascope.corpus.scenes.language import QuestionWriter

QUESTIONS = [
    Question("describe", "What do you see?", "a cat and a dog"),
    Question("position", "What is on the left?", "a cat"),
    Question("colour", "What colour is the cat?", "grey"),
]


def _tokenize(text: str) -> list[int]:
    return [ord(c) for c in text]


def _rows(kept: list[int] | None = None, talk: bool = False) -> tuple[Writer, list[list[int]]]:
    """Positions of every question of one sheet, apart."""
    writer = Writer(_tokenize)
    sheet = writer.sheet(16, QUESTIONS, talk, kept)
    numbers = sorted(set(sheet.segment) - {0})
    of = [
        [p for p, s in zip(sheet.positions, sheet.segment, strict=True) if s == n] for n in numbers
    ]
    return writer, of


def test_every_question_apart_begins_right_after_the_picture() -> None:
    """The second and third once began ever further away: asked alone, they were strangers."""
    writer, rows = _rows()
    first = len(writer.user) + 16
    assert [row[0] for row in rows] == [first] * 3
    assert all(row == list(range(first, first + len(row))) for row in rows)


def test_a_conversation_goes_on_from_question_to_question() -> None:
    """One segment, no place twice."""
    writer, rows = _rows(talk=True)
    assert len(rows) == 1
    assert rows[0] == list(range(len(writer.user) + 16, len(writer.user) + 16 + len(rows[0])))


def test_left_out_background_moves_nothing() -> None:
    """What is kept of the picture, and the questions, stand where they stood."""
    _, whole = _rows()
    writer, rows = _rows(kept=[0, 5, 15])
    assert rows == whole
    sheet = writer.sheet(16, QUESTIONS, kept=[0, 5, 15])
    places = [p for p, i in zip(sheet.positions, sheet.ids, strict=True) if i == -1]
    assert places == [len(writer.user) + k for k in (0, 5, 15)]


def test_no_question_sees_another() -> None:
    """The mask opens the picture and the question itself, and nothing that comes later."""
    sheet = Writer(_tokenize).sheet(4, QUESTIONS)
    seen = pack([sheet]).mask[0, 0] == 0
    segment = torch.tensor(sheet.segment)
    for number in (1, 2, 3):
        mine = segment == number
        assert not seen[mine][:, (segment != number) & (segment != 0)].any()
        assert seen[mine][:, segment == 0].all()
    assert not torch.triu(seen, 1).any()
    answers = [i for i in sheet.labels if i != IGNORE]
    assert len(answers) == sum(len(q.answer) for q in QUESTIONS) + 3 * len("<|im_end|>")


def test_a_drill_asks_all_that_is_hard_and_nothing_twice() -> None:
    """Every side that has a furthest thing, every coloured thing; a description only sometimes."""
    pack_ = SpritePack.load()
    corpus, asker = for_reader(pack_, 3), QuestionWriter(pack_)
    rng = np.random.default_rng(0)
    hard = usual = described = 0
    for row in range(60):
        scene = corpus.scene(row)
        questions = drill(asker, scene, rng)
        texts = [(q.kind, q.text) for q in questions]
        assert questions and len(texts) == len(set(texts))
        hard += sum(q.kind == "position" for q in questions)
        described += any(q.kind == "describe" for q in questions)
        usual += sum(q.kind == "position" for q in ask(asker, scene, rng, rounds=1))
    assert hard > 1.5 * usual
    assert 0 < described < 60 * 2 * DRILL["describe"]
