"""Several sites and widths in one pass, alone and under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from semascope.cli import main
from semascope.config import GatherOptions, RunOptions, TrainOptions
from semascope.dictionary import SparseCoder, load
from semascope.errors import DictionaryError
from semascope.pipeline import recorded
from semascope.workspace import Workspace

SMALL = ["--tokens", "2048", "--k", "4", "--rows", "8", "--corpus", "scenes?n=40"]
TINY = ["--subject", "tiny:llava"]


def train(folder: Path, *flags: str) -> int:
    """The verb, on a subject with random weights."""
    return main(["train", "--workspace", str(folder), *SMALL, *flags])


def test_every_site_and_width_is_the_dictionary_that_it_would_have_been_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One pass over the model; a folder each; the record says how good each is."""
    sites = ["--sites", "resid_post.0", "resid_post.1"]
    assert train(tmp_path / "all", *TINY, *sites, "--widths", "1x", "96") == 0
    said = capsys.readouterr().out.split()
    names = [f"resid_post.{i}/main-{w}" for i in (0, 1) for w in ("1x", "96")]
    assert [line.split("dictionaries/")[1] for line in said] == names
    found = {name: load(path) for name, path in zip(names, said, strict=True)}
    d = found[names[0]].d_in
    assert [c.width for c in found.values()] == [d, 96, d, 96]
    assert [c.site for c in found.values()] == [name.split("/")[0] for name in names]

    flags = ["--site", "resid_post.1", "--widths", "96"]
    assert train(tmp_path / "one", *TINY, *flags) == 0
    same(found[names[3]], load(tmp_path / "one/dictionaries/resid_post.1/main-96"))

    record = Workspace(tmp_path / "all").record()
    assert (record.site, record.dictionary) == ("resid_post.0", "main-1x")
    figures = record.stages["train"].figures
    assert list(figures["dictionaries"]) == names
    assert figures["dictionaries"][names[0]]["fvu"] == figures["fvu"]
    assert len({figures["dictionaries"][name]["fvu"] for name in names}) == 4

    capsys.readouterr()
    assert main(["train", "--workspace", str(tmp_path / "all")]) == 0  # it stands
    assert "stands" in capsys.readouterr().err


def same(one: SparseCoder, other: SparseCoder) -> None:
    """Bitwise."""
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def test_wildcards_and_architectures_are_recorded_in_full(tmp_path: Path) -> None:
    """What the pattern stood for is what the record names; kinds and outliers are counted."""
    flags = ["--sites", "resid_post.*", "--arch", "matryoshka-batchtopk", "--latents", "64"]
    thin = ["--keep", "image=0.5", "--outlier", "50"]
    assert train(tmp_path / "w", *TINY, *flags, *thin) == 0
    options = recorded(Workspace(tmp_path / "w"))
    assert options.train.sites == ("resid_post.0", "resid_post.1", "resid_post.2")
    coder = load(tmp_path / "w/dictionaries/resid_post.1/main")
    assert coder.cfg.architecture == "batchtopk"
    assert coder.cfg.prefixes == (3, 7, 16, 32, 64)
    kept = Workspace(tmp_path / "w").record().stages["train"].figures["kept"]
    assert 0.3 < kept["image"]["kept"] / kept["image"]["seen"] < 0.7
    assert kept["text"]["kept"] + kept["text"]["outlier"] == kept["text"]["seen"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--widths", "many"], "not 'many'"),
        (["--widths", "1x", "2"], "lower k or raise the width"),
        (["--widths", "64", "64"], "asked for twice"),
        (["--keep", "sound=1"], "text, image, tile"),
        (["--settings", "optimizer=sgd"], "'adam', 'adamw', 'muon' or 'signum'"),
        (["--settings", "steps=4"], "set by --tokens"),
        (["--settings", "speed=9"], "multi_topk"),
        (["--sites", "resid_post.0", "resid_post.9"], "no site 'resid_post.9'"),
    ],
)
def test_an_impossible_family_is_a_sentence_before_anything_is_written(
    flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One width that cannot be must not end a run that has trained the others."""
    site = [] if "--sites" in flags else ["--site", "resid_post.0"]
    assert train(tmp_path / "w", *TINY, *site, *flags) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_the_usual_run_is_what_it_was() -> None:
    """New options at their defaults must not make older workspaces stale."""
    assert set(TrainOptions().binding()) == {
        "subject", "site", "corpus", "name", "tokens", "latents", "k", "rows", "max_tokens", "lr",
        "text_only", "seed",
    }  # fmt: skip
    assert "dictionary" not in GatherOptions().binding()
    assert TrainOptions().dictionaries() == (("resid_post.12", "main", ""),)
    assert TrainOptions(arch="gated").binding()["arch"] == "gated"


def test_later_stages_read_the_first_or_the_one_named() -> None:
    """By name where that is enough, by site and name otherwise."""
    train = TrainOptions(sites=("a", "b"), widths=("1x", "4x"))
    chosen = {
        word: RunOptions(train=train, gather=GatherOptions(dictionary=word)).chosen()
        for word in ("", "main-4x", "b/main-1x")
    }
    assert list(chosen.values()) == [("a", "main-1x"), ("a", "main-4x"), ("b", "main-1x")]
    with pytest.raises(DictionaryError, match="there are a/main-1x, a/main-4x"):
        RunOptions(train=train, gather=GatherOptions(dictionary="main")).chosen()


TORCHRUN = """
import os, socket, sys, warnings
import torch
import semascope.pipeline.stages.train, semascope.subject.testing, semascope.corpus.scenes
from semascope.cli import main
torch.set_num_threads(1)
folder, *flags = sys.argv[1:]

def together(name, *more):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            code = 9
            try:
                code = main(["train", "--workspace", f"{folder}/{name}", *flags, *more])
            finally:
                sys.stdout.flush()
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0], name

