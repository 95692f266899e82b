"""Kept forward passes: the same numbers as passes that are not kept, and nobody else's."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from semascope.causal.attribution.pass_cache import PassCache
from semascope.causal.steering.interventions import Intervention
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.dictionary import CoderConfig, SparseCoder
from semascope.monitor.clusters import Cluster
from semascope.monitor.conversation import Conversation, read_tokens, token_target
from semascope.monitor.inspection import effects, inspect
from semascope.subject.testing import tiny

SITE = "resid_post.0"
KEY = f"{SITE}/main"
ANSWER = (7, 9, 11, 6, 8)
HELD = ("llama", "gpt2", "llava", "qwen2_vl", "qwen3_vl", "smolvlm", "gemma3")
BEGUN = ("gemma2",)
"""Logits are capped, so the graph is not kept."""
NOT_HELD = ("paligemma",)
"""The prompt looks ahead."""


def steerable_of(family: str) -> SteerableModel:
    subject = tiny(family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        coder = SparseCoder(CoderConfig(d_in=subject.d_model, width=48, k=6), site=SITE)
    return SteerableModel.of(subject, [coder], {KEY: {"max": np.full(48, 2.0)}})


@pytest.fixture(scope="module")
def llava() -> SteerableModel:
    return steerable_of("llava")


def asked(
    steerable: SteerableModel,
    holder: PassCache | None,
    *wishes: Intervention,
    answer: tuple[int, ...] = ANSWER,
    shade: int | None = 90,
) -> Conversation:
    """A conversation, with a picture of one shade where the subject sees."""
    picture = shade is not None and steerable.subject.has_vision
    images = (Image.new("RGB", (40, 30), (shade or 0, 20, 200)),) if picture else ()
    turn = Turn("user", "what number is on it", images=len(images))
    sample = Sample(id="x", turns=(turn,), images=images)
    return Conversation(steerable, sample, answer=answer, interventions=wishes, pass_cache=holder)


def alike(
    plain: Conversation, kept: Conversation, position: int | None, mode: str = "attribution"
) -> None:
    """The two inspections say the same."""
    one, two = (inspect(a, position=position, mode=mode) for a in (plain, kept))
    assert two.target == one.target
    assert two.value == pytest.approx(one.value, abs=1e-5)
    assert two.probability == pytest.approx(one.probability, abs=1e-6)
    told = {s.id: s.score for s in one.shares}
    assert {s.id: s.score for s in two.shares} == pytest.approx(told, abs=1e-5)
    assert two.unexplained == (one.unexplained and pytest.approx(one.unexplained, abs=1e-4))


@pytest.mark.parametrize("family", [*HELD, *BEGUN, *NOT_HELD])
def test_every_token_is_explained_as_without(family: str) -> None:
    """Of the answer and of the prompt; one pass, begun by whoever asks first, serves all."""
    steerable, holder = steerable_of(family), PassCache()
    plain, kept = asked(steerable, None), asked(steerable, holder)
    first = len(plain.map)
    for position in (None, first, first + 2, first - 1):
        alike(plain, kept, position)
    alike(plain, kept, first + 1, "activation")
    held = kept.cached_pass()
    assert (held is None) == (family in NOT_HELD)
    if held is not None:
        assert (held.final is None) == (family in BEGUN) and len(holder) == 1
        # Qwen3-VL's first layers are handed the picture once more; its first site is among them.
        assert (held.base is None) == (family == "qwen3_vl")
        assert_effects_alike(plain, kept)


def assert_effects_alike(plain: Conversation, kept: Conversation) -> None:
    """Ablations that begin half-way do what whole ones do."""
    found = inspect(plain)
    groups = [Cluster(found.shares[n : n + 2], ("", ""), "two", 7.0, 0.0) for n in (0, 2, 4)]
    for one, two in zip(effects(plain, found, groups), effects(kept, found, groups), strict=True):
        assert one.after is not None and one.after != one.before
        assert two.after == pytest.approx(one.after, rel=1e-4)


def test_a_pass_serves_its_beginnings_and_no_other(llava: SteerableModel) -> None:
    holder = PassCache()
    whole = asked(llava, holder).cached_pass()
    assert whole is not None and 0 < whole.size == holder.size
    for n in range(len(ANSWER)):
        assert asked(llava, holder, answer=ANSWER[:n]).cached_pass(make=False) is whole
        alike(asked(llava, None, answer=ANSWER[:n]), asked(llava, holder, answer=ANSWER[:n]), None)
    up = Intervention(features=((KEY, 1),), how="clamp", strength=3.0)
    for other in (
        asked(llava, holder, answer=(8,)),
        asked(llava, holder, answer=(*ANSWER, 8)),
        asked(llava, holder, shade=91),
        asked(llava, holder, shade=None),
        asked(llava, holder, up),
    ):
        assert other.cached_pass(make=False) is None


def test_the_steered_run_is_held_as_itself(llava: SteerableModel) -> None:
    holder = PassCache()
    for strength in (3.0, 6.0):
        up = Intervention(features=((KEY, 1), (KEY, 5)), how="clamp", strength=strength)
        for position in (None, len(asked(llava, None).map) + 1):
            alike(asked(llava, None, up), asked(llava, holder, up), position)
        assert_effects_alike(asked(llava, None, up), asked(llava, holder, up))
    assert len(holder) == 2
    told = read_tokens(asked(llava, None, up)), read_tokens(asked(llava, holder, up))
    for one, two in zip(*told, strict=True):
        assert two.logprob == (one.logprob and pytest.approx(one.logprob, abs=1e-5))


def test_edits_that_would_pass_by_other_sinks_are_not_held(llava: SteerableModel) -> None:
    """One token is a sink beside the prompt's median and none beside the whole's."""
    here = asked(llava, None)
    prompt = len(here.map)
    for answered, held in ((1.0, True), (8.0, False)):
        length = torch.full((prompt + len(ANSWER),), answered)
        length[:prompt], length[: prompt // 2 + 2], length[2] = answered, 1.0, 12.0

        def long(x: torch.Tensor, _: object, norms: torch.Tensor = length) -> torch.Tensor:
            return torch.nn.functional.normalize(x, dim=-1) * norms[:, None]

        edits = {"resid_post.0": long, "resid_pre.1": lambda x, _: x}
        made = PassCache().make("x", llava.subject, here.whole, [SITE], edits)
        assert made is not None and (made.final is not None) == held


def test_memory_is_bounded_and_given_back(llava: SteerableModel) -> None:
    assert asked(llava, PassCache()).cached_pass() is not None
    before = tensors()
    holder = PassCache()
    first = asked(llava, holder).cached_pass()
    assert first is not None
    gone, size = weakref.ref(first.final), first.size
    del first
    small = PassCache(size // 2)  # not the graph, then, but where passes begin
    half = asked(llava, small).cached_pass()
    assert half is not None and half.final is None and 0 < small.size < size // 2
    alike(asked(llava, None), asked(llava, small), None)
    assert_effects_alike(asked(llava, None), asked(llava, small))
    none = PassCache(0)
    assert asked(llava, none).cached_pass() is None and none.size == 0
    two = PassCache(2 * size + size // 2)
    for shade in (1, 2, 3):
        assert asked(llava, two, shade=shade).cached_pass() is not None
    assert len(two) == 2 and two.size <= two.most
    assert asked(llava, two, shade=1).cached_pass(make=False) is None
    del holder, small, half, two
    assert gone() is None  # without waiting for the collector
    # Hooks on what a graph saves would keep some hundred tensors for ever.
    assert tensors() <= before


def tensors() -> int:
    """How many there are."""
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


def test_a_longer_pass_takes_the_place_of_its_beginnings(llava: SteerableModel) -> None:
    holder = PassCache()
    for n in (1, 3, 5):
        here = asked(llava, holder, answer=ANSWER[:n])
        assert here.cached_pass() is not None and token_target(here).token == ANSWER[n - 1]
    assert len(holder) == 1
