"""Explaining as a user meets it: plans, scores, ratings and bars of a whole small run; workers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from semascope.atlas import Atlas, HashingEmbedder, search
from semascope.cli import main
from semascope.config import (
    ExplainOptions,
    GatherOptions,
    RunOptions,
    ScoreOptions,
    TrainOptions,
)
from semascope.errors import ExplainError
from semascope.evidence.types import FeatureEvidence
from semascope.explain.human.blind_rating import BlindRatings
from semascope.explain.llm.fake_server import FakeLMM, completion
from semascope.explain.types import Cost, Explanation
from semascope.pipeline import explainers, recorded, run
from semascope.pipeline.datatrove import ExplainShard, ScoreShard, begin, chain, steps
from semascope.pipeline.report import figures
from semascope.pipeline.run_context import Run
from semascope.pipeline.stages import explain as explaining
from semascope.pipeline.stages import train
from semascope.pipeline.stages.score import read as read_scores
from semascope.workspace import Workspace

OPTIONS = RunOptions(
    train=TrainOptions(
        subject="tiny:llava", site="resid_post.0", corpus="scenes?n=200",
        tokens=960, latents=32, k=4, rows=8, lr=0.01,
    ),
    gather=GatherOptions(samples=48, batch=16),
    explain=ExplainOptions(explainers=("vocabulary",)),
    score=ScoreOptions(scorers=("iou", "detection", "fuzzing", "simulation", "specificity")),
)  # fmt: skip


class Namer:
    """Says "mango" of even features, "tent" of odd ones; counts what it is asked."""

    name = "vocabulary"
    asked: list[int] = []  # noqa: RUF012
    dies_at = -1

    def explain(self, records: Sequence[FeatureEvidence]) -> list[Explanation]:
        if any(r.index == type(self).dies_at for r in records):
            raise KeyboardInterrupt
        type(self).asked += [r.index for r in records]
        words = ["mango" if r.index % 2 == 0 else "tent" for r in records]
        return [
            Explanation(r.index, f"Pictures of {w}.", w, "object", 0.9, author=self.name,
                        cost=Cost(calls=1))
            for r, w in zip(records, words, strict=True)
        ]  # fmt: skip


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as mine:
        mine.setattr(train, "BATCH", 96)
        mine.setattr(train, "BLOCK", 480)
        mine.setattr(search, "embedder", HashingEmbedder)
        mine.setattr(explaining, "FREE_BLOCK", 4)
        mine.setitem(explainers._EXPLAINERS, "vocabulary", lambda run: Namer())
        yield mine


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    """A run up to its evidence."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("gathered") / "w"
    run(Workspace(folder), OPTIONS, until="gather")
    return folder


