"""The Explorer over a real workspace: a tiny random model, trained, gathered and told in words."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serve.planted_run import KEY, LABELS, planted_run
from tests.serve.test_touring import keep

from semascope.atlas.records import split_id
from semascope.errors import NotThere, WorkspaceError
from semascope.explain.llm.fake_server import FakeLMM
from semascope.serve import open_explorer
from semascope.serve.app import make_app
from semascope.serve.explorer.lmm_names import BackgroundNaming, namer_at
from semascope.serve.explorer.workspace import WorkspaceExplorer
from semascope.serve.schema.requests import ConceptQuery, FollowedAsk, ListQuery, SearchQuery
from semascope.serve.tour.files import write
from semascope.serve.tour.player import TourPlayer
from semascope.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return planted_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def explorer(workspace: Workspace) -> WorkspaceExplorer:
    return open_explorer(workspace.root)


def first(explorer: WorkspaceExplorer) -> Any:
    return explorer.features(ListQuery(sort="score", limit=5)).rows[0]


def test_the_list_joins_words_figures_and_exemplars(explorer: WorkspaceExplorer) -> None:
    found = explorer.features(ListQuery(sort="score", order="desc", explained=True))
    assert [row.label for row in found.rows] == list(reversed(LABELS))
    row = found.rows[0]
    assert row.scores[0].kind == "iou" and row.scores[0].high is None  # NaN is no JSON
    exemplar = row.exemplars[0]
    strongest = [v for p in exemplar.pictures for v in p.values]
    strongest += [t.value for t in exemplar.tokens]
    assert max(strongest) == pytest.approx(exemplar.peak, rel=1e-3)
    assert exemplar.peak == pytest.approx(row.maximum, rel=1e-3)
    json.loads(found.model_dump_json())


def test_the_feature_page_has_all_that_was_gathered(explorer: WorkspaceExplorer) -> None:
    page = explorer.feature(first(explorer).id)
    assert page.top and page.histogram and page.explanations[0].author == "hand"
    assert sum(b.count for b in page.histogram) == page.stats["fired"]
    for exemplar in page.top:
        for picture in exemplar.pictures:
            assert explorer.media(picture.media).is_file()
            assert len(picture.rects) == len(picture.values) > 0
            assert all(r[2] <= picture.width and r[3] <= picture.height for r in picture.rects)


def test_search_finds_words(explorer: WorkspaceExplorer) -> None:
    rows = explorer.search(SearchQuery(q="square, blue")).rows
    assert rows[0].label == "blue square" and (rows[0].similarity or 0) > 0.3


@pytest.mark.parametrize("name", ["", "x", "a/b/c", f"{KEY}/-1", f"{KEY}/9999", f"{KEY}/²", "no/1"])
def test_no_such_feature(explorer: WorkspaceExplorer, name: str) -> None:
    with pytest.raises(NotThere):
        explorer.feature(name)


def test_the_model_answers_steers_and_gives_reasons(explorer: WorkspaceExplorer) -> None:
    """Over HTTP, through the queue: the same path that the page takes."""
    row = first(explorer)
    picture = row.exemplars[0].pictures[0].media
    wish = {"features": [split_id(row.id)], "how": "clamp", "strength": 0.0}
    with TestClient(make_app(explorer)) as client:
        ask = {"question": "What?", "picture": picture, "max_new_tokens": 3}
        told = events(client, "/api/compare", {**ask, "interventions": [wish]})
        answers = [e["text"] for e in told if e["kind"] == "answered"]
        assert told[-1]["kind"] == "finished" and answers[0] == answers[1]
        messages = [{"role": "user", "text": "What?", "pictures": [picture]}]
        talk = {"messages": messages, "max_new_tokens": 3}
        ids = [e["id"] for e in events(client, "/api/chat", talk) if e["kind"] == "token"]
        reasons = events(client, "/api/why", {**talk, "answer": ids})[-2]
        assert reasons["kind"] == "explained" and reasons["reasons"]
        sizes = [abs(r["attribution"]) for r in reasons["reasons"]]
        assert sizes == sorted(sizes, reverse=True)
        unknown = {**wish, "features": [["no/such", 1]], "strength": 2.0}
        failed = events(client, "/api/compare", {**ask, "interventions": [unknown]})[-1]
        assert failed["kind"] == "failed" and "no dictionary" in failed["message"]


def why(client: TestClient, **ask: Any) -> list[dict[str, Any]]:
    talk = {"messages": [{"role": "user", "text": "What?"}], "clusters": True, "smallest": 1}
    return events(client, "/api/why", {**talk, "similarity": 0.0, **ask})


def test_concepts_with_surprise_and_exact_effects(explorer: WorkspaceExplorer) -> None:
    """The effect told is that of the intervention told, measured by another route."""
    with TestClient(make_app(explorer)) as client:
        told = why(client, answer=[9, 11], features=1000, effects=3)
        assert told[-1]["kind"] == "finished", told[-1]
        (found,) = [e for e in told if e["kind"] == "clustered"]
        (explained,) = [e for e in told if e["kind"] == "explained"]
        assert found["clusters"], found["note"]
        weights = [c["surprise"] * abs(c["score"]) for c in found["clusters"]]
        assert weights == sorted(weights, reverse=True)
        first_effect = next(e for e in told if e["kind"] == "effect")
        assert first_effect["before"] == pytest.approx(explained["target"]["probability"], rel=1e-4)
        again = why(client, answer=[9, 11], interventions=[found["clusters"][0]["suppress"]])
        assert not [e for e in again if e["kind"] == "progress"]  # ordinary prompts are kept
        steered = next(e for e in again if e["kind"] == "explained")
        assert steered["target"]["probability"] == pytest.approx(first_effect["after"], rel=1e-4)
        every = [split_id(f["id"]) for c in found["clusters"] for f in c["features"]]
        up = {"features": every, "how": "clamp", "strength": 2.0}
        held = [e for e in why(client, answer=[9], interventions=[up]) if e["kind"] == "effect"]
        assert held and all(e["effect"] is None and "already" in e["note"] for e in held)


def soon(there: Callable[[], object]) -> bool:
    """Whether something is there before long."""
    until = time.monotonic() + 20
    while not there() and time.monotonic() < until:
        time.sleep(0.01)
    return bool(there())


def test_clicks_begin_with_the_answers_pass_and_say_the_same(workspace: Workspace) -> None:
    """As a server that keeps nothing says it, to every token of an answer."""
    explorer = open_explorer(workspace.root)
    assert isinstance(explorer, WorkspaceExplorer)
    talk = {"messages": [{"role": "user", "text": "a red circle"}], "max_new_tokens": 4}
    with TestClient(make_app(explorer)) as client:
        ids = [e["id"] for e in events(client, "/api/chat", talk) if e["kind"] == "token"]
        assert soon(lambda: len(explorer.session.pass_cache))

        def asked() -> list[dict[str, Any]]:
            more = {**talk, "clusters": True, "similarity": 0.0, "effects": 2, "features": 1000}
            asks = [{**more, "answer": ids[: n + 1]} for n in range(len(ids))]
            told = [event for ask in asks for event in events(client, "/api/why", ask)]
            return [event for event in told if event["kind"] != "progress"]

        kept = asked()
        assert len(explorer.session.pass_cache) == 1  # no click had to run forward
        vars(explorer.session)["pass_cache"] = None
        plain = asked()
    assert [e["kind"] for e in kept] == [e["kind"] for e in plain]
    for one, two in zip(kept, plain, strict=True):
        if one["kind"] == "explained":
            assert one["target"]["id"] == two["target"]["id"]
            scores = [{r["id"]: r["attribution"] for r in e["reasons"]} for e in (one, two)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-5)
        elif one["kind"] == "clustered":
            assert [g["label"] for g in one["clusters"]] == [g["label"] for g in two["clusters"]]
        elif one["kind"] == "effect":
            assert one["after"] == pytest.approx(two["after"], rel=1e-4)


def test_concepts_are_named_by_an_lmm_and_keep_their_words_where_it_fails(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the real route: names stream in beside the effects; the stream ends after both."""

    def answer(request: Any) -> dict[str, Any]:
        return {"label": f"<b>{LABELS[1]}</b>", "coherence": 9}

    with FakeLMM(answer=answer) as server:
        naming = BackgroundNaming(namer_at(workspace, server.base_url, "fake"))
        explorer = WorkspaceExplorer(workspace, naming=naming)
        assert explorer.info().namer == "fake"
        with TestClient(make_app(explorer)) as client:
            told = why(client, answer=[9, 11], features=1000, effects=1)
            asked = len(server.requests)
            again = why(client, answer=[9, 11], features=1000, effects=0)
            assert len(server.requests) == asked  # named once, paid once
            few = why(client, answer=[9, 11], features=1000, effects=0, names=0)
        shown = str(server.requests[0]["messages"])
    for events_ in (told, again):
        groups = next(e["clusters"] for e in events_ if e["kind"] == "clustered")
        names = [e for e in events_ if e["kind"] == "named"]
        assert {e["cluster"] for e in names} == {g["number"] for g in groups[:8]}
        assert all(e["label"] == LABELS[1] and e["coherence"] == 7 for e in names)
        assert names[0]["author"] == "lmm:fake" and events_[-1]["kind"] == "finished"
    assert "Shows" in shown and "What?" not in shown  # descriptions travel, the question does not
    assert not [e for e in few if e["kind"] == "named"]
    monkeypatch.setattr(naming.namer.lmm, "cache", None)
    monkeypatch.setattr(naming.namer.lmm.backoff, "first", 0.0)
    with TestClient(make_app(explorer)) as client:  # the server has gone
        lost = why(client, answer=[9, 11], features=1000, effects=1)
    notes = [e for e in lost if e["kind"] == "named"]
    assert notes and all(e["label"] == "" and "No LMM server answers" in e["note"] for e in notes)
    kept = next(e["clusters"] for e in lost if e["kind"] == "clustered")
    assert [g["label"] for g in kept] == [g["label"] for g in groups]
    assert [e["kind"] for e in lost].count("effect") == 1 and lost[-1]["kind"] == "finished"


