"""The embedded model: it loads from what ships, looks where its map says, and sees.

SmolLM2's own weights are no part of the package; ``make test`` fetches them first. Where they
could not be had these tests skip and say so.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from semascope.corpus.sample import Sample, Turn, Video
from semascope.corpus.scenes import SceneCorpus
from semascope.evaluate.subject import answer_batch, ask, names
from semascope.subject import Subject
from semascope.subject.embedded import smollm
from semascope.subject.embedded.load import DATA, card
from semascope.subject.types import Kind

needs = [
    pytest.mark.skipif(
        smollm.fetched() is None, reason="SmolLM2 is not fetched: semascope model fetch"
    ),
    pytest.mark.skipif(
        not (DATA / "weights.safetensors").is_file(), reason="no trained weights here"
    ),
    pytest.mark.xdist_group("embedded"),
]
pytestmark = needs


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.load("sprite-llava", device="cpu")


def test_what_ships_is_small() -> None:
    shipped = sum(f.stat().st_size for f in DATA.iterdir() if f.is_file())  # type: ignore[attr-defined]
    assert shipped <= 60e6


def test_every_image_token_looks_at_its_sixteenth_of_the_picture(subject: Subject) -> None:
    picture = Image.new("RGB", (256, 64))
    batch = subject.encode(
        [Sample("x", turns=(Turn("user", "What?", images=1),), images=(picture,))]
    )
    seen = batch.maps[0]
    image = seen.kinds == Kind.IMAGE
    assert image.sum() == 64
    assert np.array_equal(seen.rects[image][0], [0, 0, 32, 8])
    assert np.array_equal(seen.rects[image][-1], [224, 56, 256, 64])


def test_it_names_things_that_it_sees_far_beyond_chance(subject: Subject) -> None:
    """One name in 1,380 is right by chance; it knows two of three."""
    corpus = SceneCorpus(40, seed=77, split="heldout")
    scenes = [corpus.sample(r) for r in range(40)]
    said = [
        a
        for i in range(0, 40, 8)
        for a in answer_batch(
            subject, [ask(s, "What is in the picture?", s.id) for s in scenes[i : i + 8]], 48
        )
    ]
    hits = total = 0
    for sample, answer in zip(scenes, said, strict=True):
        assert sample.truth is not None
        there = set(names(sample.truth.caption))
        hits += len(there & set(names(answer)))
        total += len(there)
    assert hits > 0.5 * total


def test_it_still_talks(subject: Subject) -> None:
    sample = Sample("t", turns=(Turn("user", "What is the capital of France?"),))
    assert "Paris" in subject.generate(sample, max_new_tokens=24).text


def test_the_answer_depends_on_the_picture(subject: Subject) -> None:
    corpus = SceneCorpus(8, seed=5)
    a, b = (ask(corpus.sample(r), "What is in the picture?", str(r)) for r in (1, 2))
    batch = subject.encode([a, b])
    logits = subject.logits(batch)[:, -1]
    assert not torch.allclose(logits[0], logits[1], atol=0.1)


def test_the_card_says_what_was_measured() -> None:
    record = card()
    figures = record["figures"]
    wanted = (
        "caption_f1",
        "presence",
        "position",
        "colour",
        "count",
        "word",
        "emotion",
        "perplexity_ratio",
    )
    assert all(isinstance(figures[k], float) for k in wanted)
    assert f"--samples {figures['samples']}" in record["command"]


def test_a_video_is_shown_as_pictures(subject: Subject) -> None:
    """It reads no videos: it is shown at most eight frames, and heat goes to the right ones."""
    frames = tuple(sample.images[0] for _, sample in SceneCorpus(12, split="heldout").read())
    turns = (Turn("user", "What is in the picture?", videos=1),)
    film = Sample("film", turns=turns, videos=(Video(frames),))
    batch = subject.encode([film], max_tokens=None)
    shown = sorted(set(batch.maps[0].image.tolist()) - {-1})
    assert len(shown) == 8 and shown[0] == 0 and shown[-1] == 11
    found = subject.run(batch, ["projector"])["projector"]
    alone = Sample("one", turns=(Turn("user", "What?", 1),), images=(frames[11],))
    last = subject.run(subject.encode([alone]), ["projector"])["projector"]
    torch.testing.assert_close(found[-1:], last, atol=1e-4, rtol=1e-4)
    assert subject.generate(film, max_new_tokens=3).tokens
