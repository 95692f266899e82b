"""A site that has fewer tokens than another, in one stream with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from semascope.dictionary import TrainConfig, TrainingPlan, train_many
from semascope.dictionary.training.batches import ActivationBatch
from semascope.dictionary.training.split_sites import SplitSites
from semascope.errors import DictionaryError

WORDS, PATCHES = 1, 3
STEPS = 6
CONFIG = TrainConfig(width=16, k=2, steps=STEPS, checkpoint_every=3, log_every=2, lr=1e-3)


class Stream:
    """Tokens of two sites side by side; one batch has words alone."""

    def __init__(self, empty: int) -> None:
        self.empty = empty

    def batch(self, step: int) -> ActivationBatch:
        draw = torch.Generator().manual_seed(step)
        kind = torch.tensor([WORDS, PATCHES, PATCHES, WORDS] * 8, dtype=torch.int8)
        if step == self.empty:
            kind[:] = WORDS
        x = torch.randn(len(kind), 6 + 4, generator=draw)
        x[kind == WORDS, 6:] = 0  # nothing stands there
        return ActivationBatch(x, kind)

    def batches(self, start_step: int) -> Iterator[ActivationBatch]:
        for step in range(start_step, STEPS):
            yield self.batch(step)


def trained(folder: Path, empty: int):  # type: ignore[no-untyped-def]
    source = SplitSites(Stream(empty), {"a": 6, "b": 4}, only={"b": (PATCHES,)})
    return train_many(source, [TrainingPlan(s, CONFIG, folder / s, s) for s in ("a", "b")])


def test_each_learns_from_the_tokens_that_its_site_has(tmp_path: Path) -> None:
    """The zeros of the others must not enter a mean; a step without a token is no step."""
    reports = trained(tmp_path, empty=3)
    assert (reports["a"].tokens, reports["b"].tokens) == (32 * STEPS, 16 * (STEPS - 1))
    assert reports["a"].steps == reports["b"].steps == STEPS
    for site in ("a", "b"):  # a kill before the last state
        sorted((tmp_path / site).glob("state-*"))[-1].unlink()
    again = trained(tmp_path, empty=3)
    for site in ("a", "b"):
        assert again[site].tokens == reports[site].tokens
        for name, weight in again[site].coder.state_dict().items():
            assert torch.equal(weight, reports[site].coder.state_dict()[name])


def test_zeros_of_tokens_that_are_not_there_are_not_learnt(tmp_path: Path) -> None:
    """The same weights as from the site's tokens alone."""
    reports = trained(tmp_path / "both", empty=-1)

    class Own(Stream):
        def batches(self, start_step: int) -> Iterator[ActivationBatch]:
            for batch in super().batches(start_step):
                mine = batch.rows(batch.kind == PATCHES)
                yield ActivationBatch(mine.x[:, 6:].contiguous(), mine.kind)

    source = SplitSites(Own(-1), {"b": 4})
    alone = train_many(source, [TrainingPlan("b", CONFIG, tmp_path / "alone", "b")])
    for name, weight in alone["b"].coder.state_dict().items():
        assert torch.equal(weight, reports["b"].coder.state_dict()[name])


def test_a_dictionary_cannot_begin_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="first batch has no token of b"):
        trained(tmp_path, empty=0)
