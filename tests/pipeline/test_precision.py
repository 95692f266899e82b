"""Reading in bfloat16: near to what the model is, only where it pays, and of a corpus alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semascope.config import RunOptions, TrainOptions
from semascope.corpus.scenes import SceneCorpus
from semascope.pipeline import autocast
from semascope.pipeline.autocast import AutocastSubject, halves
from semascope.pipeline.run_context import Run
from semascope.subject import Subject
from semascope.subject.testing import tiny
from semascope.workspace import Workspace

SITES = ["resid_post.1", "mlp_out.1", "vision.1"]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny("llava")


def test_only_the_products_are_rounded(subject: Subject) -> None:
    """A residual stream in bfloat16 would lose what a layer adds to a large entry."""
    batch = subject.encode([s for _, s in SceneCorpus(20).read(0, 6)], max_tokens=96)
    own, half = subject.run(batch, SITES), AutocastSubject(subject).run(batch, SITES)
    for site in SITES:
        x, near = own[site], half[site]
        assert near.dtype == torch.float32
        assert not torch.equal(x, near)
        assert ((x - near).square().sum() / (x - x.mean((0, 1))).square().sum()) < 1e-3
    stream = half["resid_post.1"]
    assert not torch.equal(stream, stream.bfloat16().float())
    assert torch.equal(half["mlp_out.1"], half["mlp_out.1"].bfloat16().float())
    assert torch.equal(subject.run(batch, SITES)["resid_post.1"], own["resid_post.1"])


@pytest.mark.parametrize("fast", [True, False])
def test_by_itself_only_where_it_is_faster_and_nothing_was_asked_for(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    monkeypatch.setattr(autocast, "has_fast_bf16", lambda device: fast)
    assert halves(subject, TrainOptions()) == fast
    assert not halves(subject, TrainOptions(dtype="float32"))
    assert halves(subject, TrainOptions(autocast="on"))
    assert not halves(subject, TrainOptions(autocast="off"))
    low = tiny("llava")
    low.model.bfloat16()
    assert not halves(low, TrainOptions())


def test_what_answers_is_not_rounded(tmp_path: Path) -> None:
    """Chat, attribution and steering take the run's subject; reading has its own."""
    train = TrainOptions(subject="tiny:llava", site="resid_post.1", autocast="on")
    run = Run(Workspace(tmp_path), RunOptions(train=train))
    assert isinstance(run.reader, AutocastSubject)
    assert not isinstance(run.subject, AutocastSubject)
    assert run.chunks(SceneCorpus(8)).subject is run.reader
    plain = train.model_copy(update={"autocast": "off"})
    off = Run(Workspace(tmp_path), RunOptions(train=plain))
    assert off.reader is off.subject


def test_precision_does_not_make_a_run_another() -> None:
    """A run that stands is not made anew on a machine that multiplies otherwise."""
    assert TrainOptions(autocast="on").binding() == TrainOptions(autocast="off").binding()
