"""Silence is looked up, splits hold, coverage is exact, sums do not depend on order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evidence_fakes import FakeDictionary, FakeSubject, ListCorpus, corpus, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from semascope.atlas import Media
from semascope.corpus.sample import Sample, Turn
from semascope.evidence import Evidence, EvidenceOptions, gather
from semascope.evidence.gathering import exact_sums
from semascope.evidence.gathering.hashing import content_hash, split_of
from semascope.evidence.gathering.neighbours import by_firing
from semascope.evidence.gathering.scene_truth import coverage
from semascope.evidence.gathering.tally import SKETCH


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out: Path = tmp_path_factory.mktemp("parts")
    options = EvidenceOptions(top=6, per_interval=3, batch_size=4)
    gather(
        FakeSubject(), corpus(300), [FakeDictionary()], out / "e", media=out / "m", options=options
    )
    return out


def test_silent_samples_are_silent(folder: Path) -> None:
    """Every counter-example is run through the model again: the feature does not fire on it."""
    evidence, rows = Evidence.open(folder / "e", "main"), corpus(300)
    subject, dictionary = FakeSubject(), FakeDictionary()
    for index in evidence.alive()[:8]:
        record = evidence.feature(int(index))
        assert len({s.row for s in record.silent}) == len(record.silent)
        for shown in record.silent:
            x = subject.run(subject.encode([rows.samples[shown.row]]), [dictionary.site])
            codes = dictionary.encode(x[dictionary.site][0, 1:])
            assert not ((codes.indices == index) & (codes.values > 0)).any()


def test_most_counter_examples_are_hard(folder: Path) -> None:
    """A neighbour fires on them; random silence would make any scorer look good."""
    evidence = Evidence.open(folder / "e", "main")
    rare = [i for i in evidence.alive() if 10 < evidence.stats("samples")[i] < 100]
    shares = []
    for index in rare:
        record = evidence.feature(int(index))
        shares.append(record.stats["silent_hard"] / max(len(record.silent), 1))
    assert np.mean(shares) > 0.9


def test_no_picture_is_on_both_sides(folder: Path) -> None:
    """The same picture under other words must not be explained from and scored on."""
    evidence = Evidence.open(folder / "e", "main")
    sides: dict[str, set[str]] = {}
    for number in range(len(evidence.shown)):
        shown = evidence.shown.get(number)
        for media in shown.media:
            sides.setdefault(media, set()).add(shown.split)
    assert len(sides) > 20
    assert all(len(side) == 1 for side in sides.values())
    assert {s for side in sides.values() for s in side} == {"explain", "score"}


def test_a_picture_counts_once_where_a_feature_sees_it(tmp_path: Path) -> None:
    """One picture asked about five times fills the top with itself, unless its pixels decide."""
    one = [
        Sample(f"q{i}", turns=(Turn("user", "abcd"[i], 1),), images=(picture(0),)) for i in range(4)
    ]
    rows = ListCorpus([*one, Sample("other", turns=(Turn("user", "x", 1),), images=(picture(1),))])
    gather(FakeSubject(), rows, [FakeDictionary()], tmp_path / "e", media=tmp_path / "m")
    evidence = Evidence.open(tmp_path / "e", "main")
    for index in evidence.alive():
        top = evidence.feature(int(index)).top
        on_picture = [e.shown.media for e in top if e.shown.kinds[e.activations.argmax()] == 3]
        assert len(on_picture) == len(set(on_picture))


def test_shown_samples_can_be_drawn_again(folder: Path) -> None:
    """Pictures come back pixel for pixel, with the truth of each token."""
    evidence, rows = Evidence.open(folder / "e", "main"), corpus(300)
    media, seen = Media(folder / "m"), 0
    for number in range(len(evidence.shown)):
        shown = evidence.shown.get(number)
        sample = rows.samples[shown.row]
        for digest, image in zip(shown.media, sample.images, strict=True):
            assert media.open(digest).tobytes() == image.tobytes()
            patches = shown.truth["objects"][0]["patches"]
            assert patches[shown.image == 0].tolist() == [1, 0, 1, 0]  # the left half
            assert not patches[shown.image != 0].any()
            seen += 1
    assert seen > 50


def test_neighbours_by_direction_are_exact(folder: Path) -> None:
    """Against the whole cosine matrix; the dead feature is nobody's neighbour."""
    evidence, weight = Evidence.open(folder / "e", "main"), FakeDictionary().weight
    alive = evidence.alive()
    rows = weight[alive] / weight[alive].norm(dim=1, keepdim=True)
    cosine = (rows @ rows.T).fill_diagonal_(-2)
    for place, index in enumerate(alive[:10]):
        near = evidence.near(int(index))
        best = cosine[place].topk(len(near))
        assert [n.index for n in near] == alive[best.indices.numpy()].tolist()
        assert [n.strength for n in near] == pytest.approx(best.values.tolist(), abs=1e-6)
    assert 39 not in alive


