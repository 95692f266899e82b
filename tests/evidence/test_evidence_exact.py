"""One bounded pass says what keeping everything would say; if not, every page lies quietly."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from evidence_brute import look, priority
from evidence_fakes import FakeDictionary, FakeSubject, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from semascope.evidence import Evidence, EvidenceOptions, gather
from semascope.evidence.gathering.hashing import mix
from semascope.evidence.gathering.tally import FeatureTally, Hits, SampleRows

TOP, DRAWS, BATCH = 5, 3, 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """Gathered and brute-force evidence of one corpus."""
    folder: Path = tmp_path_factory.mktemp("exact")
    rows, dictionary = corpus(260, seed=1), FakeDictionary()
    options = EvidenceOptions(top=TOP, per_interval=DRAWS, batch_size=BATCH)
    gather(
        FakeSubject(),
        rows,
        [dictionary],
        folder / "e",
        media=folder / "m",
        options=options,
        every=48,
    )
    return Evidence.open(folder / "e", "main"), look(rows, dictionary, BATCH)


def test_figures_are_those_of_all_tokens(pair: tuple) -> None:
    """Counts are equal, sums to rounding of a batch."""
    evidence, seen = pair
    assert evidence.alive().tolist() == sorted(seen)
    for index in evidence.alive():
        mine, stats = seen[int(index)], evidence.feature(int(index)).stats
        assert stats["fired"] == len(mine.values)
        assert stats["samples"] == len(mine.peaks)
        assert stats["max"] == pytest.approx(max(mine.values), rel=1e-5)
        assert stats["mean"] == pytest.approx(np.mean(mine.values), rel=1e-5)
        assert stats["std"] == pytest.approx(np.std(mine.values), rel=1e-3, abs=1e-4)
        assert stats["fired_image"] == mine.kinds.count(3)
        assert stats["fired_text"] == mine.kinds.count(1)
        assert evidence.histogram(int(index))[1].sum() == len(mine.values)


def test_top_is_brute_force_top(pair: tuple) -> None:
    """The strongest distinct samples, in order: none missing, none twice."""
    evidence, seen = pair
    compared = 0
    for index in evidence.alive():
        top = evidence.feature(int(index)).top
        wanted = seen[int(index)].top(TOP + 1, 0)
        assert [e.peak for e in top] == pytest.approx([p for _, p in wanted[:TOP]], rel=1e-5)
        if all(a - b > 1e-4 for (_, a), (_, b) in pairwise(wanted)):
            keys = seen[int(index)].keys  # of rows with one content, rounding chooses which
            assert [keys[e.shown.row] for e in top] == [keys[r] for r, _ in wanted[:TOP]]
            compared += 1
    assert compared > 5  # the others have peaks that rounding may swap


def test_draws_lie_in_their_tenth_and_are_the_lowest_priorities(pair: tuple) -> None:
    """A draw is uniform because it takes lowest hashes; one that skips a lower hash is not."""
    evidence, seen = pair
    full = 0
    for index in evidence.alive():
        record, mine = evidence.feature(int(index)), seen[int(index)]
        maximum = record.stats["max"]
        for tenth in range(10):
            draws = [e for e in record.intervals if e.interval == tenth]
            low, high = maximum * tenth / 10, maximum * (tenth + 1) / 10
            assert all(low - 1e-4 <= e.peak <= high + 1e-4 for e in draws)
            there = {key for peak, key, _ in mine.distinct() if low + 1e-4 < peak < high - 1e-4}
            order = {k: i for i, k in enumerate(sorted(there, key=lambda k: priority(k, 0)))}
            drawn = [mine.keys[e.shown.row] for e in draws]
            places = sorted(order[key] for key in drawn if key in order)
            assert places == list(range(len(places)))
            assert len(draws) <= DRAWS
            full += len(draws) == min(DRAWS, len(there))
    assert full > 0.8 * 10 * len(evidence.alive())


def test_activations_are_put_back_on_their_tokens(pair: tuple) -> None:
    """Positions are counted without padding; one off, and every heat map is shifted."""
    evidence, _ = pair
    record = evidence.feature(int(evidence.alive()[0]))
    subject, dictionary, rows = FakeSubject(), FakeDictionary(), corpus(260, seed=1)
    for exemplar in record.top:
        batch = subject.encode([rows.samples[exemplar.shown.row]])
        x = subject.run(batch, [dictionary.site])[dictionary.site][0]
        codes = dictionary.encode(x)
        dense = np.where(codes.indices == record.index, codes.values, 0).sum(1)
        dense[0] = 0
        assert exemplar.activations == pytest.approx(dense, rel=1e-4, abs=1e-5)
        assert exemplar.shown.tokens == batch.maps[0].tokens


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_order_of_any_shards_ends_the_same(data: st.DataObject) -> None:
    """Updates in any grouping, merged in any order, give the same arrays to the bit."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    batches = [_random_batch(rng, number) for number in range(data.draw(st.integers(2, 8)))]
    top, draws = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))

    def tally(of: list[int]) -> FeatureTally:
        out = FeatureTally.new(6, top=top, draws=draws, seed=5)
        for i in of:
            out.update(*batches[i])
            if data.draw(st.booleans()):
                out.settle()
        return out

    whole = tally(list(range(len(batches)))).arrays()
    order = data.draw(st.permutations(range(len(batches))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(batches)), max_size=3)))
    pieces = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(batches)], strict=True)]
    first, *others = [tally(p) for p in pieces]
    for other in others:
        first.merge(FeatureTally.of(other.arrays(), top=top, draws=draws, seed=5))
    merged = first.arrays()
    for name, column in whole.items():
        np.testing.assert_array_equal(column, merged[name], err_msg=name)
    _check_top(batches, whole, top)


