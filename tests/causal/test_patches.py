"""Vision sites seen token by token, and directions lent to other sites."""

import numpy as np
import pytest
import torch

from semascope.causal import Intervention, Where, edits_for
from semascope.causal.attribution.ablation import ablate_exactly
from semascope.causal.attribution.active_features import active_features
from semascope.causal.attribution.attribute import attribute
from semascope.causal.attribution.metrics import LogProb
from semascope.causal.search.ledger import Ledger
from semascope.causal.steering.borrowed_directions import (
    BorrowedDirections,
    borrowed_key,
    home_key,
    lookup,
)
from semascope.corpus.sample import Sample, Turn
from semascope.dictionary.coder import SparseCoder
from semascope.dictionary.config import CoderConfig
from semascope.errors import CausalError, SubjectError
from semascope.subject.patches import VisionPatches, is_pictured
from semascope.subject.types import Kind


def coder_at(subject, site, width=64):
    width_here = subject.sites()[site]
    return SparseCoder(CoderConfig(d_in=width_here, width=width, k=6), site=site, seed=3)


@pytest.fixture
def batch(subject, sample):
    return subject.encode([sample], answer="", max_tokens=None)


def test_patches_are_laid_over_image_tokens_and_taken_back(token_map):
    """One leading entry a picture is no token's, and stays as it is."""
    x = torch.arange(2 * 5 * 3, dtype=torch.float32).view(2, 5, 3)
    layout = VisionPatches.of("vision.0", x, [token_map, token_map])
    tokens = layout.spread(x)
    assert tokens.shape == (2, 10, 3)
    assert torch.equal(tokens[1, 1:5], x[1, 1:])
    assert not tokens[:, 5:].any()
    assert layout.mask().sum(1).tolist() == [4, 4]
    back = layout.gather(tokens + 100, x)
    assert torch.equal(back[:, 1:], x[:, 1:] + 100)
    assert torch.equal(back[:, 0], x[:, 0])
    beams = VisionPatches.of("projector", x[:, 1:].repeat_interleave(2, 0), [token_map, token_map])
    assert len(beams.maps) == 4
    with pytest.raises(SubjectError, match="do not correspond one to one"):
        VisionPatches.of("vision.0", torch.zeros(2, 16, 3), [token_map, token_map])


@pytest.mark.parametrize("site", ["projector", "vision.1"])
def test_what_passes_the_vision_side_is_attributed_by_token(site, subject, batch):
    """All features, the error and the bias sum to x·g there, and ablation agrees in sign."""
    coder = coder_at(subject, site)
    metric = LogProb(7)
    found = attribute(subject, batch, [coder], metric, integrated=2)
    entries = found.sites[0]
    assert entries.gap() < 1e-4
    kinds = found.maps[0].kinds[entries.position]
    assert set(kinds.tolist()) == {int(Kind.IMAGE)}
    assert len(np.unique(entries.position)) == int((batch.maps[0].kinds == Kind.IMAGE).sum())
    told = ablate_exactly(subject, batch, [coder], metric, found, top=12)
    assert told.r > 0.7


def test_a_layer_that_the_language_model_does_not_read_says_so(subject, batch):
    """LLaVA reads the last layer but one of its tower; nothing follows from the last."""
    with pytest.raises(CausalError, match=r"does not depend on vision\.2"):
        attribute(subject, batch, [coder_at(subject, "vision.2")], LogProb(7))


def test_a_prompt_without_a_picture_says_so(subject):
    words = subject.encode([Sample(id="w", turns=(Turn("user", "hello"),))], answer="")
    with pytest.raises(CausalError, match="needs a picture"):
        attribute(subject, words, [coder_at(subject, "projector")], LogProb(7))
    stats = {"projector/main": {"max": np.ones(64)}}
    assert active_features(subject, words, [coder_at(subject, "projector")], stats) == []


def test_steering_at_the_projector_moves_the_chosen_patches_alone(subject, batch):
    coder = coder_at(subject, "projector")
    where = Where(positions=(int(np.flatnonzero(batch.maps[0].kinds == Kind.IMAGE)[2]),))
    key = "projector/main"
    one = Intervention(features=((key, 5),), how="add", strength=3.0, unit="absolute", where=where)
    plain = subject.run(batch, ["projector"])["projector"]
    steered = subject.run(batch, ["projector"], edits=edits_for([one], [coder]))["projector"]
    moved = (steered - plain).flatten(0, 1)
    assert moved.abs().sum(-1).nonzero().flatten().tolist() == [2]
    torch.testing.assert_close(moved[2], 3.0 * coder.directions(torch.tensor([5]))[0])
    text = one.model_copy(update={"where": Where(kinds=("text",))})
    same = subject.run(batch, ["projector"], edits=edits_for([text], [coder]))["projector"]
    assert torch.equal(same, plain)


def test_tiles_and_merged_patches_are_refused_with_a_way_out():
    from semascope.subject.testing import tiny

    qwen = tiny("qwen2_vl")
    from PIL import Image

    turns = (Turn("user", "what?", images=1),)
    asked = Sample(id="q", turns=turns, images=(Image.new("RGB", (56, 56)),))
    batch = qwen.encode([asked], answer="", max_tokens=None)
    site = "vision.0"
    x = qwen.run(batch, [site])[site]
    with pytest.raises(SubjectError, match=r"resid_post\.0"):
        VisionPatches.of(site, x, batch.maps)
    assert is_pictured(site)
    assert not is_pictured("resid_post.3")


def test_directions_are_lent_by_name(dictionary, token_map):
    """The name says whose they are; they can be added and projected out, and not read."""
    from semascope.subject.types import EditContext

    key = borrowed_key("resid_post.1/main", "resid_post.0")
    assert key == "resid_post.0/main@resid_post.1"
    assert home_key(key) == "resid_post.1/main"
    assert borrowed_key("resid_post.1/main", "resid_post.1") == "resid_post.1/main"
    assert isinstance(lookup(key, {"resid_post.1/main": dictionary}), BorrowedDirections)
    assert lookup("resid_post.0/other", {"resid_post.1/main": dictionary}) is None
    stats = {"resid_post.1/main": {"max": np.full(24, 2.0)}}
    one = Intervention(features=((key, 3),), how="add", strength=1.5)
    edits = edits_for([one], [dictionary], stats)
    assert set(edits) == {"resid_post.0"}
    x = torch.zeros(1, 10, 8)
    after = edits["resid_post.0"](x, EditContext(0, (token_map,)))
    torch.testing.assert_close(after[0, 4], 3.0 * dictionary.W_dec[3])
    with pytest.raises(CausalError, match="directions and no activations"):
        edits_for([one.model_copy(update={"how": "clamp"})], [dictionary], stats)
    with pytest.raises(CausalError, match="belong to another site"):
        edits["resid_post.0"](torch.zeros(1, 10, 9), EditContext(0, (token_map,)))


def test_a_ledger_goes_on_under_the_same_options_only(tmp_path):
    path = tmp_path / "a" / "parts.jsonl"
    first = Ledger(path, {"seed": 0})
    assert first.do("one", lambda: [1, 2]) == [1, 2]
    assert first.do("two", lambda: {"x": None}) == {"x": None}
    with path.open("a") as file:
        file.write('{"key": "three", "val')  # killed while writing
    again = Ledger(path, {"seed": 0})
    assert again.do("one", pytest.fail) == [1, 2]
    assert again.do("three", lambda: 3) == 3
    assert list(Ledger(path, {"seed": 0}).parts) == ["one", "two", "three"]
    assert Ledger(path, {"seed": 1}).parts == {}
