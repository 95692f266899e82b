"""The recipe's practice scenes: what a learner is given to learn from must be what it says."""

from __future__ import annotations

import numpy as np
import pytest
from recipes.sprite_llava.practice import Maps, OneFeeling, OneWord, Pages, for_reader, for_tower

from semascope.corpus.scenes import SpritePack


@pytest.fixture(scope="module")
def pack() -> SpritePack:
    return SpritePack.load()


def drawn(composer: object, n: int = 25) -> list:
    return [composer.scene(np.random.default_rng((5, i))) for i in range(n)]  # type: ignore[attr-defined]


def test_pages_hold_several_words(pack: SpritePack) -> None:
    """A learner that meets one word a scene does not learn to read."""
    pages = Pages(pack, counts=(0, 0, 0, 0, 0, 0.5, 0.5), kinds=(0.0, 0.0, 0.0, 1.0))
    words = [[t.word for t in scene.things] for scene in drawn(pages)]
    assert all(len(set(page)) == len(page) >= 4 and all(page) for page in words)


def test_one_word_one_feeling_and_maps(pack: SpritePack) -> None:
    """Questions about them have one answer."""
    for scene in drawn(OneWord(pack)):
        assert sum(t.word is not None for t in scene.things) == (1 if scene.things else 0)
    for scene in drawn(OneFeeling(pack)):
        assert sum(t.emotion is not None for t in scene.things) == (1 if scene.things else 0)
    assert all(scene.panel for scene in drawn(Maps(pack), 8))


@pytest.mark.parametrize("make", [for_tower, for_reader])
def test_practice_is_the_same_for_a_seed(pack: SpritePack, make: object) -> None:
    """A run that is resumed goes on with the scenes that it would have had."""
    one, two = make(pack, 3), make(pack, 3)  # type: ignore[operator]
    for row in (0, 7, 2**39):
        first, second = one.scene(row), two.scene(row)
        assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
        assert [t.name for t in first.things] == [t.name for t in second.things]
    assert len({tuple(t.name for t in one.scene(r).things) for r in range(12)}) > 8
