"""Evidence of the vision side: the right patch, words left out, the language model beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evidence_fakes import ListCorpus
from PIL import Image

from semascope.corpus.sample import Sample, Turn
from semascope.dictionary.types import Codes
from semascope.errors import SubjectError
from semascope.evidence import Evidence, gather
from semascope.evidence.gathering.options import EvidenceOptions
from semascope.evidence.gathering.reader import EvidenceReader
from semascope.subject.testing import tiny
from semascope.subject.types import Kind

CELL, SIDE = 16, 4
"""The tiny subject sees 64 × 64 pixels as 4 × 4 patches."""
GREY, RED = (70, 70, 70), (250, 20, 20)


class Plain:
    """Plain directions: z = relu(x·w − t), each for itself."""

    def __init__(self, site: str, weight: torch.Tensor, bar: torch.Tensor) -> None:
        self.name, self.site, self.weight, self.bar = "plain", site, weight, bar
        self.width, self.d_in = weight.shape

    def encode(self, x: torch.Tensor) -> Codes:
        values = torch.relu(x @ self.weight.T - self.bar)
        return Codes(values, torch.arange(self.width).expand(len(x), -1))

    def directions(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weight[ids]


def picture(cell: int | None, ground: tuple[int, int, int] = GREY) -> Image.Image:
    """One colour, with one red cell."""
    pixels = np.full((CELL * SIDE, CELL * SIDE, 3), ground, np.uint8)
    if cell is not None:
        y, x = divmod(cell, SIDE)
        pixels[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL] = RED
    return Image.fromarray(pixels)


def seen(name: str, *images: Image.Image) -> Sample:
    turns = tuple(Turn("user", "look at this", 1) for _ in images)
    return Sample(name, turns=turns, images=images)


def reds(subject, site: str) -> Plain:  # type: ignore[no-untyped-def]
    """A direction that reads red, found on whole pictures; then one at random."""
    batch = subject.encode([seen("r", picture(None, RED)), seen("g", picture(None))])
    red, grey = subject.run(batch, [site])[site][:, -SIDE * SIDE :].mean(1)
    weight = torch.stack([red - grey, torch.randn(len(red))])
    bar = torch.stack([(red + grey) @ (red - grey) / 2, torch.zeros(())])
    return Plain(site, weight, bar)


@pytest.mark.parametrize("site", ["projector", "vision.1"])
def test_the_heat_stands_on_the_patch_that_is_red(site: str, tmp_path: Path) -> None:
    """Every exemplar's peak is the red cell, and its activations are those computed by hand."""
    subject = tiny("llava")
    rows, cells = [], {}
    for number, cell in enumerate((0, 3, 6, 9, 12, 15)):
        rows.append(seen(f"p{number}", picture(cell)))
        cells[len(rows) - 1] = [cell]
        rows.append(Sample(f"t{number}", text=f"{number} words and no picture, red or not"))
    rows.append(seen("two", picture(None), picture(5)))
    cells[len(rows) - 1] = [None, 5]
    dictionary = reds(subject, site)
    beside = Plain("resid_post.0", torch.randn(3, subject.d_model), torch.zeros(3))
    gather(subject, ListCorpus(rows), [dictionary, beside], tmp_path / "e", media=tmp_path / "m",
           batch_size=4)  # fmt: skip
    evidence = Evidence.open(tmp_path / "e", f"{site}/plain")
    found = evidence.feature(0).top
    assert len(found) == len(cells)
    for exemplar in found:
        sample = next(s for s in rows if s.id == exemplar.shown.id)
        cell = next(c for c in cells[rows.index(sample)] if c is not None)
        y, x = divmod(cell, SIDE)
        place = int(exemplar.activations.argmax())
        box = [x * CELL, y * CELL, (x + 1) * CELL, (y + 1) * CELL]
        assert exemplar.shown.rects[place].tolist() == box
        raw = subject.run(subject.encode([sample]), [site])[site]
        by_hand = dictionary.encode(raw[:, -SIDE * SIDE :].flatten(0, 1)).values[:, 0]
        on = exemplar.shown.kinds == Kind.IMAGE
        np.testing.assert_allclose(exemplar.activations[on], by_hand, rtol=1e-3, atol=1e-4)
        assert not exemplar.activations[~on].any()
    images = SIDE * SIDE * 8
    assert (evidence.tokens(Kind.IMAGE), evidence.tokens()) == (images, images)
    assert not evidence.stats("density_text").any()
    words = Evidence.open(tmp_path / "e", "resid_post.0/plain")
    assert words.tokens(Kind.IMAGE) == images
    assert words.tokens(Kind.TEXT) > 0
    gather(subject, ListCorpus(rows), [beside], tmp_path / "alone", media=tmp_path / "m",
           batch_size=4)  # fmt: skip
    alone = Evidence.open(tmp_path / "alone", "resid_post.0/plain")
    for name in ("fired", "density", "max"):
        assert np.array_equal(words.stats(name), alone.stats(name))


def test_a_batch_of_words_gives_no_token_there() -> None:
    subject = tiny("llava")
    reader = EvidenceReader(subject, {"p": reds(subject, "projector")}, EvidenceOptions())
    (read,) = reader([(0, Sample("t", text="words")), (1, Sample("u", text="more of them"))])
    assert not read.tokens["p"].any()
    assert not len(read.hits["p"].value)


def test_merged_patches_are_a_sentence_and_not_a_skipped_sample() -> None:
    subject = tiny("qwen2_vl")
    dictionary = Plain("projector", torch.randn(2, subject.d_model), torch.zeros(2))
    reader = EvidenceReader(subject, {"p": dictionary}, EvidenceOptions())
    with pytest.raises(SubjectError, match=r"such as resid_post\.0"):
        reader([(0, seen("p", picture(3)))])
