"""A planted family: what splits, what is new, what is shared and what a neuron carries is found."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from tests.evidence.evidence_fakes import SITE, ListCorpus
from tests.evidence.planted_family import (
    NARROW,
    THINGS,
    WIDE,
    coders,
    planted_rows,
    workspace,
)

from semascope.cli import main
from semascope.corpus.sample import Sample
from semascope.errors import EvidenceError
from semascope.evidence import Evidence
from semascope.evidence.analysis import lineage, plots
from semascope.evidence.analysis.cross_modal import shared
from semascope.evidence.analysis.families import family
from semascope.evidence.analysis.lineage import Lineage
from semascope.evidence.gathering.neighbours import overlap
from semascope.evidence.gathering.tally import SKETCH
from semascope.evidence.store.files import write_arrays, write_json
from semascope.evidence.store.logit_lens_store import aligned, read
from semascope.workspace import Workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two widths."""
    return workspace(tmp_path_factory.mktemp("family"), coders(), planted_rows())


@pytest.fixture(scope="module")
def line(folder: Path) -> Lineage:
    """Given widest first: the order is the widths'."""
    members = family(Workspace(folder).evidence())[::-1]
    return Lineage(members, coders()[::-1])


@pytest.fixture
def ask(folder: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a verb on the family; (exit code, what it printed, what it said to stderr)."""

    def run(*words: str, at: Path = folder) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*words, "-w", str(at)])
        said = capsys.readouterr()
        return code, said.out, re.sub(r"\s+", " ", said.err)

    return run


def test_one_splits_two_stay_and_the_rest_is_new(line: Lineage) -> None:
    """Exactly what was planted; shuffled coordinates find no parents."""
    (step,) = line.steps()
    assert (step["narrow"], step["wide"], step["alive"]) == (NARROW, WIDE, [3, 6])
    assert (step["kept"], step["split"], step["ended"], step["new"]) == (2, 1, 0, 2)
    assert step["new_features"] == [4, 5]
    assert [one["feature"] for one in step["becomes"]["0"]] == [0, 1]
    assert step["found"] == pytest.approx(4 / 6, abs=1e-4)
    assert step["chance"] < step["found"]
    assert line.most(2) == [(0, 2), (1, 1)]


def test_the_tree_of_a_concept(line: Lineage) -> None:
    """Children with both figures: a part fires where the whole does, and the whole more often."""
    found = line.known("Bat")
    assert found is not None
    assert (found.place, found.index, found.concept) == (0, 0, "bat")
    tree = line.tree(found.place, found.index)
    assert (tree["leaves"], tree["asked"], tree["name"]) == (2, True, "bat")
    pictured, written = tree["children"]
    for child in (pictured, written):
        assert child["cosine"] == pytest.approx(1 / np.sqrt(1.09), abs=1e-4)
        assert child["within"] == 1
        assert child["usual"] < 0.6
    assert pictured["together"] > written["together"] > 0.1  # two tokens a picture, one a word
    assert pictured["together"] + written["together"] == pytest.approx(1, abs=0.05)
    few = line.tree(0, 0, most=1)
    assert (len(few["children"]), few["more"]) == (1, 1)


def test_a_feature_that_is_never_right_tells_nothing(
    line: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tree of "dog" once began at a feature for hexagons, with F1 0."""
    real = lineage.match

    def never(*args: Any, **more: Any) -> list[Any]:
        return [replace(one, f1=0.0) for one in real(*args, **more)]

    monkeypatch.setattr(lineage, "match", never)
    assert line.known("bat") is None


def test_from_below_the_way_up_is_shown(line: Lineage) -> None:
    """A child's tree begins with its parent and leaves its siblings out; a new one has none."""
    assert line.ancestors(1, 1) == [(0, 0), (1, 1)]
    tree = line.tree(1, 1)
    assert (tree["feature"], tree["asked"], tree["more"]) == (f"{NARROW}/0", False, 1)
    assert [(c["feature"], c["asked"]) for c in tree["children"]] == [(f"{WIDE}/1", True)]
    gem = line.known("gem")
    assert gem is not None
    assert (gem.place, gem.index) == (1, 4)
    alone = line.tree(gem.place, gem.index)
    assert (alone["children"], alone["leaves"], "cosine" in alone) == ([], 1, False)
    also = line.apart(gem, alone, 6)
    assert [(one["feature"], one["from"]) for one in also] == [(f"{WIDE}/5", "")]
    assert line.known("owl") is None
    with pytest.raises(EvidenceError, match="never fired"):
        line.tree(0, 3)


def test_another_threshold_is_another_tree_of_the_same_family(line: Lineage) -> None:
    """As if it had been asked for at once; the nearest parent is told though it is too far."""
    strict, members = line.at(0.97), family(Workspace(line.members[0].folder.parent).evidence())
    again = Lineage(members, coders(), threshold=0.97)
    assert strict.tree(0, 0) == again.tree(0, 0)
    assert (strict.tree(0, 0)["children"], len(line.tree(0, 0)["children"])) == ([], 2)
    assert strict.ancestors(1, 1) == [(1, 1)]
    near = strict.nearest(1, 1)
    assert near is not None
    assert near == (0, pytest.approx(1 / np.sqrt(1.09), abs=1e-4))
    assert strict.nearest(0, 0) is None
    assert strict.nearest(1, 7) is None  # it never fired
    assert strict.steps()[0]["chance"] is not None
    strict.let_go()
    assert strict.steps()[0]["chance"] is None
    assert line.steps()[0]["chance"] is not None  # each its own


def test_words_come_before_concepts(folder: Path) -> None:
    """What the atlas calls a feature is its name."""
    members = family(Workspace(folder).evidence())
    named = Lineage(members, coders(), words={(NARROW, 0): "a flying mouse"})
    assert named.tree(0, 0)["name"] == "a flying mouse"
    assert named.tree(0, 1)["name"] == "cup"


def test_overlap_of_sketches_is_jaccard() -> None:
    """Exact while both sets fit the sketch; unknown where neither fires."""
    never = np.iinfo(np.uint64).max
    rows = np.full((3, SKETCH), never, np.uint64)
    rows[0, :30], rows[1, :20] = np.arange(30), np.arange(20, 40)
    found = overlap(rows[[0, 0, 2]], rows[[1, 0, 2]])
    assert found[:2].tolist() == pytest.approx([10 / 40, 1])
    assert np.isnan(found[2])
    full = np.sort(np.random.default_rng(0).choice(10_000, (2, 400), replace=False), axis=1)
    a, b = full[0], np.sort(np.concatenate([full[0][:200], full[1][:200]]))
    truth = len(np.intersect1d(a, b)) / len(np.union1d(a, b))
    pair = [x[:SKETCH].astype(np.uint64)[None] for x in (a, b)]
    assert overlap(*pair)[0] == pytest.approx(truth, abs=0.15)


def test_splitting_says_shows_and_draws(ask, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """The JSON, the file of it, and a picture with every feature of the tree."""
    code, out, _ = ask("evaluate", "splitting", "--concept", "a bat", "--json")
    told = json.loads(out)
    assert code == 0
    assert told == json.loads((folder / "evaluations" / "splitting.json").read_text())
    assert told["asked"]["feature"] == f"{NARROW}/0"
    assert [c["feature"] for c in told["tree"]["children"]] == [f"{WIDE}/0", f"{WIDE}/1"]
    words = " ".join(ElementTree.parse(told["picture"]).getroot().itertext())
    assert NARROW in words and WIDE in words and "cos 0.96" in words
    code, out, _ = ask("evaluate", "splitting")
    assert code == 0
    assert f"{NARROW}/0" in out  # what splits most, where nothing is asked
    assert f"{WIDE}/1" in out
    told = json.loads(ask("evaluate", "splitting", "--feature", f"{WIDE}/1", "--json")[1])
    assert told["tree"]["feature"] == f"{NARROW}/0"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--concept", "owl"), "Known concepts here: bat, cup"),
        (("--concept", "bat", "--feature", "1"), "one at a time"),
        (("--feature", "3"), "never fired"),
        (("--feature", "mlp_out.9/main/3"), "not of this family"),
        (("--site", "mlp_out.9"), f"there are: {SITE}"),
    ],
)
def test_a_mistake_is_a_sentence(words, says, ask) -> None:  # type: ignore[no-untyped-def]
    code, out, err = ask("evaluate", "splitting", *words)
    assert (code, out) == (2, "")
    assert says in err


