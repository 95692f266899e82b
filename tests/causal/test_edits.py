"""The arithmetic of steering, on a dictionary small enough to check by hand."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semascope.causal import Intervention, Where, edits_for
from semascope.errors import CausalError, Conflict
from semascope.subject.types import EditContext

KEY = "resid_post.1/main"
MAX = {KEY: {"max": torch.arange(24).float().numpy() + 1.0}}


def run(interventions, dictionary, x, token_map, start=0, statistics=MAX):
    edits = edits_for(interventions, [dictionary], statistics)
    if not edits:
        return x
    return edits[dictionary.site](x, EditContext(start=start, maps=(token_map,)))


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def active(dictionary, x):
    """A feature that fires at some tokens and not at others."""
    fires = (dictionary.dense(x.flatten(0, 1)) > 0).float().mean(0)
    return int((fires - 0.4).abs().argmin())


@pytest.mark.parametrize("how", ["clamp", "add", "ablate", "project"])
def test_strength_zero_leaves_no_edit_behind(how, dictionary):
    """The bar is the unsteered model to the bit, so no hook may even touch the tensor."""
    one = Intervention(features=((KEY, 3),), how=how, strength=0.0)
    assert edits_for([one], [dictionary]) == {}
    assert edits_for([replace_how(one, "scale", 1.0)], [dictionary]) == {}


def replace_how(intervention, how, strength):
    return intervention.model_copy(update={"how": how, "strength": strength})


def test_no_chosen_token_returns_the_very_tensor(dictionary, token_map):
    x = draw(1, 10, 8)
    one = Intervention(features=((KEY, 3),), where=Where(generated=True))
    assert run([one], dictionary, x, token_map) is x


@settings(max_examples=30, deadline=None)
@given(
    how=st.sampled_from(["clamp", "add", "scale", "ablate"]),
    strength=st.floats(-10, 10).filter(lambda s: abs(s) > 1e-3 and abs(s - 1) > 1e-3),
    ids=st.lists(st.integers(0, 23), min_size=1, max_size=6, unique=True),
    seed=st.integers(0, 99),
)
def test_only_the_chosen_features_move_and_the_error_is_kept(how, strength, ids, seed, make):
    """x' − x is exactly Σ (z' − z) W: whatever the dictionary cannot explain stays."""
    dictionary, x = make(), draw(1, 6, 8, seed=seed)
    one = Intervention(features=tuple((KEY, i) for i in ids), how=how, strength=strength)
    edits = edits_for([one], [dictionary], MAX)
    after = edits["resid_post.1"](x, EditContext(0, (plain_map(6),)))
    z = dictionary.dense(x[0])  # (6, 24)
    unit = torch.from_numpy(MAX[KEY]["max"])
    wanted = {
        "clamp": strength * unit.expand_as(z),
        "add": z + strength * unit,
        "scale": strength * z,
        "ablate": (1 - strength) * z,
    }[how]
    expected = x[0] + (wanted - z)[:, ids] @ dictionary.W_dec[ids]
    torch.testing.assert_close(after[0], expected, rtol=1e-4, atol=1e-4)


def plain_map(length):
    import numpy as np

    from semascope.subject.types import Kind, Role, TokenMap

    return TokenMap(
        ids=np.arange(length),
        tokens=tuple("abcdefghij"[:length]),
        kinds=np.full(length, Kind.TEXT, dtype=np.int8),
        roles=np.full(length, Role.USER, dtype=np.int8),
        image=np.full(length, -1, dtype=np.int16),
        rects=np.full((length, 4), np.nan, dtype=np.float32),
        sizes=(),
    )


def test_a_feature_that_topk_left_out_counts_as_silent(dictionary, token_map):
    """Reading its pre-activation instead would 'ablate' features that do not fire."""
    x = draw(1, 10, 8)
    feature = active(dictionary, x)
    after = run([Intervention(features=((KEY, feature),), how="ablate")], dictionary, x, token_map)
    fires = dictionary.dense(x[0])[:, feature] > 0
    changed = (after != x).any(-1)[0]
    assert changed.tolist() == fires.tolist()
    assert 0 < fires.sum() < 10


def test_only_active_steers_where_the_polarity_matches(dictionary, token_map):
    x = draw(1, 10, 8)
    feature = active(dictionary, x)
    one = Intervention(features=((KEY, feature),), strength=3.0, only_active=True)
    changed = (run([one], dictionary, x, token_map) != x).any(-1)[0]
    assert changed.tolist() == (dictionary.dense(x[0])[:, feature] > 0).tolist()


def test_project_removes_the_whole_span(dictionary, token_map):
    x = draw(1, 10, 8)
    one = Intervention(features=((KEY, 2), (KEY, 5)), how="project")
    after = run([one], dictionary, x, token_map)
    assert (after[0] @ dictionary.W_dec[[2, 5]].T).abs().max() < 1e-5


def test_decoding_one_token_at_a_time_steers_as_one_pass_does(dictionary, token_map):
    """With a KV cache the edit sees slices; a wrong offset would steer other tokens."""
    x = draw(1, 14, 8)
    where = Where(kinds=("text",))
    one = Intervention(features=((KEY, 3),), strength=2.0, where=where)
    whole = run([one], dictionary, x, token_map)
    edits = edits_for([one], [dictionary], MAX)["resid_post.1"]
    pieces = [edits(x[:, :10], EditContext(0, (token_map,)))]
    pieces += [edits(x[:, t : t + 1], EditContext(t, (token_map,))) for t in range(10, 14)]
    assert torch.equal(torch.cat(pieces, 1), whole)


def test_every_row_of_a_batch_and_every_beam_is_steered_by_its_own_map(dictionary, token_map):
    """The reference steered batch element 0 alone."""
    other = replace(token_map, tokens=("<s>", "", "", "", "", "red", " a", " dog", "?", "<a>"))
    x = draw(1, 10, 8).expand(4, 10, 8).contiguous()
    one = Intervention(features=((KEY, 3),), where=Where(text="red"), strength=2.0)
    edit = edits_for([one], [dictionary], MAX)["resid_post.1"]
    after = edit(x, EditContext(0, (token_map, other)))
    places = [(after[row] != x[row]).any(-1).nonzero().flatten().tolist() for row in range(4)]
    assert places == [[6], [6], [5], [5]]


def test_two_interventions_on_one_feature_and_token_are_refused_by_name(dictionary, token_map):
    """The last one winning in silence is the defect that this replaces."""
    up = Intervention(features=((KEY, 3),), strength=2.0, name="up")
    down = Intervention(features=((KEY, 3), (KEY, 4)), how="ablate", name="down")
    with pytest.raises(Conflict, match="'up' and 'down'"):
        edits_for([up, down], [dictionary], MAX)
    cat = down.model_copy(update={"where": Where(text="cat")})
    with pytest.raises(Conflict, match=r"main/3.*'up' and 'down'"):
        run([up, cat], dictionary, draw(1, 10, 8), token_map)


def test_different_tokens_or_features_do_not_conflict(dictionary, token_map):
    x = draw(1, 10, 8)
    image = Intervention(features=((KEY, 3),), where=Where(kinds=("image",)), strength=2.0)
    cat = Intervention(features=((KEY, 3),), where=Where(text="cat"), how="add", strength=1.0)
    other = Intervention(features=((KEY, 4),), how="ablate")
    both = run([image, cat, other], dictionary, x, token_map) - x
    one_by_one = sum(run([i], dictionary, x, token_map) - x for i in (image, cat, other))
    torch.testing.assert_close(both, one_by_one)


def test_a_dose_that_overflows_stops_and_names_the_layer(dictionary, token_map):
    one = Intervention(features=((KEY, 3),), how="add", strength=1e9, name="flood")
    one = one.model_copy(update={"strength": 1e38})  # no user can ask for so much
    with pytest.raises(CausalError, match=r"'flood' gives NaN or infinity at resid_post\.1"):
        run([one], dictionary, draw(1, 10, 8), token_map)
    broken = draw(1, 10, 8)
    broken[0, 3] = float("nan")
    with pytest.raises(CausalError, match="not finite already"):
        run([one.at(1.0)], dictionary, broken, token_map)


@pytest.mark.parametrize(
    ("feature", "statistics", "says"),
    [
        (("resid_post.9/none", 3), MAX, "no dictionary 'resid_post.9/none'"),
        ((KEY, 24), MAX, "24 features"),
        ((KEY, 3), None, "gather evidence"),
        ((KEY, 3), {KEY: {"max": torch.zeros(24).numpy()}}, "never fired"),
        ((KEY, 3), {KEY: {}}, "hold no 'max'"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_model_runs(feature, statistics, says, dictionary):
    with pytest.raises(CausalError, match=says):
        edits_for([Intervention(features=(feature,))], [dictionary], statistics)


def test_absolute_units_need_no_statistics(dictionary, token_map):
    one = Intervention(features=((KEY, 3),), how="add", strength=2.0, unit="absolute")
    x = draw(1, 10, 8)
    after = run([one], dictionary, x, token_map, statistics=None)
    torch.testing.assert_close(after - x, 2.0 * dictionary.W_dec[3].expand_as(x))


def test_a_transcoder_reads_at_one_site_and_writes_at_another(make, token_map):
    transcoder = make(site="resid_mid.1", name="tc")
    transcoder.site_out = "mlp_out.1"
    one = Intervention(features=(("resid_mid.1/tc", 2),), how="scale", strength=3.0)
    edits = edits_for([one], [transcoder])
    assert set(edits) == {"resid_mid.1", "mlp_out.1"}
    context = EditContext(0, (token_map,))
    read, written = draw(1, 10, 8), draw(1, 10, 8, seed=2)
    assert torch.equal(edits["resid_mid.1"](read, context), read)
    after = edits["mlp_out.1"](written, context)
    z = transcoder.dense(read[0])[:, 2:3]
    torch.testing.assert_close(after[0] - written[0], 2.0 * z * transcoder.W_dec[2])