together("tokens")
together("tokens")  # it stands: the second process is told so
together("feature", "--shard", "feature")
assert main(["train", "--workspace", f"{folder}/one", *flags]) == 0
"""


def test_torchrun_trains_together_what_one_process_trains(tmp_path: Path) -> None:
    """The same command in two processes: the same tokens, by tokens or by feature, one record."""
    flags = [*SMALL, *TINY, "--site", "resid_post.0", "--latents", "64", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, "-c", TORCHRUN, str(tmp_path), *flags],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    where = "dictionaries/resid_post.0/main"
    assert done.stdout.split() == [
        f"{tmp_path}/{name}/{where}" for name in ("tokens", "tokens", "feature", "one")
    ]
    one = load(tmp_path / "one" / where)
    for name in ("tokens", "feature"):
        other = load(tmp_path / name / where)
        for key, weight in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[key], weight, rtol=1e-3, atol=1e-5)
        record = json.loads((tmp_path / name / "run.json").read_text())
        truth = Workspace(tmp_path / "one").record().stages["train"].figures
        assert record["stages"]["train"]["figures"]["fvu"] == pytest.approx(truth["fvu"], rel=1e-3)


def test_settings_reach_the_training(tmp_path: Path) -> None:
    """Optimiser, schedules and losses by name; the checkpoint says what it was trained with."""
    flags = [*TINY, "--site", "resid_post.0", "--latents", "64"]
    words = ["optimizer=signum", "k_start=16", "resample=0.5,0.75", "multi_topk=0.125"]
    assert train(tmp_path / "w", *flags, "--settings", *words) == 0
    made = tmp_path / "w/dictionaries/resid_post.0/main"
    used = json.loads((made / "cfg.json").read_text())["semascope"]["train"]
    assert (used["optimizer"], used["k_start"], used["multi_topk"]) == ("signum", 16, 0.125)
    assert used["resample"] == [0.5, 0.75]
    assert recorded(Workspace(tmp_path / "w")).train.settings == tuple(words)


def test_reading_ahead_changes_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the model reads on while dictionaries learn: the same tokens, the same bits."""
    from semascope.pipeline.stages import train as training

    flags = [*TINY, "--site", "resid_post.0", "--latents", "64"]
    assert train(tmp_path / "in-turn", *flags) == 0
    monkeypatch.setattr(training, "_overlaps", lambda run: True)
    assert train(tmp_path / "ahead", *flags) == 0
    one, other = (tmp_path / n / "dictionaries/resid_post.0/main" for n in ("in-turn", "ahead"))
    same(load(one), load(other))


def test_a_tracker_gets_the_figures_of_metrics_jsonl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one that is not installed is named before anything is written."""
    flags = [*TINY, "--site", "resid_post.0", "--latents", "64", "--tokens", "4096"]
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not there
    assert train(tmp_path / "w", *flags, "--track", "wandb") == 2
    assert "pip install wandb" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "w").exists()

    told: list[dict[str, float]] = []
    tracker = ModuleType("trackio")
    tracker.init = tracker.finish = lambda **_: None  # type: ignore[attr-defined]
    tracker.log = lambda figures, step: told.append(figures)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", tracker)
    assert train(tmp_path / "w", *flags, "--track", "trackio") == 0
    lines = (tmp_path / "w/dictionaries/resid_post.0/main/metrics.jsonl").read_text().splitlines()
    assert [one["fvu"] for one in told] == [json.loads(line)["fvu"] for line in lines]