@pytest.fixture(scope="module")
def whole(gathered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to its end."""
    folder = tmp_path_factory.mktemp("whole") / "w"
    shutil.copytree(gathered, folder)
    run(Workspace(folder), OPTIONS)
    return folder


def words_of(folder: Path) -> list[tuple[int, str]]:
    made = explaining.read(Run(Workspace(folder), OPTIONS))
    return sorted((e.feature, e.label) for e in made["vocabulary"])


def test_interest_and_groups_reach_the_atlas(whole: Path) -> None:
    with Atlas.open(Workspace(whole).atlas) as atlas:
        rows = atlas.features("resid_post.0/main", sort="-interest", where={"alive": True}).rows
    told = [row.scores["interest"] for row in rows if "interest" in row.scores]
    assert told
    assert all(0.0 <= one.value <= 1.0 for one in told)
    assert [one.value for one in told] == sorted((one.value for one in told), reverse=True)
    assert {"low_level", "group", "group_size"} <= set(told[0].evidence)
    assert rows[0].category == "object"
    figures = Workspace(whole).record().stages["explain"].figures
    assert figures["interesting"] + figures["low_level"] + figures["duplicates"] >= 0
    assert figures["cost"]["calls"] == figures["features_explained"]


def test_a_plan_tells_the_cost_and_changes_nothing(
    gathered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (gathered / "run.json").read_text()
    flags = ["--plan", "--explainer", "lmm", "--base-url", "http://127.0.0.1:9/v1", "--model", "m",
             "--price-in", "2", "--prompt-per-second", "1000", "--workspace", str(gathered),
             "--pilot", "2"]  # fmt: skip
    assert main(["explain", *flags, "--json"]) == 0
    plans = json.loads(capsys.readouterr().out)["lmm"]
    assert [p["features"] for p in plans[-2:]] == [131_072, 34_000_000]
    assert plans[-2]["money"] > 0
    assert plans[-2]["hours"] > 0
    assert main(["explain", *flags]) == 0
    assert "34,000,000" in capsys.readouterr().out
    assert (gathered / "run.json").read_text() == before
    assert not (gathered / "explanations" / "resid_post.0").exists()


def test_a_server_that_is_not_there_is_told_before_anything_is_done(
    gathered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--explainer", "lmm", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"]
    assert main(["explain", *flags, "--workspace", str(gathered)]) == 2
    assert "Start one, for example with `vllm serve m" in capsys.readouterr().err
    assert main(["explain", "--explainer", "lmm", "--workspace", str(gathered)]) == 2
    assert "needs --base-url" in capsys.readouterr().err
    assert main(["score", "--scorer", "beauty", "--workspace", str(gathered)]) == 2
    assert "There is no scorer 'beauty'; there are: iou" in capsys.readouterr().err


def test_what_words_must_tell_reaches_the_namer(gathered: Path) -> None:
    """And its default leaves runs that were made before it alone."""
    usual = ExplainOptions()
    assert "least_gain" not in usual.binding()
    assert ExplainOptions(least_gain=0.6).binding()["least_gain"] == 0.6

    own = OPTIONS.model_copy(update={"explain": ExplainOptions(least_gain=0.6)})
    assert explainers.vocabulary(Run(Workspace(gathered), own)).options.least_gain == 0.6


def test_words_of_an_earlier_version_are_not_mixed_with_new_ones(
    gathered: Path, tmp_path: Path
) -> None:
    """A run that was stopped half-way, and goes on after an upgrade, named half by either rule."""
    work = Run(Workspace(shutil.copytree(gathered, tmp_path / "w")), OPTIONS)
    alive = [int(i) for i in work.evidence.alive()]
    explaining.folder(work).mkdir(parents=True, exist_ok=True)
    assert list(explaining.explain_share(work, "vocabulary", alive))
    part = explaining.folder(work) / "vocabulary" / "part-000000.jsonl"
    new = part.read_text()
    records = [json.loads(line) for line in new.splitlines()]
    old = [record | {"prompt_version": "vocabulary/1", "label": "old"} for record in records]
    part.write_text("".join(json.dumps(record) + "\n" for record in old))
    list(explaining.explain_share(work, "vocabulary", alive))
    again = [json.loads(line) for line in part.read_text().splitlines()]
    assert [r["label"] for r in again] == [r["label"] for r in records]
    written = part.stat().st_mtime_ns
    list(explaining.explain_share(work, "vocabulary", alive))
    assert part.stat().st_mtime_ns == written, "words of this version stand"


def test_every_bar_is_told_by_name(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights reach next to nothing; each figure is there, or said not to be measured."""
    flags = ["--workspace", str(whole), "--seed", "3", "--concepts", "4", "--each", "2",
             "--cascade", "1"]  # fmt: skip
    assert main(["evaluate", "explanations", *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["explained_fraction"] == 1.0
    assert found["told_apart_judge"] == found["detection_judge"] == "words"
    assert {"told_apart_interval", "labels_refused_interval", "distinct_labels"} <= found.keys()
    assert found["features_alive"] == found["features_explained"]
    assert len(found["concepts"]) >= 4
    assert found["concepts_with_feature_n"] == 0, "a random model names nothing"
    assert not found["bars"]["concepts_with_feature"]
    assert found["large_calls"] >= found["cascade_calls"] >= 0


def test_ratings_are_blind_and_agreement_is_told(
    whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["7", "2", "3", "q"])
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    assert main(["rate", "--rater", "ann", "--tasks", "4", "--workspace", str(whole)]) == 0
    out = capsys.readouterr().out
    assert "vocabulary" not in out, "who wrote the words is hidden"
    assert "Explanation: " in out
    assert "ann has rated 2 of" in out
    again = iter(["1", "q"])
    monkeypatch.setattr("builtins.input", lambda *_: next(again))
    assert main(["rate", "--rater", "bob", "--tasks", "4", "--workspace", str(whole)]) == 0
    capsys.readouterr()
    assert main(["rate", "--agreement", "--workspace", str(whole), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["raters"], found["ratings"]) == (2, 3)
    assert main(["rate", "--agreement", "--workspace", str(whole)]) == 0
    assert "Krippendorff" in capsys.readouterr().out


def test_a_sheet_goes_out_as_a_page_and_comes_back_as_ratings(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "sheet.html"
    asked = ["rate", "--sheet", "5", "--seed", "3", "--workspace", str(whole)]
    assert main([*asked, "--html", str(page)]) == 0
    assert "semascope rate --read" in capsys.readouterr().out
    text = page.read_text("utf-8")
    tasks = re.findall(r'data-task="(\w+)"', text)
    assert len(tasks) == 5
    assert "vocabulary" not in text, "the author is hidden"
    assert not re.search(r'(?:src|href)="(?!data:)', text), "it opens from disk, without a server"
    back = {
        "kind": "semascope ratings", "dictionary": "d", "seed": 3, "size": 5, "rater": "Ana",
        "ratings": [{"task": t, "grade": "right", "note": "a note", "seconds": 1} for t in tasks],
    }  # fmt: skip
    file = tmp_path / "ratings.json"
    file.write_text(json.dumps(back))
    read = ["rate", "--read", str(file), "--workspace", str(whole)]
    assert main(read) == 0
    out = capsys.readouterr().out
    assert "5 of 5 explanations rated by Ana" in out
    assert "right: 100% (57% to 100% of 5)" in out
    assert main([*read, "--json"]) == 0, "the same twice replaces, and adds nothing"
    found = json.loads(capsys.readouterr().out)
    assert (found["ratings"], found["shares"]["right"]["value"]) == (5, 1.0)
    back["ratings"][0]["task"] = "0" * 16
    file.write_text(json.dumps(back))
    assert main(read) == 2
    assert "1 of 5 ratings are of explanations" in capsys.readouterr().err
    assert main(["rate", "--html", str(page), "--workspace", str(whole)]) == 2
    assert "--sheet 60" in capsys.readouterr().err


def test_a_sheet_is_rated_at_the_terminal(
    whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["1 says it well", "4", "2"])
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    asked = ["rate", "--sheet", "3", "--seed", "11", "--rater", "Cy", "--workspace", str(whole)]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "right: 33%" in out and "silly: 33%" in out
    ratings = BlindRatings(whole / "ratings.db", readonly=True)
    assert list(ratings.notes("Cy").values()) == ["says it well"]
    ratings.close()


# ---- workers


def run_steps(folder: Path, options: RunOptions, world_size: int) -> None:
    for step in steps(Workspace(folder), options):
        for rank in range(world_size):
            assert list(step(None, rank, world_size)) == []


def test_workers_do_everything_once_and_a_dead_one_loses_nothing(
    gathered: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its second block, started again: the words and figures of one that was not."""
    folder = tmp_path / "w"
    shutil.copytree(gathered, folder)
    begin(Workspace(folder), OPTIONS)
    assert "explain" in Workspace(folder).record().stages
    monkeypatch.setattr(Namer, "asked", [])
    alive = [i for i, _ in words_of(whole)]
    monkeypatch.setattr(Namer, "dies_at", alive[len(alive) // 2])
    with pytest.raises(KeyboardInterrupt):
        run_steps(folder, OPTIONS, 2)
    kept = list(Namer.asked)
    assert kept, "what was done before stands"
    with pytest.raises(ExplainError, match="blocks left to do"):
        list(ScoreShard(folder, OPTIONS)())
    monkeypatch.setattr(Namer, "dies_at", -1)
    run_steps(folder, OPTIONS, 2)
    assert sorted(Namer.asked) == alive, "nothing twice, nothing lost"
    run_steps(folder, OPTIONS, 3)
    assert sorted(Namer.asked) == alive, "done again by another number of workers: nothing is"
    assert words_of(folder) == words_of(whole)
    done = run(Workspace(folder), OPTIONS)
    assert sorted(Namer.asked) == alive, "the run itself finds it done"
    theirs = Workspace(whole).record().stages
    assert done.stages["score"].figures == theirs["score"].figures


def test_the_second_explainer_waits_for_the_first(gathered: Path) -> None:
    options = OPTIONS.model_copy(
        update={"explain": ExplainOptions(explainers=("vocabulary", "subject"), ask=2)}
    )
    with pytest.raises(ExplainError, match="'vocabulary' has"):
        list(ExplainShard(gathered, options, "subject")())


def test_datatrove_runs_the_stages(gathered: Path, whole: Path, tmp_path: Path) -> None:
    """Its local executor, one worker, in this process; a second run does nothing."""
    pytest.importorskip("datatrove", reason="datatrove is not installed: workers are not tested")
    folder = tmp_path / "w"
    shutil.copytree(gathered, folder)
    begin(Workspace(folder), OPTIONS)
    Namer.asked = []
    last: Any = chain(Workspace(folder), OPTIONS, tasks=2, logs=tmp_path / "logs", workers=1)
    last.run()
    assert words_of(folder) == words_of(whole)
    count = len(Namer.asked)
    chain(Workspace(folder), OPTIONS, tasks=2, logs=tmp_path / "more", workers=1).run()
    assert len(Namer.asked) == count


def asked(folder: Path, server: FakeLMM, *more: str) -> int:
    """The verb, with six features put to a server."""
    return main(
        ["explain", "--explainer", "vocabulary", "lmm", "--base-url", server.base_url, "--model",
         "fake", "--ask", "6", "--bar", "1", "--workspace", str(folder), *more]
    )  # fmt: skip


def cut(request: Any) -> tuple[int, bytes]:
    body = completion("<think>I look at the")
    body["choices"][0]["finish_reason"] = "length"
    return 200, json.dumps(body).encode()


def test_a_run_whose_replies_were_all_useless_is_not_done(
    gathered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It said "done" of six answers that were all cut off; nothing told it, nor how to mend it."""
    folder = tmp_path / "w"
    shutil.copytree(gathered, folder)
    with FakeLMM(raw=cut) as server:
        assert asked(folder, server) == 2
    told = capsys.readouterr().err
    assert "6 of 6 answers of fake could not be used: cut off at 300 tokens" in told
    assert "--max-reply-tokens" in told
    parts = list((folder / "explanations").glob("*/*/lmm/part-*.jsonl"))
    records = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert [r["replies"] for r in records] == [{"lmm:fake": "cut off at 300 tokens"}] * 6
    with FakeLMM() as server:
        assert asked(folder, server, "--max-reply-tokens", "4000") == 0
    assert len(server.requests) == 6, "what failed is asked again, and nothing else"
    assert server.requests[0]["max_tokens"] == 4000


def test_useless_replies_below_half_are_counted_by_reason(gathered: Path, tmp_path: Path) -> None:
    """A few do not end a run; the report says how many, and why."""
    folder = tmp_path / "w"
    shutil.copytree(gathered, folder)
    policy = 400, b'{"error": {"message": "flagged"}}'
    with FakeLMM(raw=lambda r: policy if len(server.requests) == 2 else None) as server:
        assert asked(folder, server) == 0
    told = figures({k: v.model_dump() for k, v in Workspace(folder).record().stages.items()})
    reasons = told["replies"]["lmm:fake"]
    assert reasons == {"asked": 6, "unusable": {"refused by the server (status 400)": 1}}


def test_a_judge_that_cannot_be_read_ends_scoring_without_scores(
    gathered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every feature scored .500 with an interval."""
    folder = tmp_path / "w"
    shutil.copytree(gathered, folder)
    assert main(["explain", "--explainer", "vocabulary", "--workspace", str(folder)]) == 0
    with FakeLMM(answer=lambda r: {"score": "good"}) as server:
        code = main(
            ["score", "--scorers", "detection", "--judge", "lmm", "--base-url", server.base_url,
             "--model", "fake", "--workspace", str(folder)]
        )  # fmt: skip
    told = capsys.readouterr().err
    assert code == 2
    assert "judgements of fake could not be used" in told
    assert not list((folder / "scores").glob("*/*/part-*.jsonl"))


def test_an_lmm_tells_features_apart_with_one_question_a_sample(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rated one by one, six explanations would cost six questions a sample."""
    folder = tmp_path / "w"
    shutil.copytree(whole, folder)
    with FakeLMM(answer=lambda r: {"choice": 1}) as server:
        flags = ["score", "--scorers", "told_apart", "--judge", "lmm", "--base-url",
                 server.base_url, "--model", "fake", "--workspace", str(folder)]  # fmt: skip
        assert main(flags) == 0
    opened = Run(Workspace(folder), recorded(Workspace(folder)))
    scores = [score for score in read_scores(opened) if score.kind == "told_apart"]
    assert scores and all(s.evidence["judge"] == "lmm:fake" for s in scores)
    assert len(server.requests) <= sum(s.evidence["exemplars"] for s in scores)
    quick = ["--concepts", "0", "--cascade", "0", "--ceiling", "0", "--workspace", str(folder)]
    capsys.readouterr()
    assert main(["evaluate", "explanations", *quick, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["told_apart_judge"] == "lmm:fake"


@pytest.mark.parametrize(
    "flags",
    [("--max-reply-tokens", "-1"), ("--reply-timeout", "0"), ("--reply-timeout", "nan"),
     ("--concurrency", "0"), ("--price-in", "nan"), ("--pilot", "-1"), ("--servers", "0"),
     ("--ask", "-2"), ("--bar", "nan"), ("--prompt-per-second", "inf"), ("--extra-body", "[1]"),
     ("--extra-body", "{"), ("--extra-body", '{"model": "x"}')],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(
    gathered: Path, flags: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """At the flag, in a sentence, before anything is done."""
    assert main(["explain", *flags, "--workspace", str(gathered)]) != 0
    told = capsys.readouterr().err
    assert flags[0].lstrip("-").replace("-", "_") in told.replace("-", "_")
    assert "Traceback" not in told
