"""Planted structure is found: shared names, splits, concepts, contrasts; and controls stay low."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from evidence_fakes import DIM, SITE, THINGS, FakeDictionary, FakeSubject, ListCorpus, scene

from semascope.atlas import Atlas
from semascope.corpus.sample import Sample
from semascope.dictionary.types import Codes
from semascope.errors import EvidenceError
from semascope.evidence import Evidence, gather
from semascope.evidence.analysis.by_example import fires_on, picture, prompts, responding
from semascope.evidence.analysis.concepts import completeness, match
from semascope.evidence.analysis.cross_modal import named, shared
from semascope.evidence.analysis.families import complete
from semascope.evidence.analysis.logit_lens import promoted
from semascope.evidence.analysis.splitting import parents, tree
from semascope.evidence.store.publish import publish, publish_map


@dataclass(frozen=True)
class Words:
    """What an explainer gives."""

    feature: int
    label: str
    description: str = "a thing"
    category: str = "object"
    confidence: float = 0.5
    abstained: bool = False
    author: str = "namer"
    prompt_version: str = "1"
    inputs: str = ""
    cost: dict[str, float] = field(default_factory=dict)


class Planted(FakeDictionary):
    """Feature i fires on grey level 40 + 40 i, and on the i-th thing's first letter."""

    def __init__(self) -> None:
        super().__init__(width=8)
        self.weight = torch.randn(8, DIM, generator=torch.Generator().manual_seed(0))

    def encode(self, x: torch.Tensor) -> Codes:
        values = torch.zeros(len(x), 1)
        indices = torch.zeros(len(x), 1, dtype=torch.int64)
        ids = x[:, 0].round().long()
        for i, thing in enumerate(THINGS):
            mine = (ids == 256 + 40 + 40 * i) | (ids == ord(thing[0]))
            values[mine, 0] = 1.0 + i
            indices[mine, 0] = i
        return Codes(values, indices)


class Ids(FakeSubject):
    """Activations that say which token it is."""

    def run(self, batch, sites, **_):  # type: ignore[no-untyped-def]
        ids = batch.inputs["input_ids"].float()
        return dict.fromkeys(sites, ids[:, :, None].expand(-1, -1, DIM))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Things in proportion 8 : 4 : 2 : 1."""
    folder: Path = tmp_path_factory.mktemp("planted")
    which = np.random.default_rng(0).choice(4, 150, p=np.array([8, 4, 2, 1]) / 15)
    rows = ListCorpus([scene(i, int(w)) for i, w in enumerate(which)])
    gather(Ids(), rows, [Planted()], folder / "e", media=folder / "m", per_interval=40)
    return Evidence.open(folder / "e", "main")


def test_word_and_picture_of_one_thing(evidence: Evidence) -> None:
    """The planted names come first; the word of one and the picture of another do not."""
    found = shared(evidence)
    assert {(s.index, s.name) for s in found} == set(enumerate(THINGS))
    for one in found:
        assert one.on_picture > 0.9
        assert one.score > 0.9
        assert one.control < 0.1


def test_names_are_whole_words(evidence: Evidence) -> None:
    """ "bat" is not in "combat", and "bats" names bats."""
    shown = evidence.shown.get(0)
    name = shown.truth["objects"][0]["name"]
    letters = "".join(t for t, m in zip(shown.tokens, named(shown, name), strict=True) if m)
    assert letters == name
    assert not named(shown, name[:2]).any()


def test_concepts_have_their_features(evidence: Evidence) -> None:
    """Chosen on one half, perfect on the other; another concept's feature is worth nothing."""
    found = {c.name: c for c in match(evidence, least=2)}
    assert {found[t].feature for t in found} == {THINGS.index(t) for t in found}
    assert all(c.f1 == pytest.approx(1) for c in found.values())
    whole = completeness(evidence, least=2)
    assert whole.share == 1
    assert whole.chance == 0
    assert np.isnan(whole.half)  # all have one: there is no point of half


