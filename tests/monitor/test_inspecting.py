"""What stands behind a token: exact identities on a tiny model of random weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.metrics import ContinuationLogProb, prepare
from semascope.causal.steering.controls import controls
from semascope.causal.steering.interventions import Intervention, Where
from semascope.causal.steering.steerable_model import SteerableModel
from semascope.corpus.sample import Sample, Turn
from semascope.errors import CausalError, NotThere
from semascope.monitor import safety_register as registers
from semascope.monitor.base_rates import measured_base_rates, prompts
from semascope.monitor.clusters import Cluster
from semascope.monitor.conversation import Conversation, read_tokens, token_target
from semascope.monitor.inspection import effects, inspect
from semascope.monitor.try_out import feature_activations, view_both, view_one
from semascope.subject.readable import read_kinds, read_positions, readable
from semascope.subject.types import Kind

KEY, OTHER = "resid_post.1/main", "resid_post.1/other"
WIDTH = 64
ANSWER = (7, 9, 11)


@pytest.fixture(scope="module")
def steerable() -> SteerableModel:
    from semascope.dictionary import CoderConfig, SparseCoder
    from semascope.subject.testing import tiny

    torch.manual_seed(0)
    subject = tiny("llava")
    config = CoderConfig(d_in=subject.d_model, width=WIDTH, k=6)
    coders = [SparseCoder(config, site="resid_post.1") for _ in range(2)]
    coders[1].name = "other"
    figures = {"max": np.full(WIDTH, 2.0), "density": np.full(WIDTH, 0.01)}
    figures["density"][5] = 0.0
    return SteerableModel.of(subject, coders[:1], {KEY: figures, OTHER: figures})


def asked(
    steerable: SteerableModel, *wishes: Intervention, answer: tuple[int, ...] = ANSWER
) -> Conversation:
    sample = Sample(id="x", turns=(Turn("user", "which number is larger here"),))
    return Conversation(steerable, sample, answer=answer, interventions=wishes)


def test_a_token_is_measured_as_a_span_would_be(steerable: SteerableModel) -> None:
    """An answer's token through the metric of one position, and through that of a continuation."""
    here = asked(steerable)
    for n in range(len(ANSWER)):
        target = token_target(here, position=len(here.map) + n)
        span = ContinuationLogProb(ANSWER[: n + 1], start=n)
        ours, theirs = (
            attribute(steerable.subject, here.batch, steerable.dictionaries, metric)
            for metric in (target, span)
        )
        assert ours.values[0] == pytest.approx(theirs.values[0], abs=1e-5)
        assert np.allclose(ours.sites[0].score, theirs.sites[0].score, atol=1e-5)


def test_every_token_read_back_has_its_own_probability(steerable: SteerableModel) -> None:
    here = asked(steerable)
    told = read_tokens(here, top=3)
    assert len(told) == here.total and told[0].logprob is None
    assert [t.id for t in told[-3:]] == list(ANSWER)
    metric = ContinuationLogProb(ANSWER)
    forced = prepare(here.batch, metric)
    whole = float(metric.measure(steerable.subject.logits(forced.batch), forced.ends)[0])
    assert sum(t.logprob or 0.0 for t in told[-3:]) == pytest.approx(whole, abs=1e-4)
    for token in told[1:]:
        assert token.logprob is not None and token.top[0][2] >= token.logprob - 1e-6
    few = read_tokens(asked(steerable, answer=()), top=0)
    assert [t.logprob for t in few[1:]] == pytest.approx(
        [t.logprob for t in told[1 : len(few)]], abs=1e-5
    )


def test_with_no_answer_the_likeliest_token_is_meant(steerable: SteerableModel) -> None:
    here = asked(steerable, answer=())
    target = token_target(here)
    logits = steerable.subject.logits(here.batch)[0, -1]
    assert target.token == int(logits.argmax())
    assert target.probability(here, {}) == pytest.approx(float(logits.softmax(-1).max()), rel=1e-5)


