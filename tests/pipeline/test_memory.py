"""What training read is remembered to the bit, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semascope.corpus.sample import Sample
from semascope.corpus.scenes import SceneCorpus
from semascope.pipeline.activation_cache import ActivationCache, CachedSubject
from semascope.subject import Subject
from semascope.subject.testing import tiny
from semascope.subject.types import Batch

SITE = "resid_post.1"


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny("llava")


def batch_of(subject: Subject, start: int, stop: int) -> Batch:
    return subject.encode([s for _, s in SceneCorpus(20).read(start, stop)], max_tokens=96)


def test_what_is_kept_comes_back_to_the_bit_in_other_company(
    subject: Subject, tmp_path: Path
) -> None:
    """Gathering pads and mixes samples otherwise than training did."""
    memory = ActivationCache(tmp_path / "kept", most=1 << 30)
    first, second = batch_of(subject, 0, 4), batch_of(subject, 4, 8)
    ran = {0: subject.run(first, [SITE]), 1: subject.run(second, [SITE])}
    assert memory.keep(0, [(first, ran[0]), (second, ran[1])])
    mixed = batch_of(subject, 2, 6)
    found = ActivationCache(tmp_path / "kept").find(mixed, [SITE])
    assert found is not None
    for row, (old, at) in enumerate([(0, 2), (0, 3), (1, 0), (1, 1)]):
        whole = [first, second][old]
        assert torch.equal(found[SITE][row][mixed.mask[row]], ran[old][SITE][at][whole.mask[at]])
    assert not found[SITE][~mixed.mask].any()


def test_patches_come_back_as_the_model_has_them(subject: Subject, tmp_path: Path) -> None:
    """In other company too, beside texts, which have none; another layout is not kept."""
    sites = ["vision.1", "projector", SITE]
    memory = ActivationCache(tmp_path / "kept", most=1 << 30)
    samples = [s for _, s in SceneCorpus(20).read(0, 5)]
    samples.insert(2, Sample("words", text="a sentence and no picture"))
    first, second = subject.encode(samples[:4], max_tokens=96), subject.encode(samples[4:])
    ran = [subject.run(first, sites), subject.run(second, sites)]
    assert memory.keep(0, [(first, ran[0]), (second, ran[1])])
    only = subject.encode([samples[2]], max_tokens=96)
    mixed = subject.encode([samples[5], samples[2], samples[1]], max_tokens=96)
    found = ActivationCache(tmp_path / "kept").find(mixed, sites)
    assert found is not None
    for site in sites[:2]:
        assert torch.equal(found[site], torch.stack([ran[1][site][1], ran[0][site][1]]))
    alone = memory.find(only, sites)
    assert alone is not None
    assert alone["projector"].numel() == 0
    flat = {"projector": ran[0]["projector"].flatten(0, 1)}
    assert not ActivationCache(tmp_path / "flat", most=1 << 30).keep(0, [(first, flat)])


def test_a_batch_with_one_stranger_is_run(subject: Subject, tmp_path: Path) -> None:
    memory = ActivationCache(tmp_path, most=1 << 30)
    known = batch_of(subject, 0, 4)
    memory.keep(0, [(known, subject.run(known, [SITE]))])
    remembering = CachedSubject(subject, memory)
    assert len(memory) == 4
    remembering.run(batch_of(subject, 1, 3), [SITE])
    assert remembering.recalled == 2
    strangers = batch_of(subject, 2, 6)
    ran = remembering.run(strangers, [SITE])
    assert remembering.recalled == 2
    assert torch.equal(ran[SITE], subject.run(strangers, [SITE])[SITE])
    assert remembering.sites() == subject.sites()


def test_another_site_or_another_cut_is_run(subject: Subject, tmp_path: Path) -> None:
    """The same sample cut elsewhere holds other tokens."""
    memory = ActivationCache(tmp_path, most=1 << 30)
    known = batch_of(subject, 0, 2)
    memory.keep(0, [(known, subject.run(known, [SITE]))])
    assert memory.find(known, ["resid_post.0"]) is None
    shorter = subject.encode([s for _, s in SceneCorpus(20).read(0, 2)], max_tokens=24)
    assert shorter.mask.sum() < known.mask.sum()
    assert memory.find(shorter, [SITE]) is None


def test_no_more_is_kept_than_was_asked_for(subject: Subject, tmp_path: Path) -> None:
    known = batch_of(subject, 0, 4)
    found = subject.run(known, [SITE])
    size = int(known.mask.sum()) * found[SITE].shape[-1] * 4
    memory = ActivationCache(tmp_path / "kept", most=size + size // 2)
    assert memory.keep(0, [(known, found)])
    assert not memory.keep(1, [(known, found)])
    assert memory.keep(0, [(known, found)])  # it stands already
    memory.forget()
    assert not (tmp_path / "kept").exists()
    assert memory.find(known, [SITE]) is None