def test_modes_targets_and_regions(explorer: WorkspaceExplorer) -> None:
    row = first(explorer)
    picture = row.exemplars[0].pictures[0]
    shown = [{"role": "user", "text": "What?", "pictures": [picture.media]}]
    with TestClient(make_app(explorer)) as client:
        read = events(client, "/api/read", {"messages": shown, "answer": [9]})[1]
        places = [n for n, t in enumerate(read["tokens"]) if t["rect"]]
        assert places and read["tokens"][places[0]]["logprob"] is None
        box = read["tokens"][places[0]]["rect"]
        region = dict(zip(("left", "top", "right", "bottom"), box, strict=True))
        fired = why(client, messages=shown, mode="activation", at={"region": region})
        explained = next(e for e in fired if e["kind"] == "explained")
        assert explained["metric"] == "activation" and explained["reasons"]
        assert {p for r in explained["reasons"] for p in r["where"]} <= set(places)
        shares = [r["share"] for r in explained["reasons"] if r["share"] is not None]
        assert shares == sorted(shares, reverse=True)
        words = [
            n for n, t in enumerate(read["tokens"]) if (t["kind"], t["role"]) == ("text", "user")
        ]
        last = words[-1]
        token = read["tokens"][last]
        early = next(
            e for e in why(client, messages=shown, position=last) if e["kind"] == "explained"
        )
        assert early["target"]["id"] == token["id"]
        assert early["value"] == pytest.approx(token["logprob"], abs=1e-4)
        pair = why(client, messages=shown, answer=[9], against=12)
        assert next(e for e in pair if e["kind"] == "explained")["metric"] == "logit_diff"
        refused = why(client, messages=shown, position=places[0])[-1]
        assert (
            refused["kind"] == "failed" and "Image tokens are not predicted" in refused["message"]
        )