def test_sketches_estimate_overlap() -> None:
    """Exact while the sets are small; near the truth when they are cut."""
    rng = np.random.default_rng(0)
    universe = np.sort(rng.integers(0, 2**63, 2000, dtype=np.uint64))
    sets = [universe[:20], universe[10:30], universe[:1000], universe[500:1500]]
    sketch = np.full((4, SKETCH), np.iinfo(np.uint64).max, np.uint64)
    rng.shuffle(universe)
    sets[2], sets[3] = universe[:1000], universe[500:1500]
    for row, members in zip(sketch, sets, strict=True):
        low = np.sort(members)[:SKETCH]
        row[: len(low)] = low
    index, overlap = by_firing(sketch, 3)
    assert index[0, 0] == 1
    assert overlap[0, 0] == pytest.approx(10 / 30)
    assert overlap[2, list(index[2]).index(3)] == pytest.approx(1 / 3, abs=0.2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 2.0**60, width=32), max_size=40), st.randoms())
def test_sums_do_not_depend_on_order(values: list[float], random) -> None:  # type: ignore[no-untyped-def]
    """Floating addition does; a shard more, and two files of the same run would differ."""
    shuffled = random.sample(values, len(values))
    one, two, part = exact_sums.zeros(1), exact_sums.zeros(1), exact_sums.zeros(1)
    half = len(values) // 2
    for total, some in ((one, values), (two, shuffled[:half]), (part, shuffled[half:])):
        exact_sums.add(total, np.zeros(len(some), np.int64), np.array(some, np.float64))
    two += part
    exact_sums.carry(two)
    np.testing.assert_array_equal(one, two)
    assert exact_sums.value(one)[0] == pytest.approx(sum(values), rel=1e-12, abs=1e-18)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_coverage_is_the_area(seed: int, width: int, height: int) -> None:
    """Against counting on a grid four times as fine, rectangles on quarter pixels."""
    rng = np.random.default_rng(seed)
    masks = rng.random((2, height, width)) < 0.5
    corners = rng.integers(0, 4 * np.array([width, height, width, height]) + 1, (5, 4)) / 4
    low, high = (
        np.minimum(corners[:, :2], corners[:, 2:]),
        np.maximum(corners[:, :2], corners[:, 2:]),
    )
    rects = np.concatenate([low, high], 1).astype(np.float32)
    fine = masks.repeat(4, 1).repeat(4, 2)
    share = coverage(masks, rects, (width, height))
    for t, (left, top, right, bottom) in enumerate((rects * 4).astype(int)):
        cells = fine[:, top:bottom, left:right]
        wanted = cells.mean((1, 2)) if cells[0].size else np.zeros(2)
        np.testing.assert_allclose(share[:, t], wanted, atol=1e-3)
    nowhere = np.full((1, 4), np.nan, np.float32)
    assert not coverage(masks, nowhere, (width, height)).any()


def test_content_decides_not_the_id() -> None:
    """The same words under another id are the same sample; other words are not."""
    a, b = Sample("a", text="hello"), Sample("b", text="hello", source="else")
    assert content_hash(a) == content_hash(b)
    assert content_hash(a) != content_hash(Sample("a", text="hell", turns=(Turn("user", "o"),)))
    pictured = Sample("a", text="x", images=(picture(1),))
    assert (
        content_hash(pictured).picture
        == content_hash(Sample("b", text="y", images=(picture(1),))).picture
    )
    assert split_of(5) == split_of(5)


def test_bytes_that_no_codec_likes(tmp_path: Path) -> None:
    """Half a surrogate in a text is hashed and shown, not a crash after an hour."""
    rows = ListCorpus([Sample("odd", text="a\x00b"), Sample("plain", text="abc def")])
    gather(FakeSubject(), rows, [FakeDictionary()], tmp_path / "e", media=tmp_path / "m")
    evidence = Evidence.open(tmp_path / "e", "main")
    assert "\x00" in evidence.shown.get(0).tokens
    assert content_hash(Sample("s", text="\ud800"))
