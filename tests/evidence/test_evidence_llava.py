"""A real processor and a real vision model (of noise): rectangles, truth and heat agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from evidence_fakes import ListCorpus
from PIL import Image

from semascope.atlas import Atlas
from semascope.corpus.sample import Sample, SceneObject, SceneTruth, Turn
from semascope.dictionary.types import Codes
from semascope.evidence import Evidence, gather
from semascope.evidence.store.publish import publish
from semascope.subject.testing import tiny
from semascope.subject.types import Kind

SITE = "resid_post.0"


class Random:
    """Directions drawn at random, TopK of 6."""

    def __init__(self, d: int) -> None:
        self.name, self.site, self.width, self.d_in = "main", SITE, 64, d
        self.weight = torch.randn(64, d, generator=torch.Generator().manual_seed(1))

    def encode(self, x: torch.Tensor) -> Codes:
        top = torch.relu(x @ self.weight.T).topk(6, dim=1)
        return Codes(top.values, top.indices)

    def directions(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weight[ids]


def rows() -> list[Sample]:
    """Pictures of several shapes with a thing in a corner; texts between them."""
    rng, out = np.random.default_rng(0), []
    for i in range(24):
        if i % 3 == 2:
            out.append(Sample(f"t{i}", text=f"a plain text about {i} things"))
            continue
        w, h = [(32, 32), (64, 24), (20, 50)][i % 3]
        pixels = rng.integers(0, 256, (h, w, 3), np.uint8)
        mask = np.zeros((h, w), bool)
        mask[: h // 2, : w // 2] = True
        thing = SceneObject("cup", "thing", (0, 0, w // 2, h // 2), mask)
        truth = SceneTruth((thing,), "noise", "a cup")
        turns = (Turn("user", f"what is this, number {i}?", 1), Turn("assistant", "a cup"))
        out.append(Sample(f"p{i}", turns=turns, images=(Image.fromarray(pixels),), truth=truth))
    return out


def test_from_pixels_to_atlas(tmp_path: Path) -> None:
    """The whole way once, on a subject of the real kind."""
    subject = tiny("llava")
    dictionary = Random(subject.sites()[SITE])
    gather(
        subject,
        ListCorpus(rows()),
        [dictionary],
        tmp_path / "e",
        media=tmp_path / "m",
        batch_size=4,
    )
    evidence = Evidence.open(tmp_path / "e", "main")
    assert evidence.tokens(Kind.IMAGE) > 0
    assert evidence.tokens(Kind.TEXT) > 0
    assert evidence.tokens(Kind.SPECIAL) == evidence.tokens(Kind.PAD) == 0
    seen = 0
    for number in range(len(evidence.shown)):
        shown = evidence.shown.get(number)
        for thing in shown.truth.get("objects", ()):
            (w, h), on = shown.sizes[0], shown.kinds == Kind.IMAGE
            left, top, right, bottom = shown.rects[on].T
            assert (right > 0).all()
            inside = (right <= w / 2) & (bottom <= h / 2) & (left >= 0) & (top >= 0)
            outside = (left >= w / 2) | (top >= h / 2)
            patches = thing["patches"][on]
            assert np.allclose(patches[inside], 1, atol=1e-2)
            assert not patches[outside].any()
            assert not thing["patches"][~on].any()
            seen += 1
    assert seen > 5
    index = int(evidence.alive()[0])
    record = evidence.feature(index)
    with Atlas.open(tmp_path / "atlas.db") as atlas:
        for _ in range(2):
            publish(evidence, atlas, exemplars=None)
        detail = atlas.feature(f"{SITE}/main", index)
    assert len(detail.of("top")) == len(record.top)
    for stored, mine in zip(detail.of("top"), record.top, strict=True):
        np.testing.assert_array_equal(stored.activations, mine.activations)
        np.testing.assert_array_equal(stored.sample.rects, mine.shown.rects)
        assert stored.sample.tokens == mine.shown.tokens
    assert len(detail.of("silent")) == len(record.silent)
    assert detail.row.max == record.stats["max"]
