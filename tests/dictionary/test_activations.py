"""Sources give the same batch at the same step, however one gets there."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semascope.dictionary import ActivationBatch, Prefetch, ShuffleBuffer, Source, TensorSource
from semascope.errors import DictionaryError


def chunk(i: int) -> ActivationBatch | None:
    """Nine chunks of different sizes whose values say where they came from; some padding."""
    if i >= 9:
        return None
    n = 5 + 3 * (i % 4)
    x = (torch.arange(n).float() + 100 * i).view(-1, 1)
    return ActivationBatch(x, (torch.arange(n) % 5 > 0).to(torch.int8))


def buffer(**options: object) -> ShuffleBuffer:
    """A small one."""
    settings = {"batch_size": 4, "block_tokens": 20, "seed": 3} | options
    return ShuffleBuffer(chunk, **settings)  # type: ignore[arg-type]


def take(source: Source, start: int, count: int) -> list[Tensor]:
    """The x of some batches."""
    return [b.x for b in islice(source.batches(start), count)]


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 60), stop=st.integers(0, 60))
def test_any_start_sees_the_same_batches(start: int, stop: int) -> None:
    """Cold, and from the note of a run stopped elsewhere, earlier or later."""
    truth = take(buffer(), 0, start + 5)[start:]
    cold = take(buffer(), start, 5)
    first = buffer()
    take(first, 0, stop + 1)
    warm = buffer()
    warm.restore(first.position())
    for other in (cold, take(warm, start, 5)):
        assert all(torch.equal(a, b) for a, b in zip(truth, other, strict=True))


def test_the_note_spares_the_replay() -> None:
    """With it, chunks before the current block are not made again."""
    made: list[int] = []

    def counted(i: int) -> ActivationBatch | None:
        made.append(i)
        return chunk(i)

    first = ShuffleBuffer(counted, batch_size=4, block_tokens=20)
    take(first, 0, 10)
    second = ShuffleBuffer(counted, batch_size=4, block_tokens=20)
    second.restore(first.position())
    made.clear()
    take(second, 10, 1)
    assert not {0, 1, 2, 3} & set(made)


def test_tokens_are_used_once_a_pass_and_padding_never() -> None:
    """Each kept token at most once; the drop is less than a batch for each block."""
    seen = torch.cat(take(buffer(repeat=False), 0, 100)).flatten().tolist()
    kept = [t for i in range(9) for t in chunk(i).kept().x.flatten().tolist()]  # type: ignore[union-attr]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(kept)
    assert len(kept) - len(seen) < 4 * 5


def test_prefetch_changes_nothing_and_passes_errors_on() -> None:
    """Same batches, and the note of the batch in hand."""
    plain, ahead = buffer(), Prefetch(buffer(), depth=3)
    for a, b in zip(islice(plain.batches(2), 20), islice(ahead.batches(2), 20), strict=True):
        assert torch.equal(a.x, b.x)
        assert plain.position() == ahead.position()

    def broken(i: int) -> ActivationBatch | None:
        raise DictionaryError("no model")

    with pytest.raises(DictionaryError, match="no model"):
        take(Prefetch(ShuffleBuffer(broken, batch_size=1)), 0, 1)


def test_nothing_to_read_is_an_error_not_a_loop() -> None:
    """An empty corpus, and one of padding alone."""
    for empty in (
        lambda i: None,
        lambda i: ActivationBatch(torch.ones(3, 1), torch.zeros(3)) if i < 2 else None,
    ):
        with pytest.raises(DictionaryError, match="nothing to train on"):
            take(ShuffleBuffer(empty, batch_size=2, block_tokens=8), 0, 1)


def test_tensor_source_covers_an_epoch() -> None:
    """A permutation, from any step."""
    source = TensorSource(torch.arange(20.0).view(-1, 1), batch_size=5)
    assert torch.cat(take(source, 4, 4)).sort(0).values.flatten().tolist() == list(range(20))
    assert torch.equal(take(source, 0, 8)[6], take(source, 6, 1)[0])
