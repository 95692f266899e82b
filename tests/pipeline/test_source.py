"""What a dictionary learns from: which tokens, in which order, how many."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semascope.corpus.scenes import SceneCorpus
from semascope.errors import CorpusError
from semascope.pipeline.activations import SiteChunks
from semascope.pipeline.splits import CorpusSubset
from semascope.subject import Subject
from semascope.subject.readable import read_kinds
from semascope.subject.testing import tiny
from semascope.subject.types import Kind, TokenMap


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny("llava")


def map_of(kinds: list[int]) -> TokenMap:
    """A map with nothing but kinds."""
    n = len(kinds)
    return TokenMap(
        ids=np.arange(n),
        tokens=("x",) * n,
        kinds=np.array(kinds, np.int8),
        roles=np.zeros(n, np.int8),
        image=np.full(n, -1, np.int16),
        rects=np.full((n, 4), np.nan, np.float32),
        sizes=(),
    )


def test_only_what_means_something_is_read() -> None:
    """Template tokens and the first token of a sequence would fill the dictionary with noise."""
    kinds = [Kind.PAD, Kind.TEXT, Kind.TEXT, Kind.SPECIAL, Kind.IMAGE, Kind.NEWLINE, Kind.TILE]
    assert read_kinds(map_of(kinds)).tolist() == [0, 0, Kind.TEXT, 0, Kind.IMAGE, 0, Kind.TILE]
    assert read_kinds(map_of([Kind.PAD])).tolist() == [0]


def test_a_chunk_is_the_same_whenever_it_is_asked_for(subject: Subject) -> None:
    """Resuming reads chunk 1 without chunk 0: it must give the same numbers, to the bit."""
    chunks = SiteChunks(subject, SceneCorpus(20), "resid_post.1", rows=8, max_tokens=64)
    assert len(chunks) == 3
    first = chunks(1)
    chunks(0)
    again = chunks(1)
    assert first is not None and again is not None
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.kind, again.kind)
    assert first.x.shape == (len(first.kind), chunks.width)
    assert set(first.kind.tolist()) == {Kind.TEXT, Kind.IMAGE}
    assert chunks(3) is None


def test_tokens_are_counted_without_running_the_model(subject: Subject) -> None:
    """The number of steps, and with it the time left, stands on this count."""
    chunks = SiteChunks(subject, SceneCorpus(16), "resid_post.1", rows=8, max_tokens=64)
    parts = [chunks(0), chunks(1)]
    assert chunks.tokens_a_chunk() == sum(len(p.x) for p in parts if p is not None) / 2


def test_a_corpus_without_tokens_is_a_sentence(subject: Subject) -> None:
    """Every row bad: training would wait for ever for a first batch."""
    nothing = CorpusSubset(SceneCorpus(8), np.zeros(0, np.int64))
    chunks = SiteChunks(subject, nothing, "resid_post.1", rows=8, max_tokens=64)
    with pytest.raises(CorpusError, match="gives nothing to read"):
        chunks.tokens_a_chunk()