def test_search_by_samples() -> None:
    """Fires on these and not on those; the frequent one that fires on both is not first."""
    like, unlike = [scene(1, 0), scene(2, 0)], [scene(3, 1), scene(4, 2)]
    best = fires_on(Ids(), Planted(), like, unlike)
    assert best[0].index == 0
    assert (best[0].like, best[0].unlike) == (1, 0)
    assert all(b.contrast <= best[0].contrast for b in best)
    text = [Sample("t", text="bbb")]
    assert fires_on(Ids(), Planted(), text)[0].index == 0
    assert fires_on(Ids(), Planted(), text, images_only=True) == []
    with pytest.raises(EvidenceError, match="at least one sample"):
        fires_on(Ids(), Planted(), [])


def family() -> list[FakeDictionary]:
    """Feature 0 becomes features 0 and 1, then three; the last of each is new."""
    eye = torch.eye(DIM)
    small, middle, large = FakeDictionary(2), FakeDictionary(4), FakeDictionary(6)
    small.weight = eye[[0, 1]]
    middle.weight = torch.stack([eye[0] + 0.3 * eye[4], eye[0] - 0.3 * eye[4], eye[1], eye[5]])
    apart = 0.4 * eye[6]
    large.weight = torch.stack(
        [middle.weight[0] + apart, middle.weight[0] - apart, *middle.weight[1:4], eye[8]]
    )
    for name, one in zip(("2", "4", "6"), (small, middle, large), strict=True):
        one.name = name
    return [small, middle, large]


def test_splitting_tree() -> None:
    """What was planted, whatever order the family is given in."""
    small, middle, large = family()
    found = parents(small, middle)
    assert found.parent.tolist() == [0, 0, 1, -1]
    root = tree([large, small, middle], 0)
    assert (root.leaves(), [b.index for b in root.children]) == (3, [0, 1])
    assert sorted(b.index for b in root.children[0].children) == [0, 1]
    assert tree([small, middle, large], 1).leaves() == 1
    with pytest.raises(EvidenceError, match="two widths"):
        tree([small], 0)
    middle.weight = torch.ones(4, 3)
    with pytest.raises(EvidenceError, match="one site"):
        parents(small, middle)


def test_promoted_tokens() -> None:
    """Against the whole product."""
    dictionary, head = FakeDictionary(), torch.randn(30, DIM)
    found = promoted(dictionary, head, np.array([3, 5]), k=4)
    logits = dictionary.weight[[3, 5]] @ head.T
    assert found.up.tolist() == logits.topk(4).indices.tolist()
    assert found.down.tolist() == logits.topk(4, largest=False).indices.tolist()
    assert promoted(dictionary, head, np.zeros(0, np.int64)).up.shape == (0, 10)
    with pytest.raises(EvidenceError, match=SITE):
        promoted(dictionary, torch.randn(30, 5), np.array([1]))


def test_every_width_of_a_family_is_measured(tmp_path: Path) -> None:
    """The wider one knows all four things, the narrower the two commonest: half lies between."""

    class Narrow(Planted):
        name = "narrow"

        def encode(self, x: torch.Tensor) -> Codes:
            codes = super().encode(x)
            return Codes(codes.values * (codes.indices < 2), codes.indices)

    narrow, wide = Narrow(), Planted()
    narrow.name, narrow.width = "narrow", 4
    which = np.random.default_rng(0).choice(4, 150, p=np.array([8, 4, 2, 1]) / 15)
    rows = ListCorpus([scene(i, int(w)) for i, w in enumerate(which)])
    gather(Ids(), rows, [wide, narrow], tmp_path / "e", media=tmp_path / "m", per_interval=40)
    found = complete(tmp_path / "e", least=2)
    small, large = found["dictionaries"]
    assert (small["width"], large["width"]) == (4, 8)
    assert 100 < found["scenes"] <= 150
    assert (small["share"], large["share"]) == (0.5, 1.0)
    assert [c["name"] for c in small["concepts"] if c["has"]] == ["bat", "cup"]
    assert small["curve"][0]["share"] == 0
    assert small["curve"][-1]["share"] == 1
    often = {c["name"]: c["frequency"] for c in small["concepts"]}
    assert often["fox"] < small["half"] < often["cup"]
    assert large["half"] is None
    json.dumps(found, allow_nan=False)
    with pytest.raises(EvidenceError, match="one of name"):
        complete(tmp_path / "e", field="nane")
    with pytest.raises(EvidenceError, match="occurs 90 times"):
        complete(tmp_path / "e", least=90)


