"""Scenes: what is said of a picture must be what is in it, and the same for everybody."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from semascope.corpus.sample import Corpus
from semascope.corpus.scenes import SceneCorpus, SpritePack
from semascope.corpus.scenes.colours import NAMES, PALETTE, dominant, name_pixels
from semascope.corpus.scenes.compose import HELD_OUT_FONT, held_out_pair
from semascope.corpus.scenes.language import NUMBERS, caption, extreme, phrase
from semascope.errors import CorpusError


@pytest.fixture(scope="module")
def train() -> SceneCorpus:
    return SceneCorpus(200, seed=5, turns="questions")


def test_the_pack_has_a_thousand_named_pictures_in_many_categories_and_every_nation() -> None:
    pack = SpritePack.load()
    assert len({s.key for s in pack.sprites}) >= 1000
    assert len(pack.by_category) >= 20
    flags = {s.name for s in pack.by_category["flag"]}
    assert len(flags) >= 193
    assert "flag of Bolivia" in flags
    assert "french fries" in {s.name for s in pack.sprites}
    assert all(1 <= len(s.name.split()) <= 5 for s in pack.sprites)


def test_it_is_a_corpus(train: SceneCorpus) -> None:
    assert isinstance(train, Corpus)
    rows = [row for row, _ in train.read(7, 11)]
    assert rows == [7, 8, 9, 10]
    assert len(list(train.read(198, 400))) == 2


def test_a_row_is_the_same_whoever_asks_and_whenever(train: SceneCorpus) -> None:
    again = SceneCorpus(1000, seed=5, turns="questions")
    list(again.read(0, 3))
    for row in (3, 77):
        a, b = train.sample(row), again.sample(row)
        assert np.array_equal(np.asarray(a.images[0]), np.asarray(b.images[0]))
        assert a.turns == b.turns
    other = SceneCorpus(200, seed=6).sample(3)
    assert not np.array_equal(np.asarray(train.sample(3).images[0]), np.asarray(other.images[0]))


def test_fingerprint_changes_with_every_option() -> None:
    made = [
        SceneCorpus(10), SceneCorpus(11), SceneCorpus(10, seed=1), SceneCorpus(10, split="heldout"),
        SceneCorpus(10, size=96), SceneCorpus(10, turns="none"),
    ]  # fmt: skip
    assert len({c.fingerprint() for c in made}) == len(made)


def test_masks_are_what_one_sees(train: SceneCorpus) -> None:
    """No pixel belongs to two things; boxes are tight; nothing drawn is wholly hidden often."""
    hidden = total = 0
    for _, sample in train.read():
        assert sample.truth is not None
        masks = [o.mask for o in sample.truth.objects]
        for o in sample.truth.objects:
            total += 1
            if not o.mask.any():
                hidden += 1
                continue
            rows, cols = np.flatnonzero(o.mask.any(1)), np.flatnonzero(o.mask.any(0))
            assert o.box == (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1)
        if masks:
            assert np.stack(masks).sum(0).max() <= 1
    assert hidden <= 0.01 * total


def test_a_plain_shape_has_its_colour_inside_its_mask() -> None:
    checked = 0
    for row in range(400):
        scene, _ = SceneCorpus(400, seed=9).scene(row)
        pixels = np.asarray(scene.image)
        for o in scene.objects:
            if o.category == "shape" and o.colour and o.mask.sum() > 200:
                paint = np.median(pixels[o.mask], axis=0)
                assert np.abs(paint - np.asarray(PALETTE[o.colour])).max() <= 14
                checked += 1
    assert checked > 20


def test_counts_and_captions_name_all_things(train: SceneCorpus) -> None:
    seen: Counter[int] = Counter()
    for row in range(200):
        scene, truth = train.scene(row)
        seen[len(scene.things)] += 1
        assert truth.caption == caption(scene.things)
        for thing in scene.things:
            assert thing.name.removeprefix("word ") in truth.caption
        count = next(q for q in truth.questions if q.kind == "count")
        assert count.answer == NUMBERS[len(scene.objects)]
    assert set(seen) == set(range(7))


def test_an_empty_picture_holds_nothing() -> None:
    corpus = SceneCorpus(400, seed=2)
    empty = next(t for t in (corpus.scene(r)[1] for r in range(400)) if not t.objects)
    assert empty.caption == "nothing"
    assert {q.kind for q in empty.questions} == {"describe", "count", "presence"}
    assert all(q.answer == "no" for q in empty.questions if q.kind == "presence")


def test_presence_is_balanced_and_true(train: SceneCorpus) -> None:
    answers: Counter[str] = Counter()
    for row in range(200):
        scene, truth = train.scene(row)
        concepts = {t.concept for t in scene.things} | {t.name for t in scene.things}
        for q in truth.questions:
            if q.kind in ("presence", "map"):
                answers[q.answer] += 1
                assert (q.subject in concepts) == (q.answer == "yes")
    assert 0.4 < answers["yes"] / answers.total() < 0.6


def test_positions_are_true_and_clear(train: SceneCorpus) -> None:
    asked = 0
    for row in range(200):
        scene, truth = train.scene(row)
        for q in truth.questions:
            if q.kind == "position":
                side = q.text.rstrip("?").split()[-1]
                at = extreme(scene.objects, side, scene.image.size)
                assert at is not None
                assert q.answer == phrase(scene.things[at])
                asked += 1
    assert asked > 50


def test_panels_of_flags_are_asked_as_maps() -> None:
    corpus = SceneCorpus(300, seed=3)
    panels = [(s, t) for s, t in map(corpus.scene, range(300)) if s.panel]
    assert panels
    for scene, truth in panels:
        assert len(scene.things) in (4, 6)
        assert {t.category for t in scene.things} == {"flag"}
        assert {q.answer for q in truth.questions if q.kind == "map"} == {"yes", "no"}


def test_held_out_pairs_never_train_and_always_test() -> None:
    def has_pair(names: list[str]) -> bool:
        return any(held_out_pair(a, b) for i, a in enumerate(names) for b in names[:i])

    seen, held = SceneCorpus(300, seed=1), SceneCorpus(300, seed=1, split="heldout")
    for row in range(300):
        scene = seen.scene(row)[0]
        assert scene.panel or not has_pair([t.concept for t in scene.things])
        scene = held.scene(row)[0]
        if not scene.panel and len(scene.things) > 1:
            assert has_pair([t.concept for t in scene.things])


def test_held_out_styles_are_drawn_by_others() -> None:
    styles = {
        o.style for r in range(80) for o in SceneCorpus(80, split="styles").scene(r)[0].objects
    }
    trained = {o.style for r in range(80) for o in SceneCorpus(80).scene(r)[0].objects}
    assert "twemoji" in styles and HELD_OUT_FONT in styles
    assert "twemoji" not in trained and HELD_OUT_FONT not in trained


@pytest.mark.parametrize("size", [(32, 32), (300, 90), (97, 211)])
def test_any_size(size: tuple[int, int]) -> None:
    for row in range(20):
        scene, _ = SceneCorpus(20, size=size).scene(row)
        assert scene.image.size == size
        assert all(o.mask.shape == (size[1], size[0]) for o in scene.objects)


def test_bad_options_say_what_to_do() -> None:
    with pytest.raises(CorpusError, match="train, heldout, styles"):
        SceneCorpus(1, split="test")
    with pytest.raises(CorpusError, match="16 or more"):
        SceneCorpus(1, size=4)
    with pytest.raises(CorpusError, match="caption, questions or none"):
        SceneCorpus(1, turns="all")


def test_palette_colours_are_named_as_themselves() -> None:
    paint = np.array([PALETTE[n] for n in NAMES], np.uint8)
    assert [NAMES[i] for i in name_pixels(paint)] == list(NAMES)


def test_dominant_needs_a_clear_majority() -> None:
    half = np.zeros((10, 10, 4), np.uint8)
    half[..., 3] = 255
    half[:5, :, :3], half[5:, :, :3] = PALETTE["red"], PALETTE["blue"]
    assert dominant(half) is None
    half[:, :, :3] = PALETTE["green"]
    assert dominant(half) == "green"
    assert dominant(np.zeros((10, 10, 4), np.uint8)) is None
