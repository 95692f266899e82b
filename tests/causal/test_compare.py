"""Steering a whole model: the tiny LLaVA answers with and without interventions."""

import pytest
import torch

from semascope.causal import Intervention, Where, compare, edits_for
from semascope.corpus.sample import Sample, Turn
from semascope.errors import CausalError

KEY = "resid_post.1/main"


def clamp(index, strength, **where):
    return Intervention(
        features=((KEY, index),), strength=strength, unit="absolute", where=Where(**where)
    )


@pytest.mark.parametrize("how", ["clamp", "add", "ablate", "project", "scale"])
def test_strength_zero_is_the_unsteered_model_to_the_bit(how, subject, sample, coders):
    off = Intervention(
        features=((KEY, 3),), how=how, strength=1.0 if how == "scale" else 0.0, unit="absolute"
    )
    batch = subject.encode([sample], answer="")
    edits = edits_for([off], coders)
    assert torch.equal(subject.logits(batch, edits=edits), subject.logits(batch))


def test_both_answers_and_the_distance_between_them(subject, sample, coders):
    told = compare(subject, sample, [clamp(3, 40.0)], coders, max_new_tokens=6)
    assert told.changed
    assert told.kl > 0.1
    assert len(told.shifts) == len(told.base.tokens)
    same = compare(subject, sample, [clamp(3, 0.0)], coders, max_new_tokens=6)
    assert not same.changed
    assert same.kl == 0.0
    assert same.logprob_shift == 0.0
    assert told.as_json()["interventions"][0]["features"] == [[KEY, 3]]


def test_forced_probabilities_are_those_that_the_generation_had(subject, sample, coders):
    """Positions off by one would measure other tokens than those that were written."""
    told = compare(subject, sample, [clamp(3, 5.0)], coders, max_new_tokens=6)
    for shift, token in zip(told.shifts, told.base.tokens, strict=True):
        assert shift.before == pytest.approx(token.logprob, abs=1e-4)
    again = compare(subject, sample, [], coders, max_new_tokens=6)
    assert [s.before for s in again.shifts] == [s.after for s in again.shifts]


def test_cached_decoding_steers_as_one_forced_pass_does(subject, sample, coders):
    """The reference clamped at prefill only, so its answers drifted back to the unsteered ones."""
    from semascope.causal.attribution.forced_tokens import answer_logprobs

    edits = edits_for([clamp(3, 20.0)], coders)
    told = subject.generate(sample, edits=edits, max_new_tokens=8)
    ids = [token.id for token in told.tokens]
    forced = answer_logprobs(subject, subject.encode([sample], answer=""), [ids], edits)[0]
    for at, token in enumerate(told.tokens):
        assert float(forced[at, token.id]) == pytest.approx(token.logprob, abs=1e-3)
    only_prompt = edits_for([clamp(3, 20.0, generated=False)], coders)
    prompt = answer_logprobs(subject, subject.encode([sample], answer=""), [ids], only_prompt)[0]
    assert (forced[1:] - prompt[1:]).abs().max() > 1e-3
    assert (forced[0] - prompt[0]).abs().max() < 1e-5


def test_a_batch_is_steered_as_each_prompt_alone(subject, sample, coders):
    """Left padding must not move the steered tokens."""
    short = Sample(id="s", turns=(Turn("user", "is there a red cat here? say yes"),))
    edits = edits_for([clamp(3, 30.0, text="cat")], coders)
    together = subject.generate_batch([sample, short], edits=edits, max_new_tokens=6)
    alone = [subject.generate(s, edits=edits, max_new_tokens=6) for s in (sample, short)]
    assert [g.text for g in together] == [g.text for g in alone]


def test_an_output_that_breaks_names_the_first_layer_that_broke(subject, sample):
    from semascope.causal.steering.compare import token_shifts

    def broken(x, _):
        return x * float("nan")

    with pytest.raises(CausalError, match=r"resid_post\.1 is the first site"):
        token_shifts(subject, sample, [5, 6], {"resid_post.1": broken})


def test_interventions_that_move_nothing_say_so(subject, sample, coders):
    """A feature that never fires cannot be ablated; silence would look like 'no effect'."""
    x = subject.run(subject.encode([sample], answer=""), ["resid_post.1"])["resid_post.1"]
    fires = set(coders[1].encode(x[0]).indices.flatten().tolist())
    idle = next(i for i in range(128) if i not in fires)
    off = Intervention(features=((KEY, idle),), how="ablate", where=Where(generated=False))
    told = compare(subject, sample, [off], coders, max_new_tokens=3)
    assert "changed nothing" in told.notes[0]
    assert compare(subject, sample, [clamp(3, 9.0)], coders, max_new_tokens=3).notes == ()