@pytest.mark.parametrize("position", [0, 10_000])
def test_no_token_there(steerable: SteerableModel, position: int) -> None:
    with pytest.raises(CausalError, match="position"):
        token_target(asked(steerable), position=position)
    with pytest.raises(CausalError, match="ids of this model are"):
        token_target(asked(steerable, answer=(10**7,)))
    mark = steerable.subject.encoder.image_token_id
    with pytest.raises(CausalError, match="is an image token"):
        token_target(asked(steerable, answer=(7, mark)))


def test_places_restrict_what_counts_and_parts_sum_to_the_whole(steerable: SteerableModel) -> None:
    here = asked(steerable)
    every = {s.id: s.score for s in inspect(here).shares}
    halves: dict[tuple[str, int], float] = {}
    middle = here.total // 2
    for part in (range(middle), range(middle, here.total)):
        found = inspect(here, where=Where(positions=tuple(part)))
        for share in found.shares:
            halves[share.id] = halves.get(share.id, 0.0) + share.score
        assert {p for places in found.places.values() for p in places} <= set(part)
    assert halves == pytest.approx(every, abs=1e-5)


def test_activation_mode_tells_shares_of_maxima(steerable: SteerableModel) -> None:
    found = inspect(asked(steerable), mode="activation")
    scores = [share.score for share in found.shares]
    assert found.metric == "activation" and scores == sorted(scores, reverse=True)
    assert all(share.score == pytest.approx(share.peak / 2.0) for share in found.shares)
    assert found.probability == pytest.approx(math.exp(found.value), rel=1e-5)


def test_the_steered_run_is_inspected_and_effects_are_exact(steerable: SteerableModel) -> None:
    here = asked(steerable)
    found = inspect(here)
    group = Cluster(found.shares[:3], ("", "", ""), "three", 7.0, 0.0)
    (one,) = effects(here, found, [group])
    gone = inspect(asked(steerable, group.suppress()))
    assert one.after == pytest.approx(gone.probability, rel=1e-5)
    assert one.before == pytest.approx(found.probability, rel=1e-6)
    first, *rest = group.suppress().features
    steered = asked(steerable, Intervention(features=(first,), how="clamp", strength=3.0))
    (partly,) = effects(steered, inspect(steered), [group])
    assert partly.note.startswith("1 of") and partly.after != one.after
    held = Intervention(features=(first, *rest), how="clamp", strength=3.0)
    (wholly,) = effects(asked(steerable, held), found, [group])
    assert wholly.after is None and "already" in wholly.note


def test_controls_match_and_stack_alike(steerable: SteerableModel) -> None:
    """One feature under two interventions has one control, and no control is among the wished."""
    up = Intervention(features=((KEY, 1), (KEY, 2)), where=Where(roles=("user",)))
    down = Intervention(features=((KEY, 2),), where=Where(roles=("assistant",)), how="ablate")
    (a, b), notes = controls(steerable, [up, down])
    assert not notes and a.features[1] == b.features[0]
    assert not {i for _, i in (*a.features, *b.features)} & {1, 2, 5}
    assert (a.how, b.how, a.where) == (up.how, "ablate", up.where)
    none, told = controls(steerable, [Intervention(features=((KEY, 5),))])
    assert none == [] and "1 of 1" in told[0]


def test_ordinary_prompts_are_measured_once(steerable: SteerableModel, tmp_path: Path) -> None:
    some = prompts()[:3]
    calls: list[int] = []
    first = measured_base_rates(
        steerable, some, tmp_path, progress=lambda done, _: bool(calls.append(done))
    )
    again = measured_base_rates(
        steerable, some, tmp_path, progress=lambda *_: pytest.fail("measured again")
    )
    assert calls == [0, 1, 2] and first is not None and again is not None
    assert first.prompts == again.prompts == 3 and set(first.fired) == set(again.fired)
    assert all((first.fired[f] == again.fired[f]).all() for f in first.fired)
    assert measured_base_rates(steerable, some, tmp_path, "new weights", lambda *_: True) is None