def test_steering_beside_chance(explorer: WorkspaceExplorer) -> None:
    wish = {"features": [split_id(first(explorer).id)], "how": "clamp", "strength": 5.0}
    talk = {"messages": [{"role": "user", "text": "What?"}], "max_new_tokens": 2}
    with TestClient(make_app(explorer)) as client:
        told = events(client, "/api/steer", {**talk, "interventions": [wish]})
        assert told[-1]["kind"] == "finished", told[-1]
        after, control = (e for e in told if e["kind"] == "compared")
        assert after["kl"] > 0 and control["kl"] != after["kl"] and after["share"] == 1 / 32
        ids = [e["id"] for e in told if e["kind"] == "token" and e["side"] == "after"]
        session = explorer.session
        under = FollowedAsk.model_validate({**talk, "interventions": [wish], "answer": ids[:1]})
        assert soon(
            lambda: session.conversation(under).cached_pass(make=False)
        )  # ready to be asked about
        none = {**wish, "strength": 0.0}
        still = events(client, "/api/steer", {**talk, "interventions": [none], "control": False})
        (same,) = [e for e in still if e["kind"] == "compared"]
        assert same["kl"] == 0 and same["logprob_shift"] == 0 and not same["changed"]
        twice = {**talk, "interventions": [wish, {**wish, "name": "again"}]}
        clash = events(client, "/api/steer", twice)[-1]
        assert (clash["kind"], clash["type"]) == ("failed", "Conflict")
        assert "again" in clash["message"]


