"""Passes that begin at the edit: the same margins and answers as whole passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from semascope.causal.search.cases import Case, margins
from semascope.causal.search.prefix_reuse import PrefixCache
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.measure import side_effects
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.dictionary import CoderConfig, SparseCoder
from semascope.subject.testing import tiny

SITE = "resid_post.0"
KEY = f"{SITE}/main"


def steerable_of(family: str, site: str = SITE) -> SteerableModel:
    subject = tiny(family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        coder = SparseCoder(CoderConfig(d_in=subject.d_model, width=48, k=6), site=site)
    return SteerableModel.of(subject, [coder], {f"{site}/main": {"max": np.full(48, 2.0)}})


def cases_of(steerable: SteerableModel) -> list[Case]:
    """Of unlike lengths, with answers of one token and of several."""
    seen = steerable.subject.has_vision
    images = (Image.new("RGB", (40, 30), (90, 20, 200)),) if seen else ()
    return [
        Case(
            Sample(f"case-{n}", turns=(Turn("user", text, images=len(images)),), images=images),
            wanted,
            unwanted,
        )
        for n, (text, wanted, unwanted) in enumerate(
            [("what is it", "a red cat", "no"), ("is there a cat in it", "yes", "no")]
        )
    ]


def add(*features: int, key: str = KEY) -> Intervention:
    return Intervention(features=tuple((key, f) for f in features), how="add")


@pytest.mark.parametrize("family", ["llama", "gpt2", "llava", "qwen2_vl", "gemma2", "paligemma"])
def test_margins_are_those_of_whole_passes(family: str) -> None:
    steerable, bases = steerable_of(family), PrefixCache()
    cases = cases_of(steerable)
    for features in ((1,), (2, 3), (1,)):
        edits = steerable.edits([add(*features)])
        whole = margins(steerable.subject, cases, edits)
        assert margins(steerable.subject, cases, edits, begins=bases.begin) == pytest.approx(
            whole, abs=1e-4
        )
    assert whole != pytest.approx(margins(steerable.subject, cases, {}), abs=1e-4)


def test_what_comes_before_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steerable, bases = steerable_of("llava"), PrefixCache()
    cases, ran = cases_of(steerable), []
    run = type(steerable.subject).run
    monkeypatch.setattr(
        type(steerable.subject), "run", lambda self, *a, **k: ran.append(1) or run(self, *a, **k)
    )
    for feature in range(5):
        margins(steerable.subject, cases, steerable.edits([add(feature)]), begins=bases.begin)
    assert 1 <= len(ran) == len(bases) <= 2  # the wanted answers, and the unwanted


def test_nothing_begins_before_what_is_changed() -> None:
    """An edit of what the tower sees, or none at all, is a whole pass."""
    steerable, bases = steerable_of("llava", "projector"), PrefixCache()
    batch = steerable.subject.encode([cases_of(steerable)[0].sample], answer="")
    edits = steerable.edits([add(1, key="projector/main")])
    assert bases.begin(steerable.subject, batch, edits) is None
    assert bases.begin(steerable.subject, batch, {}) is None
    assert len(bases) == 0


def test_side_effects_are_those_of_whole_passes() -> None:
    steerable, bases = steerable_of("llava"), PrefixCache()
    prompts = [(case.sample, (7, 9, 11)[: n + 1]) for n, case in enumerate(cases_of(steerable))]
    whole = side_effects(steerable, [add(1, 2)], prompts)
    short = side_effects(steerable, [add(1, 2)], prompts, None, bases.begin)
    assert short.kl.value == pytest.approx(whole.kl.value, abs=1e-5)
    assert short.perplexity_steered == pytest.approx(whole.perplexity_steered, rel=1e-5)
    assert whole.kl.value > 0


def test_only_so_many_bytes_are_kept() -> None:
    steerable = steerable_of("llama")
    cases, bases = cases_of(steerable), PrefixCache(most=1)
    edits = steerable.edits([add(1)])
    assert margins(steerable.subject, cases, edits, begins=bases.begin) == pytest.approx(
        margins(steerable.subject, cases, edits), abs=1e-4
    )
    assert len(bases) == 0