def _random_batch(rng: np.random.Generator, number: int) -> tuple[Hits, SampleRows]:
    """A few samples with values from few levels, over many octaves: ties and duplicates abound."""
    samples = 3
    n = int(rng.integers(1, 30))
    sample = np.sort(rng.integers(0, samples, n))
    content = rng.integers(0, 8, samples).astype(np.uint64)  # the same content comes again
    values = (2.0 ** rng.integers(-3, 4, n) * rng.integers(1, 4, n)).astype(np.float32)
    pairs = np.unique(np.stack([sample, np.arange(n), rng.integers(0, 6, n)]), axis=1)
    hits = Hits(
        feature=pairs[2],
        value=values,
        sample=pairs[0],
        position=pairs[1].astype(np.int32),
        kind=rng.integers(1, 5, n).astype(np.int8),
    )
    return hits, SampleRows(np.arange(samples) + samples * number, mix(content), mix(content, 9))


def _check_top(batches: list[tuple[Hits, SampleRows]], arrays: dict, top: int) -> None:
    """The N strongest distinct contents of each feature are kept, found by keeping all."""
    best: dict[int, dict[int, float]] = {}
    for hits, rows in batches:
        for f, s in set(zip(hits.feature.tolist(), hits.sample.tolist(), strict=True)):
            mine = (hits.feature == f) & (hits.sample == s)
            peak = hits.value[mine].max()
            on_picture = (hits.kind[mine & (hits.value == peak)] >= 3).any()
            key = int((rows.picture if on_picture else rows.content)[s])
            best.setdefault(f, {})
            best[f][key] = max(best[f].get(key, 0.0), float(peak))
    for f, contents in best.items():
        kept = arrays["kept.feature"] == f
        found: dict[int, float] = {}
        for key, peak in zip(arrays["kept.key"][kept], arrays["kept.peak"][kept], strict=True):
            found[int(key)] = max(found.get(int(key), 0.0), float(peak))
        wanted = sorted(contents.values(), reverse=True)[:top]
        assert sorted(found.values(), reverse=True)[:top] == wanted
