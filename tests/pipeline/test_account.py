"""What a run read: counted, told, never mixed with another corpus, never begun by a slip."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from semascope import pipeline
from semascope.cli import main
from semascope.config import ExplainOptions, GatherOptions, RunOptions, TrainOptions
from semascope.corpus import SkipReport, open_corpus
from semascope.corpus.sample import Sample, Turn
from semascope.evidence import Evidence
from semascope.explain.types import Score
from semascope.pipeline.accounts.samples import CountedCorpus, CountingSubject, SampleAccount
from semascope.pipeline.accounts.text import lines
from semascope.pipeline.activation_cache import ActivationCache
from semascope.pipeline.stages import score
from semascope.subject import Subject
from semascope.subject.testing import tiny
from semascope.workspace import Workspace

SITE = "resid_post.1"
FLAGS = ["--subject", "tiny:llava", "--site", SITE, "--latents", "32", "--k", "4"]
SMALL = [*FLAGS, "--tokens", "2048", "--rows", "8"]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny("llava")


def pictures(folder: Path, n: int = 24) -> Path:
    """Captioned pictures, one of them too thin for a model, one none at all, one long caption."""
    folder.mkdir(parents=True)
    for number in range(n):
        size = (1, 900) if number in (3, 5) else (24, 24)
        Image.new("RGB", size, (number * 9, 40, 80)).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text("a square of colour")
    (folder / "00.txt").write_text("a square " * 100)
    (folder / "07.png").write_text("no picture")
    (folder / "sound.wav").touch()
    return folder


def seen(name: str, colour: str, words: str = "What?") -> Sample:
    image = Image.new("RGB", (24, 24), colour)
    return Sample(name, turns=(Turn("user", words, images=1),), images=(image,))


def test_a_sample_is_recalled_by_what_it_holds(subject: Subject, tmp_path: Path) -> None:
    """A picture that was replaced, and another model, must not get the old one's activations."""
    memory = ActivationCache(tmp_path, most=1 << 30, stamp="model")
    batch = subject.encode([seen("a", "red"), seen("b", "blue")])
    assert memory.keep(0, [(batch, subject.run(batch, [SITE]))])
    again = ActivationCache(tmp_path, stamp="model")
    assert again.find(subject.encode([seen("b", "blue")]), [SITE]) is not None
    assert again.find(subject.encode([seen("b", "red")]), [SITE]) is None
    assert again.find(subject.encode([seen("a", "blue")]), [SITE]) is None
    assert again.find(subject.encode([seen("a", "red", "Whut?")]), [SITE]) is None
    assert ActivationCache(tmp_path, stamp="other").find(batch, [SITE]) is None


def test_a_chunk_of_other_samples_is_written_anew(subject: Subject, tmp_path: Path) -> None:
    """A file of that number may be of an earlier run's samples."""
    memory = ActivationCache(tmp_path, most=1 << 30)
    first, second = (subject.encode([seen("a", colour)]) for colour in ("red", "blue"))
    memory.keep(0, [(first, subject.run(first, [SITE]))])
    assert memory.keep(0, [(second, subject.run(second, [SITE]))])
    assert memory.find(first, [SITE]) is None
    assert memory.find(second, [SITE]) is not None


def test_a_block_that_is_read_again_counts_once(subject: Subject, tmp_path: Path) -> None:
    """A run that is killed and resumed reads its last block twice."""
    account = SampleAccount(tmp_path / "reading", "train")
    account.note("chunk 0", {"rows": 8, "tokens": {"text": 5}})
    account.note("chunk 1", {"rows": 8, "tokens": {"text": 7}})
    account.note("chunk 1", {"rows": 8, "tokens": {"text": 7, "image": 1}})
    report = SkipReport()
    report.left["hidden files"] += 1
    report.layout.append("pictures: 2")
    total = account.total(report)
    assert (total["rows"], total["tokens"]) == (16, {"text": 12, "image": 1})
    assert (total["left"], total["layout"]) == ({"hidden files": 1}, ["pictures: 2"])
    account.forget()
    assert not (tmp_path / "reading").exists()


def test_reading_twice_and_resuming_count_the_same(subject: Subject, tmp_path: Path) -> None:
    """Bad rows, refusals and tokens: as often as they are, not as often as they are read."""
    corpus = open_corpus(pictures(tmp_path / "d"))
    account = SampleAccount(tmp_path / "reading", "gather")
    counted, counting = CountedCorpus(corpus, account), CountingSubject(subject, account)
    for _ in range(2):
        for first in range(0, len(corpus), 8):
            for _, sample in counted.read(first, first + 8):
                if min(sample.images[0].size) > 1:
                    counting.encode([sample], max_tokens=64)
    total = account.total()
    assert (total["rows"], total["samples"], total["pictures"]) == (24, 23, 23)
    assert total["skipped"] == {"not an image": 1}
    assert total["cut_samples"] == 1
    assert set(total["tokens"]) >= {"text", "image"}


@pytest.fixture
def trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, Path, str]:
    """A run over pictures that was trained, its corpus, and what was said."""
    corpus, folder = pictures(tmp_path / "pics"), tmp_path / "runs" / "mine"
    flags = [*SMALL, "--max-tokens", "64", "--corpus", str(corpus)]
    assert main(["train", "--workspace", str(folder), *flags]) == 0
    return folder, corpus, capsys.readouterr().err