def test_one_feature_live_is_what_encoding_says(steerable: SteerableModel) -> None:
    sample = Sample(id="x", text="one two three")
    batch = steerable.subject.encode([sample], max_tokens=None)
    x = steerable.subject.run(batch, ["resid_post.1"])["resid_post.1"][0]
    codes = steerable.dictionaries[KEY].encode(x.float())
    index = int(codes.indices[-1, 0])
    values, seen = feature_activations(steerable, sample, (KEY, index))
    dense = torch.zeros(len(x), WIDTH).scatter_add(1, codes.indices, codes.values.float())
    _, read = readable("resid_post.1", x[None], batch)
    wanted = torch.where(read[0], dense[:, index], 0.0).numpy()
    assert len(values) == len(seen) and np.allclose(values, wanted, atol=1e-5)


def test_template_tokens_and_sinks_are_not_tried(steerable: SteerableModel) -> None:
    """Without: the peak on a user's text is often that of a template token."""
    sample = Sample(id="x", turns=(Turn("user", "one two three"),))
    values = np.stack([feature_activations(steerable, sample, (KEY, i))[0] for i in range(WIDTH)])
    token_map = feature_activations(steerable, sample, (KEY, 0))[1]
    fires = (values > 0).any(0)
    assert fires.any()
    assert fires.tolist() == (read_kinds(token_map) != 0).tolist()
    assert Kind.SPECIAL in token_map.kinds


def test_l0_and_fvu_are_over_the_tokens_that_the_dictionary_reads(
    steerable: SteerableModel,
) -> None:
    conversation = asked(steerable)
    side = view_one(conversation)
    batch = conversation.whole.batch
    x = steerable.subject.run(batch, ["resid_post.1"])["resid_post.1"]
    rows = x[torch.from_numpy(read_positions(batch.maps, x.shape[1]))].float()
    dictionary = steerable.dictionaries[KEY]
    error = (rows - dictionary.decode(dictionary.encode(rows))).pow(2).sum()
    fvu = float(error / (rows - rows.mean(0)).pow(2).sum())
    assert len(rows) < x.shape[1]
    assert side.fvu == pytest.approx(fvu, rel=1e-4)


def test_two_dictionaries_on_one_prompt(steerable: SteerableModel) -> None:
    from semascope.dictionary import CoderConfig, SparseCoder

    twin = SparseCoder(
        CoderConfig(d_in=steerable.subject.d_model, width=WIDTH, k=6), site="resid_post.1"
    )
    twin.load_state_dict(steerable.dictionaries[KEY].state_dict())  # type: ignore[attr-defined]
    twin.name = "other"
    both = SteerableModel.of(
        steerable.subject, [steerable.dictionaries[KEY], twin], steerable.statistics
    )
    found = view_both(asked(both))
    one, other = found.sides
    assert (one.key, other.key) == (KEY, OTHER) and one.l0 == other.l0 and one.fvu == other.fvu
    assert [s.index for s in one.shares] == [s.index for s in other.shares]
    assert {(a[1], t) for a, b, t in found.pairs if a[1] == b[1]} >= {(one.shares[0].index, 1.0)}
    with pytest.raises(CausalError, match="two different"):
        view_both(asked(steerable))


def test_a_registers_feature_is_measured_on_its_probes(steerable: SteerableModel) -> None:
    concept = registers.register().concept("flattery")
    done: list[int] = []
    found = registers.measure_on_probes(
        steerable, (KEY, 1), concept, progress=lambda n, _: bool(done.append(n))
    )
    assert found is not None and done == list(range(len(concept.probes)))
    assert found.effect.low <= found.effect.value <= found.effect.high
    still = registers.measure_on_probes(steerable, (KEY, 1), concept, strength=0.0)
    assert still is not None and still.effect.value == 0.0 and still.control == 0.0
    assert (
        registers.measure_on_probes(steerable, (KEY, 1), concept, progress=lambda *_: True) is None
    )
    with pytest.raises(NotThere, match="deception"):
        registers.register().concept("nothing")
