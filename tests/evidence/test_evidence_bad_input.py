"""Bad input from files to heat maps: nothing ends the run that need not, none lies askew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semascope.atlas import Media
from semascope.corpus.open import open_corpus
from semascope.corpus.sample import Sample
from semascope.dictionary import CoderConfig, SparseCoder
from semascope.errors import EvidenceError
from semascope.evidence import Evidence, gather
from semascope.subject.heatmap import heat
from semascope.subject.testing import tiny
from semascope.subject.types import Kind

SITE = "resid_post.0"


def pictures(folder: Path) -> Path:
    """Seven files; of the thread nothing can be seen."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (30, 50, 3), np.uint8))  # 50 wide, 30 high
    Image.new("RGB", (1, 1), "red").save(folder / "one.png")
    Image.new("RGB", (20_000, 3), "green").save(folder / "thread.png")
    noise.convert("CMYK").save(folder / "cmyk.jpg")
    deep = rng.integers(0, 65_536, (40, 24), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    others = [Image.new("RGB", (50, 30), c) for c in ("blue", "red")]
    others[0].save(folder / "moving.gif", save_all=True, append_images=others[1:])
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying on its side: 30 wide and 50 high as it is to be seen
    noise.save(folder / "turned.jpg", exif=turned)
    (folder / "short.png").write_bytes((folder / "deep.png").read_bytes()[:60])
    return folder


def test_every_odd_picture_of_a_folder(tmp_path: Path) -> None:
    subject = tiny("llava")
    coder = SparseCoder(CoderConfig(d_in=subject.d_model, width=64, k=8), name="main", site=SITE)
    corpus = open_corpus(pictures(tmp_path / "pictures"), images=True)
    gather(subject, corpus, [coder], tmp_path / "e", media=tmp_path / "m", batch_size=4)
    assert dict(corpus.skipped.reasons) == {"image is cut short or damaged": 1}
    evidence = Evidence.open(tmp_path / "e", "main")
    assert evidence.gathering["skipped"] == 2, "and the thread, which the model cannot take"
    sizes = {}
    for index in evidence.alive().tolist():
        for one in evidence.feature(index).top:
            shown, here = one.shown, one.shown.kinds == Kind.IMAGE
            sizes[shown.id] = shown.sizes[0]
            kept = Media(tmp_path / "m").open(shown.media[0])
            assert kept.size == shown.sizes[0], "heat is drawn on what the user sees"
            drawn = heat(shown, one.activations)  # (H, W)
            assert drawn.shape == shown.sizes[0][::-1]
            assert drawn.max() <= one.activations[here].max() + 1e-6
            rects = shown.rects[here]
            assert (rects[:, :2] >= 0).all() and (rects[:, 2:] <= shown.sizes[0]).all()
    assert sizes == {
        "one.png": (1, 1), "cmyk.jpg": (50, 30), "deep.png": (24, 40), "moving.gif": (50, 30),
        "turned.jpg": (30, 50),
    }  # fmt: skip


def test_a_picture_given_in_sixteen_bits_is_not_turned_white() -> None:
    """Pillow clips to 255: all but the darkest 255th of the picture would be white."""
    subject = tiny("llava")
    deep = Image.fromarray(np.full((64, 64), 257 * 100, np.uint16))
    plain = Image.new("RGB", (64, 64), (100, 100, 100))
    pixels = [
        subject.encode([Sample("x", text="see", images=(image,))]).inputs["pixel_values"]
        for image in (deep, plain)
    ]
    torch.testing.assert_close(*pixels)


def test_a_dictionary_of_another_model_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Else the model reads a batch first, and what fails then speaks of tensors."""
    subject = tiny("llava")
    wrong = SparseCoder(CoderConfig(d_in=subject.d_model + 8, width=64), name="main", site=SITE)
    corpus = open_corpus(pictures(tmp_path / "pictures"), images=True)
    with pytest.raises(EvidenceError, match=f"{SITE} of tiny-llava is {subject.d_model} wide"):
        gather(subject, corpus, [wrong], tmp_path / "e", media=tmp_path / "m")
    assert not (tmp_path / "e").exists()
