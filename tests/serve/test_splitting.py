"""A place in a family of widths, over HTTP: what was planted, named, and linked or not."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.evidence.planted_family import (
    NARROW,
    SITE,
    WIDE,
    WIDEST,
    coders,
    planted_rows,
    workspace,
)
from tests.serve.planted_widths import explored, three_widths

from semascope.errors import EvidenceError, FormatError, NotThere
from semascope.pipeline import lineage as opening
from semascope.serve import open_explorer
from semascope.serve.app import make_app
from semascope.serve.explorer.workspace import WorkspaceExplorer
from semascope.serve.schema.requests import SplittingQuery
from semascope.workspace import Workspace

USUAL = SplittingQuery()


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> WorkspaceExplorer:
    return three_widths(tmp_path_factory.mktemp("family"))


@pytest.fixture
def client(explorer: WorkspaceExplorer) -> TestClient:
    return TestClient(make_app(explorer))


def told(client: TestClient, feature: str, **more: Any) -> dict[str, Any]:
    got = client.get(f"/api/splitting/{feature}", params=more)
    assert got.status_code == 200, got.text
    found: dict[str, Any] = got.json()
    return found


def test_it_becomes_two_and_one_of_them_becomes_two(client: TestClient) -> None:
    """Names are words, a concept or nothing; what the atlas lacks is held by none of its pages."""
    found = told(client, f"{NARROW}/0")
    assert [(w["id"], w["width"], w["alive"]) for w in found["widths"]] == [
        (NARROW, 4, 3), (WIDE, 8, 6), (WIDEST, 12, 7),
    ]  # fmt: skip
    tree = found["tree"]
    assert (tree["name"], tree["by"], tree["held"]) == ("a flying mouse", "words", True)
    assert (found["ancestors"], found["nearest"], tree["cosine"]) == ([], None, None)
    pictured, written = tree["children"]
    assert [one["id"] for one in tree["children"]] == [f"{WIDE}/0", f"{WIDE}/1"]
    assert (pictured["name"], pictured["by"], pictured["held"]) == ("bat", "concept", True)
    assert pictured["f1"] > 0.9
    assert pictured["cosine"] == pytest.approx(1 / 1.09**0.5, abs=1e-4)
    assert pictured["together"] + written["together"] == pytest.approx(1, abs=0.05)
    assert (pictured["within"], tree["leaves"], pictured["leaves"]) == (1, 3, 2)
    assert [one["id"] for one in pictured["children"]] == [f"{WIDEST}/0", f"{WIDEST}/1"]
    assert not any(one["held"] for one in pictured["children"])


def test_from_below_its_line_of_ancestors(client: TestClient) -> None:
    """The line only: siblings are counted and left out, and the words of above are there."""
    found = told(client, f"{WIDEST}/1")
    assert [(a["id"], a["name"], a["more"]) for a in found["ancestors"]] == [
        (f"{NARROW}/0", "a flying mouse", 1), (f"{WIDE}/0", "bat", 1),
    ]  # fmt: skip
    assert all(one["children"] == [] for one in found["ancestors"])
    assert (found["tree"]["id"], found["tree"]["children"]) == (f"{WIDEST}/1", [])
    assert found["nearest"] == found["tree"]["cosine"] > 0.9


def test_the_threshold_and_the_number_of_children_are_asked_for(client: TestClient) -> None:
    few = told(client, f"{NARROW}/0", children=1)["tree"]
    assert ([one["id"] for one in few["children"]], few["more"]) == ([f"{WIDE}/0"], 1)
    strict = told(client, f"{NARROW}/0", threshold=0.98)
    assert (strict["threshold"], strict["tree"]["children"]) == (0.98, [])
    alone = told(client, f"{WIDE}/1", threshold=0.98)
    assert (alone["ancestors"], alone["tree"]["cosine"]) == ([], None)
    assert alone["nearest"] == pytest.approx(1 / 1.09**0.5, abs=1e-4)
    assert len(told(client, f"{NARROW}/0")["tree"]["children"]) == 2  # as before


def test_what_never_fired_has_a_family_and_no_tree(client: TestClient) -> None:
    found = told(client, f"{NARROW}/3")
    assert found["tree"] is None and len(found["widths"]) == 3


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{NARROW}/4", 404),
        ("no/such/1", 404),
        ("nonsense", 404),
        (f"{NARROW}/0?threshold=0", 422),
        (f"{NARROW}/0?threshold=nan", 422),
        (f"{NARROW}/0?children=1000", 422),
    ],
)
def test_mistakes_are_sentences(client: TestClient, path: str, status: int) -> None:
    got = client.get(f"/api/splitting/{path}")
    assert got.status_code == status
    assert got.json()["error"]["message"].endswith(".")


def test_a_family_is_opened_once_and_again_when_it_was_gathered_again(
    explorer: WorkspaceExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight pages at once load three dictionaries, not twenty-four."""
    opened = []
    real = opening.lineage

    def counted(*args: Any, **more: Any) -> Any:
        opened.append(args)
        return real(*args, **more)

    monkeypatch.setattr(opening, "lineage", counted)
    fresh = open_explorer(explorer.workspace.root)
    ids = [f"{key}/{i}" for i in (0, 1) for key in (NARROW, WIDE, WIDEST, NARROW)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: fresh.splitting(one, USUAL), ids))
    assert [one.feature for one in found] == ids
    assert all(one.tree for one in found)
    assert len(opened) == 1
    at = fresh.workspace.evidence() / "gathering.json"
    os.utime(at, ns=(1, at.stat().st_mtime_ns + 1_000_000))
    assert fresh.splitting(ids[0], USUAL) == found[0]
    assert len(opened) == 2


def test_one_width_is_no_family(tmp_path: Path) -> None:
    """Nothing is loaded for it; what is not in the atlas is not there; no evidence is no error."""
    alone = explored(workspace(tmp_path, coders()[:1], planted_rows()), NARROW)
    for folder in alone.workspace.root.glob("dictionaries/*/*"):
        (folder / "sae.safetensors").unlink()
    found = alone.splitting(f"{NARROW}/0", USUAL)
    assert (found.widths, found.tree, found.ancestors) == ([], None, [])
    with pytest.raises(NotThere):
        alone.splitting(f"{NARROW}/7", USUAL)
    with pytest.raises(EvidenceError, match="semascope train --widths 1x 4x 16x"):
        opening.lineage(alone.workspace, SITE)
    (alone.workspace.evidence() / "gathering.json").unlink()
    assert alone.splitting(f"{NARROW}/0", USUAL).tree is None


def test_of_two_of_one_width_the_one_asked_about(tmp_path: Path) -> None:
    """Names tell what belongs together where widths do not; a lost dictionary is a sentence."""
    narrow, wide = coders()
    other, wider = coders()
    other.name, wider.name = "more-4", "more-8"
    space = Workspace(workspace(tmp_path, (narrow, wide, other, wider), planted_rows()))
    keys = [f"{SITE}/{one.name}" for one in (narrow, wide, other, wider)]
    for key, mine in zip(keys, (keys[:2], keys[:2], keys[2:], keys[2:]), strict=True):
        assert [one.key for one in opening.members(space, SITE, key)] == mine
    explorer = explored(space.root)
    assert [w.id for w in explorer.splitting(f"{keys[3]}/0", USUAL).widths] == keys[2:]
    assert [w.id for w in explorer.splitting(f"{keys[0]}/0", USUAL).widths] == keys[:2]
    (space.dictionary(*keys[0].split("/")) / "sae.safetensors").unlink()
    with pytest.raises(FormatError):
        explored(space.root).splitting(f"{keys[0]}/0", USUAL)