def test_one_feature_live_is_what_the_evidence_says(explorer: WorkspaceExplorer) -> None:
    """The strongest exemplar's own picture, sent as one's own, lights up as it did."""
    row = first(explorer)
    with TestClient(make_app(explorer)) as client:
        found = events(client, "/api/try", {"feature": row.id, "text": "any words at all"})[1]
        assert found["kind"] == "tried" and found["exemplar"]["tokens"]
        values = [t["value"] for t in found["exemplar"]["tokens"]]
        assert found["peak"] == pytest.approx(max(values), abs=1e-3)
        picture = row.exemplars[0].pictures[0].media
        alike = events(client, "/api/examples", {"wanted": [{"picture": picture}]})[1]["rows"]
        assert alike and alike[0]["score"] == max(r["score"] for r in alike)
        assert all(r["unwanted"] == 0 for r in alike)
        ask = {"concept": "power", "feature": row.id, "strength": 2.0}
        tested = events(client, "/api/register/measure", ask)[-2]["tested"]
        assert tested["low"] <= tested["effect"] <= tested["high"] and tested["probes"] == 4
        page = client.get(f"/api/features/{row.id}").json()
        assert page["promoted"] and page["promoted"][0]["value"] > page["lowered"][0]["value"]
        talk = {"messages": [{"role": "user", "text": "What?"}], "answer": [9]}
        one = events(client, "/api/versus", {**talk, "dictionaries": [KEY, "no/such"]})[-1]
        assert one["kind"] == "failed" and KEY in one["message"]


