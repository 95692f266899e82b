"""Planted structure is found: shared names, splits, concepts, contrasts; and controls stay low."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evidence_fakes import DIM, SITE, FakeDictionary, FakeSubject, ListCorpus
from PIL import Image

from semascope.corpus.sample import Sample, SceneObject, SceneTruth, Turn
from semascope.dictionary.types import Codes
from semascope.errors import EvidenceError
from semascope.evidence import Evidence, gather
from semascope.evidence.concepts import completeness, match
from semascope.evidence.examples import fires_on
from semascope.evidence.promoted import promoted
from semascope.evidence.shared import named, shared
from semascope.evidence.splitting import parents, tree

THINGS = ("bat", "cup", "fox", "gem")


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


def scene(row: int, thing: int) -> Sample:
    """One thing on the left half, its name in the words, a row number so that no two are alike."""
    pixels = np.full((8, 16, 3), 250, np.uint8)
    pixels[:, :8] = 40 + 40 * thing
    pixels[0, 15] = row % 256, row // 256, 0
    mask = np.zeros((8, 16), bool)
    mask[:, :8] = True
    truth = SceneTruth((SceneObject(THINGS[thing], "thing", (0, 0, 8, 8), mask),), "plain", "")
    turns = (Turn("user", f"{row} {THINGS[thing]}", 1),)
    return Sample(f"s{row}", turns=turns, images=(Image.fromarray(pixels),), truth=truth)


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
