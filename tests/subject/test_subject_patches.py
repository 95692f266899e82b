"""The vision side seen token by token: right in every family, or refused with a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from semascope.corpus.sample import Sample, Turn
from semascope.errors import SubjectError
from semascope.subject.patches import is_pictured, laid_out
from semascope.subject.readable import readable
from semascope.subject.testing import VISION, tiny
from semascope.subject.types import Kind

ONE_TO_ONE = {
    "projector": {"vipllava", "llava", "gemma3", "paligemma"},
    "vision.0": {"llava", "vipllava", "paligemma"},
}
"""Families where patches and image tokens are one to one, by site."""


def sample(name: str, size: tuple[int, int], at: tuple[float, float] | None = None) -> Sample:
    """A grey picture, with a bright square at a place (as shares of its sides) if one is given."""
    w, h = size
    picture = Image.new("RGB", size, (60, 60, 60))
    if at is not None:
        x, y, r = at[0] * w, at[1] * h, min(w, h) / 16
        ImageDraw.Draw(picture).rectangle((x - r, y - r, x + r, y + r), fill=(255, 220, 0))
    return Sample(name, turns=(Turn("user", "what is this?", 1),), images=(picture,))


@pytest.mark.parametrize("family", VISION)
def test_the_projector_is_laid_over_its_own_tokens_or_refused(family: str) -> None:
    """What the language model reads at image tokens is what was laid there, up to its scale."""
    subject = tiny(family)
    samples = [sample("a", (64, 64), (0.3, 0.6)), sample("b", (96, 64), (0.8, 0.2))]
    samples.append(Sample("words", text="no picture at all"))
    batch = subject.encode(samples, max_tokens=None)
    sites = [site for site in ONE_TO_ONE if site in subject.sites()]  # Ovis2 has no projector
    found = subject.run(batch, [*sites, "resid_pre.0"])
    for site in sites:
        families = ONE_TO_ONE[site]
        if family not in families:
            with pytest.raises(SubjectError, match=r"one to one .* such as resid_post\.0"):
                laid_out(site, found[site], batch)
            continue
        x, there = laid_out(site, found[site], batch)
        kinds = np.stack([m.kinds for m in batch.maps])
        assert there is not None
        assert np.array_equal(there.numpy(), kinds == Kind.IMAGE)
        assert not x[~there].any()
        if site == "projector":
            read = found["resid_pre.0"]
            cosine = torch.cosine_similarity(x[there].float(), read[there].float())
            assert cosine.min() > 0.999


@pytest.mark.parametrize("family", sorted(ONE_TO_ONE["vision.0"]))
def test_a_patch_that_changes_is_the_token_that_looks_there(family: str) -> None:
    """The token whose activations change most claims the place where the picture changed."""
    subject = tiny(family)
    for at in ((0.1, 0.1), (0.9, 0.4), (0.4, 0.9)):
        batch = subject.encode([sample("a", (64, 64)), sample("b", (64, 64), at)], max_tokens=None)
        x, there = laid_out("vision.0", subject.run(batch, ["vision.0"])["vision.0"], batch)
        moved = (x[1] - x[0]).norm(dim=-1)
        assert there is not None
        assert there[1, int(moved.argmax())]
        left, top, right, bottom = batch.maps[1].rects[int(moved.argmax())] / 64
        assert left <= at[0] <= right
        assert top <= at[1] <= bottom


def test_without_a_picture_nothing_runs_and_nothing_stands_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Texts between pictures must not cost a pass through the language model."""
    subject = tiny("llava")
    batch = subject.encode([Sample("w", text="a b c d e"), Sample("v", text="f")])
    monkeypatch.setattr(subject.model, "forward", pytest.fail)
    found = subject.run(batch, ["vision.1", "projector"])
    for site in found:
        x, there = readable(site, found[site], batch, template=True)
        assert x.shape == (*batch.mask.shape, subject.sites()[site])
        assert not there.any()


def test_a_patch_far_from_all_others_is_left_out() -> None:
    """Vision transformers keep notes in a few patches of background; no feature is read there."""
    subject = tiny("llava")
    batch = subject.encode([sample("a", (64, 64), (0.5, 0.5))], max_tokens=None)
    x = subject.run(batch, ["projector"])["projector"].clone()
    plain = readable("projector", x, batch, template=True)[1]
    x[0, 5] *= 1000
    left = readable("projector", x, batch, template=True)[1]
    places = np.flatnonzero(batch.maps[0].kinds == Kind.IMAGE)
    assert (plain & ~left).nonzero()[:, 1].tolist() == [places[5]]


def test_which_sites_are_of_the_vision_side() -> None:
    assert is_pictured("projector")
    assert is_pictured("vision.12")
    assert not is_pictured("resid_post.3")