def test_completeness_needs_truth(tmp_path: Path) -> None:
    """Texts say nothing of what is in them; the message names a corpus that does."""
    rows = ListCorpus([Sample(f"t{i}", text="bat cup") for i in range(8)])
    gather(Ids(), rows, [Planted()], tmp_path / "e", media=tmp_path / "m")
    with pytest.raises(EvidenceError, match="--corpus scenes"):
        complete(tmp_path / "e")
    with pytest.raises(EvidenceError, match="semascope gather"):
        complete(tmp_path / "none")


@pytest.fixture
def atlas(evidence: Evidence, tmp_path: Path) -> Iterator[Atlas]:
    """The planted features, as the page knows them."""
    with Atlas.open(tmp_path / "atlas.db") as out:
        publish(evidence, out, exemplars=0)
        yield out


def test_search_by_samples_keeps_the_filters(atlas: Atlas) -> None:
    """What fires here and not there, of those that the atlas lets through, with its figures."""
    like, unlike = [scene(1, 0), scene(2, 0)], [scene(3, 1)]
    best = responding(Ids(), [Planted()], atlas, like, unlike)
    assert best[0].feature.id == f"{SITE}/main/0"
    response = best[0].response
    assert (response.contrast, response.like, response.unlike) == (1, 1, 0)
    assert best[0].feature.max == 1
    kept = {"max_density": best[0].feature.density / 2}
    assert 0 not in [
        r.feature.index for r in responding(Ids(), [Planted()], atlas, like, where=kept)
    ]
    assert responding(Ids(), [Planted()], atlas, like, where={"layer": 7}) == []
    assert len(responding(Ids(), [Planted()], atlas, like, k=1)) == 1


def test_prompts_come_from_a_file(tmp_path: Path) -> None:
    """One a line; a line that names a picture is the picture."""
    scene(1, 2).images[0].save(tmp_path / "fox.png")
    (tmp_path / "a.txt").write_text("bbb\n\n fox.png \nno.png\n")
    texts = prompts(tmp_path / "a.txt")
    assert [s.text for s in texts] == ["bbb", "", "no.png"]
    assert texts[1].images[0].size == (16, 8)
    assert fires_on(Ids(), Planted(), [texts[1]], images_only=True)[0].index == 2
    (tmp_path / "b.txt").write_text("\n")
    for name, why in (("b.txt", "holds no prompt"), ("c.txt", "cannot be read")):
        with pytest.raises(EvidenceError, match=why):
            prompts(tmp_path / name)
    with pytest.raises(EvidenceError, match="is not a picture"):
        picture(tmp_path / "a.txt")


def test_the_map_of_a_gathering(evidence: Evidence, atlas: Atlas) -> None:
    """Every alive feature has a place; the regions' names are the atlas's labels."""
    words = [Words(i, thing) for i, thing in enumerate(THINGS)]
    atlas.write_explanations(evidence.key, words)
    drawn = publish_map(evidence, atlas, method="tsne")
    back = atlas.map(evidence.key)
    assert back.index.tolist() == evidence.alive().tolist()
    assert back.label == THINGS
    assert {r.label for r in drawn.regions} <= set(THINGS)
    near = atlas.feature(evidence.key, 0, exemplars=False).near
    assert len(near["cosine"]) == 3
