"""Cutting texts into pieces: the same piece for everybody, and no hint in where it fires."""

from dataclasses import replace

import numpy as np
import pytest
from planted import World, evidence, on_tokens, text

from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.scorers.detection import DetectionScorer
from semascope.explain.text.documents import DocumentLibrary
from semascope.explain.text.excerpts import ExcerptCutter
from semascope.explain.types import Explanation
from semascope.subject.types import Kind


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=240)


def test_a_text_is_cut_around_its_peak_on_a_fixed_grid() -> None:
    tokens = [f" w{i}" for i in range(100)]
    shown = text(0, tokens, "explain")
    cases = ExcerptCutter(32).cases(
        evidence(0, [on_tokens(shown, " w70")], [text(1, tokens, "explain")])
    )
    piece = cases.firing[0]
    assert piece.shown.tokens == shown.tokens[64:96]
    assert piece.shown.tokens[int(piece.activations.argmax())] == " w70"
    assert len(cases.silent[0].tokens) == 32
    assert cases.silent[0].id.startswith("text/1@")


def test_pictures_stay_whole_and_are_told_from_pictures(world: World) -> None:
    record = world.sees(0, "mango")
    cases = ExcerptCutter().cases(evidence(0, record.top, [*world.texts[:5], *record.silent[:5]]))
    assert cases.firing == list(record.top)
    assert all(s.media for s in cases.silent)


def test_a_piece_is_cut_once_for_all_features(world: World) -> None:
    cutter = ExcerptCutter()
    a = cutter.cases(world.reads(0, " harbour"))
    b = cutter.cases(world.reads(1, " harbour"))
    assert all(x.shown is y.shown for x, y in zip(a.firing, b.firing, strict=True))


def test_a_common_word_in_long_texts_is_told_by_its_piece() -> None:
    """Nine texts of ten hold "harbour" somewhere, firing or not: only the piece tells."""
    rng = np.random.default_rng(0)

    def long(row: int, cell: int) -> list[str]:
        tokens = [f" {w}" for w in rng.choice(["old", "house", "stone", "river", "road"], 320)]
        tokens[32 * cell + 5] = " harbour"
        return tokens

    fired = []
    for row in range(40):
        tokens = long(row, int(rng.integers(0, 10)))
        fired.append(on_tokens(text(row, tokens, "score" if row % 2 else "explain"), " harbour"))
    silent = [
        text(100 + i, long(i, int(rng.integers(0, 10))), "score" if i % 2 else "explain")
        for i in range(40)
    ]
    record = evidence(0, fired, silent)
    named = VocabularyNamer().explain([record])[0]
    assert named.label == "harbour"
    words = Explanation(0, "Text with harbour.", "harbour")
    score = DetectionScorer().score([record], [words])[0]
    assert score.value > 0.8, "one silent piece in ten holds the word; nine whole texts in ten do"


def test_a_picture_without_a_caption_has_the_words_beside_it(world: World) -> None:
    shown = world.scenes[0]
    assert DocumentLibrary().doc(shown).caption == shown.truth["caption"]
    kinds = shown.kinds.copy()
    kinds[1] = Kind.TEXT
    bare = replace(shown, truth={}, tokens=("<s>", " a zebra", *shown.tokens[2:]), kinds=kinds)
    doc = DocumentLibrary().doc(bare)
    assert doc.caption == " a zebra"