def test_a_model_beside_itself_is_itself(workspace: Workspace) -> None:
    """Two models with models of their own over one run: the same answer, token and features."""
    explorer = WorkspaceExplorer(workspace, beside=[workspace])
    info = explorer.info()
    names = [model.name for model in info.models]
    assert len(set(names)) == 2 and all(model.dictionaries == [KEY] for model in info.models)
    talk = {
        "messages": [{"role": "user", "text": "What?"}], "dictionaries": [KEY, KEY],
        "models": names, "max_new_tokens": 3, "clusters": True, "smallest": 1, "similarity": 0.0,
    }  # fmt: skip
    with TestClient(make_app(explorer)) as client:
        told = events(client, "/api/versus", {**talk, "write": True, "token": 1})
        assert told[-1]["kind"] == "finished", told[-1]
        sides: dict[str, list[Any]] = {
            name: [(e["id"], e["logprob"], e["top"]) for e in told
                   if e["kind"] == "token" and e["side"] == name]
            for name in ("one", "other")
        }  # fmt: skip
        assert sides["one"] and sides["one"] == sides["other"]
        (found,) = [e for e in told if e["kind"] == "versus"]
        one, other = ({k: v for k, v in s.items() if k != "model"} for s in found["sides"])
        assert one == other and one["reasons"] and one["clusters"]
        assert [s["model"] for s in found["sides"]] == names
        second = sides["one"][1]
        assert one["target"]["id"] == second[0]
        assert one["value"] == pytest.approx(second[1], abs=1e-4)
        ids = [token[0] for token in sides["one"]]
        again = events(client, "/api/versus", {**talk, "answers": [ids, ids], "token": 1})
        assert not [e for e in again if e["kind"] == "token"]  # what is known is not written again
        (known,) = [e for e in again if e["kind"] == "versus"]
        assert known["sides"] == found["sides"]
        for wrong, why_ in (
            ({"answer": [9]}, "different tokenizers"),
            ({"models": ["", ""]}, "two different"),
            ({"models": ["", "nobody"]}, names[1]),
        ):
            failed = events(client, "/api/versus", {**talk, **wrong})[-1]
            assert failed["kind"] == "failed" and why_ in failed["message"]


def test_two_dictionaries_of_one_model_share_its_answer(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The twin of a dictionary, under another name, sees what the dictionary sees."""
    copy = Workspace(shutil.copytree(workspace.root, tmp_path / "run"))
    twin = "resid_post.1/twin"
    shutil.copytree(copy.root / "dictionaries" / KEY, copy.root / "dictionaries" / twin)
    explorer = WorkspaceExplorer(copy)
    assert explorer.info().models[0].dictionaries == [KEY, twin]
    talk = {"messages": [{"role": "user", "text": "What?"}], "max_new_tokens": 2, "write": True}
    with TestClient(make_app(explorer)) as client:
        told = events(client, "/api/versus", {**talk, "dictionaries": [KEY, twin]})
    assert {e["side"] for e in told if e["kind"] == "token"} == {"one"}
    (found,) = [e for e in told if e["kind"] == "versus"]
    one, other = found["sides"]
    assert [r["attribution"] for r in one["reasons"]] == [
        r["attribution"] for r in other["reasons"]
    ]
    assert one["value"] == other["value"] == found["value"] and found["pairs"][0]["together"] == 1


def test_words_to_features_and_an_empty_map(explorer: WorkspaceExplorer) -> None:
    found = explorer.concept(ConceptQuery(q="blue square", k=2))
    assert found.rows[0].label == "blue square" and found.share == 2 / 32
    assert len(found.suppress["features"]) == 2 and "Shows" in found.rows[0].description
    empty = explorer.map("")
    assert empty.dictionary == KEY and (empty.count == 0) == bool(empty.note)


@pytest.mark.parametrize("name", ["nine", "fries"])
def test_tours_play_on_a_real_model(explorer: WorkspaceExplorer, name: str, tmp_path: Path) -> None:
    """Mechanics on random weights: every expectation is answered, and each answer is a figure."""
    found, lines = explorer.guides.tour(name), []
    TourPlayer(explorer, keep(lines)).play(found)
    expected = [step for step in found.steps if step["do"] == "expect"]
    done = [line for line in lines if line.line == "expect"]
    assert len(done) == len(expected), [line.text for line in lines if line.line == "note"]
    assert all(line.figures for line in done if "Nothing was changed" not in line.text)
    assert write(tmp_path, found, lines, explorer.media).is_file()
    if name == "fries":
        assert list(tmp_path.glob("*.png"))


def test_no_run_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="semascope demo"):
        open_explorer(tmp_path / "nothing")


def events(client: TestClient, path: str, ask: dict[str, Any]) -> list[dict[str, Any]]:
    lines = client.post(path, json=ask).text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