def test_one_width_says_how_to_train_a_family(ask, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The sentence is a command; texts without truth say what shared needs."""
    rows = ListCorpus([Sample(f"t{i}", text="bat cup fox") for i in range(8)])
    root = workspace(tmp_path, coders()[:1], rows)
    code, _, err = ask("evaluate", "splitting", at=root)
    assert code == 2
    assert "semascope train --widths 1x 4x 16x" in err
    assert "--corpus scenes" in ask("evaluate", "shared", at=root)[2]
    assert "semascope gather --dictionary" in ask("evaluate", "alignment", at=root)[2]


def test_shared_with_controls(ask, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Names written without their thing count as names; another feature's name explains nothing."""
    found = shared(Evidence.open(Workspace(folder).evidence(), "main-4"))
    assert {(one.index, one.name) for one in found} == set(enumerate(THINGS[:3]))
    assert all(one.score > 0.99 and one.control < 0.01 for one in found)
    assert all(one.shuffled < 0.01 for one in found)
    code, out, _ = ask("evaluate", "shared", "--top", "2", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["shared"], told["control"], told["shuffled"]) == (3, 0, 0)
    assert len(told["features"]) == 2
    # of the wide one, the bat's word and picture lie in two features: neither is shared
    wide = json.loads(ask("evaluate", "shared", "--dictionary", WIDE, "--json")[1])
    assert {one["name"] for one in wide["features"]} == {"cup", "fox", "gem"}
    code, out, _ = ask("evaluate", "shared")
    assert code == 0
    assert "3 score 0.5 or more" in out


def test_alignment_counts_what_was_found(ask, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """Best neurons by tenths, either sign."""
    place = Workspace(folder).evidence() / NARROW
    arrays = {
        "feature": np.array([0, 1, 2]),
        "neuron": np.array([[7, 1], [3, 2], [5, 0]], np.int32),
        "correlation": np.array([[0.55, 0.1], [-0.91, 0.2], [0.12, 0.1]], np.float32),
    }
    write_arrays(place / "readout.safetensors", arrays)
    write_json(place / "readout.json", {})
    readout = read(Evidence.open(Workspace(folder).evidence(), "main-4"))
    assert readout is not None
    found = aligned(readout, top=2)
    assert [(one["index"], one["neuron"]) for one in found["features"]] == [(1, 3), (0, 7)]
    assert (found["half"], found["strong"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert found["tenths"] == [0, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    code, out, _ = ask("evaluate", "alignment")
    assert code == 0
    assert "-0.91" in out
    del readout.arrays["neuron"]
    with pytest.raises(EvidenceError, match="No MLP neurons"):
        aligned(readout)


def test_completeness_draws_its_curve(ask, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """A line a width, the point of one half where there is one, and the figures beside it."""
    code, out, _ = ask("evaluate", "completeness", "--least", "2", "--json")
    told = json.loads(out)
    assert code == 0
    svg = Path(told["picture"]).read_text()
    page = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert len(page.findall(f"{space}polyline")) == 2
    halves = sum(one["half"] is not None for one in told["dictionaries"])
    assert len(page.findall(f"{space}path")) == halves
    assert halves == 1  # the wide one has a feature for all four
    assert ask("evaluate", "completeness", "--least", "2")[1].rstrip().endswith(".svg")


def test_a_half_beyond_what_occurs_is_no_point_of_the_curve() -> None:
    """A fit may say where half of the concepts would have a feature; nothing was seen there."""
    concepts = [{"frequency": 0.01}, {"frequency": 0.06}]
    curve = [{"frequency": 0.01, "share": 0.0}, {"frequency": 0.06, "share": 0.1}]
    one = {
        "id": "s/m", "width": 4, "share": 0.02, "chance": None, "concepts": concepts,
        "curve": curve, "half_low": 0.045, "half_high": 1.0,
    }  # fmt: skip
    told = {"scenes": 9, "corpus": "c", "bar": 0.5, "concepts": "name"}
    beyond = plots.completeness({**told, "dictionaries": [{**one, "half": 0.29}]})
    assert "<path" not in beyond
    assert "half at 29 % by the fit, outside of what occurs" in beyond
    within = plots.completeness({**told, "dictionaries": [{**one, "half": 0.05}]})
    assert within.count("<path") == 1
    assert "half at 5 % (4.5–100 %)" in within


def test_pictures_hold_whatever_a_token_is() -> None:
    """Control characters and tags would break the file."""
    node = {
        "feature": "s/m/1", "place": 0, "name": "<b>\x00&", "asked": True, "leaves": 1,
        "more": 0, "children": [],
    }  # fmt: skip
    svg = plots.tree(node, [{"id": "s/m", "width": 4, "alive": 3}], title="</svg>")
    assert "<b>·&" in "".join(ElementTree.fromstring(svg).itertext())