def test_stages_end_with_what_they_read(
    trained: tuple[Path, Path, str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Printed, in run.json and in the report; a refusal is named once and counted."""
    folder, _, said = trained
    read = Workspace(folder).record().stages["train"].figures["read"]
    assert read["left"] == {"files of another kind (.wav)": 1}
    lost = sum(read["refused"].values()) + sum(read["skipped"].values())
    assert read["rows"] >= read["samples"] > 0 and lost <= 3
    assert "of words" in said and "(.wav)" in said
    where = ["--workspace", str(folder)]
    caplog.clear()
    assert main(["gather", "--samples", "24", *where]) == 0
    assert sum(record.message.count("too long and thin") for record in caplog.records) == 1
    said = capsys.readouterr().err
    assert "not an image (1)" in said and "2 samples refused by the subject" in said
    assert "more than --max-tokens of words" in said
    gathered = Workspace(folder).record().stages["gather"].figures
    assert gathered["read"]["pictures"] == 23 and gathered["skipped"] == 1
    assert not (folder / "reading").exists()
    assert main(["report", "--json", *where]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["read"]["gather"] == gathered["read"]
    assert main(["report", *where]) == 0
    assert "files of another kind (.wav)" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["picture", "row"])
def test_a_corpus_that_changed_is_refused(
    trained: tuple[Path, Path, str], change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evidence of other pictures than the dictionary's would be told as the same run's."""
    folder, corpus, _ = trained
    place = corpus / ("09.png" if change == "picture" else "04b.png")
    Image.new("RGB", (24, 24), "white").save(place)
    assert main(["gather", "--samples", "24", "--workspace", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "files of it have changed" in said and "Traceback" not in said


@pytest.mark.parametrize("verb", ["gather", "explain", "score", "report", "search x", "serve"])
def test_a_slip_in_a_name_begins_no_run(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default run takes tens of minutes: it is begun by demo and train, and no other verb."""
    Workspace(tmp_path / "mine").save(Workspace(tmp_path / "mine").record())
    slip = tmp_path / "mnie"
    assert main([*verb.split(), "--workspace", str(slip)]) == 2
    said = capsys.readouterr().err
    assert "was never made" in said and str(tmp_path / "mine") in said
    assert not slip.exists()


def test_a_train_that_fails_leaves_no_workspace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Later verbs would take what is left for a run."""
    lines = ['{"text": "words", "image": "gone.png"}'] * 30
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    folder = tmp_path / "w"
    flags = [*SMALL, "--text-only", "--corpus", str(tmp_path / "x.jsonl")]
    assert main(["train", "--workspace", str(folder), *flags]) == 2
    assert "gives nothing to read" in capsys.readouterr().err
    assert not folder.exists()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """All stages on a tiny model."""
    space = Workspace(tmp_path_factory.mktemp("account") / "run")
    train = TrainOptions(
        subject="tiny:llava", site="resid_post.1", corpus="scenes?n=40", tokens=600, latents=32,
        k=4, rows=8, max_tokens=128,
    )  # fmt: skip
    explain = ExplainOptions(explainers=("vocabulary",), least_gain=0.05)
    gather = GatherOptions(samples=24, top=6, batch=8)
    pipeline.run(space, RunOptions(train=train, gather=gather, explain=explain))
    return space


@pytest.mark.parametrize(("stage", "split"), [("explain", "explain"), ("score", "score")])
def test_later_stages_end_with_what_they_read(whole_run: Workspace, stage: str, split: str) -> None:
    """Without: a feature without words or without a score is missing, and nothing says why."""
    space = whole_run
    stages = space.record().stages
    evidence = Evidence.open(space.evidence(), "resid_post.1/main")
    read = stages[stage].figures["read"]
    shown = [evidence.shown.get(n) for n in range(len(evidence.shown))]
    own = [one for one in shown if one.split == split]
    assert read["samples"] == len(own) and read["rows"] == len(shown)
    assert read["pictures"] == sum(len(one.media) for one in own)
    assert sum(read["tokens"].values()) == sum(len(one.tokens) for one in own)
    for name in ("explain", "score", "index"):
        features = stages[name].figures["read"]["features"]
        left = stages[name].figures["read"].get("features_left", {})
        assert features["done"] + sum(left.values()) == features["of"] == evidence.width
        assert any(features["verb"] in line for line in lines(stages[name].figures["read"]))


def test_one_feature_has_a_mean_and_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without: a single value is shown as if others would fall on it: .500, .500 to .500."""
    one = Score(3, "detection", 0.5, 0.5, 0.4, 0.6)
    monkeypatch.setattr(score, "read", lambda run: iter([one]))
    (row,) = score.summary(None)  # type: ignore[arg-type]
    assert (row["mean"], row["low"], row["high"]) == (0.5, None, None)
    monkeypatch.setattr(score, "read", lambda run: iter([one, replace(one, value=0.9)]))
    (row,) = score.summary(None)  # type: ignore[arg-type]
    assert row["low"] < row["mean"] < row["high"]
