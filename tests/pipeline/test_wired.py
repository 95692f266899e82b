"""Transcoders and crosscoders from the command line: trained, resumed, gathered, reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from semascope.causal.steering.units import output_site
from semascope.cli import main
from semascope.config import RunOptions, TrainOptions
from semascope.corpus.open import open_corpus
from semascope.dictionary import SparseCoder, load
from semascope.dictionary.crosscoder import CrosscoderAtSite, site_norms
from semascope.errors import DictionaryError
from semascope.evidence import Evidence
from semascope.pipeline import run
from semascope.pipeline.stages import train
from semascope.pipeline.stages.base import SilentReporter, StageProgress
from semascope.subject.testing import tiny
from semascope.subject.types import Kind
from semascope.workspace import Workspace

SMALL = ["--subject", "tiny:llava", "--corpus", "scenes?n=40", "--rows", "8"]
SHORT = ["--tokens", "1024", "--latents", "64", "--k", "4", "--lr", "0.01"]
SITES = ("resid_post.0", "resid_post.2")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a step in a thousand tokens."""
    monkeypatch.setattr(train, "BATCH", 64)
    monkeypatch.setattr(train, "BLOCK", 320)
    monkeypatch.setattr(train, "CHECKPOINT", 4)


def semascope(verb: str, folder: Path, *flags: str) -> int:
    """A verb on a workspace."""
    return main([verb, "--workspace", str(folder), *flags])


def seen(*sites: str) -> dict[str, torch.Tensor]:
    """(N, d) activations of the tiny subject on a few scenes, as a dictionary reads them."""
    subject, corpus = tiny("llava"), open_corpus("scenes?n=40", seed=0)
    batch = subject.encode([sample for _, sample in corpus.read(0, 16)], max_tokens=144)
    found = subject.run(batch, list(sites))
    mask = torch.stack([torch.from_numpy(m.kinds == Kind.TEXT) for m in batch.maps])
    return {site: found[site][mask].float() for site in sites}


def fvu(x_hat: torch.Tensor, y: torch.Tensor) -> float:
    """Of (N, d)."""
    return float((x_hat - y).square().sum() / (y - y.mean(0)).square().sum())


def same(one: SparseCoder, other: SparseCoder) -> None:
    """Bitwise."""
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def test_a_transcoder_is_trained_against_its_target_and_gathered_as_any_dictionary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gives the MLP's output from the MLP's input, in the site's own units; the figures say
    so; evidence is of where it reads."""
    flags = ["--arch", "transcoder", "--sites", "mlp_in.1:mlp_out.1"]
    assert semascope("train", tmp_path, *SMALL, *SHORT, *flags) == 0
    folder = tmp_path / "dictionaries/mlp_in.1/main"
    assert capsys.readouterr().out.split() == [str(folder)]
    coder = load(folder)
    assert (coder.site, coder.site_out, output_site(coder)) == ("mlp_in.1", *["mlp_out.1"] * 2)
    assert coder.cfg.transcodes
    assert not coder.cfg.skip

    x = seen("mlp_in.1", "mlp_out.1")
    given = coder.decode(coder.encode(x["mlp_in.1"]))
    ours = fvu(given, x["mlp_out.1"])
    assert ours < 0.8
    assert fvu(given, x["mlp_in.1"]) > 0.95  # of its own input it knows nothing
    figures = Workspace(tmp_path).record().stages["train"].figures
    assert figures["writes"] == "mlp_out.1"
    assert figures["l0"] == pytest.approx(4, abs=0.5)
    assert figures["held_out"]["text"]["fvu"] == pytest.approx(ours, abs=0.2)

    assert semascope("gather", tmp_path, "--samples", "16") == 0
    evidence = Evidence.open(tmp_path / "evidence", "mlp_in.1/main")
    assert len(evidence.alive()) > 10
    capsys.readouterr()
    assert semascope("report", tmp_path) == 0
    assert "mlp_in.1/main → mlp_out.1" in capsys.readouterr().out


def test_layers_by_wildcard_are_the_transcoders_that_each_would_have_been_alone(
    tmp_path: Path,
) -> None:
    """``mlp_in.N`` alone means its own MLP's output; the record holds it in full."""
    flags = ["--arch", "skip_transcoder", *SMALL, *SHORT]
    assert semascope("train", tmp_path / "all", *flags, "--sites", "mlp_in.*") == 0
    record = Workspace(tmp_path / "all").record().stages["train"]
    assert record.options["sites"] == [f"mlp_in.{n}:mlp_out.{n}" for n in range(3)]
    assert {d["writes"] for d in record.figures["dictionaries"].values()} == {
        f"mlp_out.{n}" for n in range(3)
    }
    assert semascope("train", tmp_path / "one", *flags, "--site", "mlp_in.2") == 0
    where = "dictionaries/mlp_in.2/main"
    alone = load(tmp_path / "one" / where)
    assert alone.cfg.skip
    assert alone.W_skip is not None
    assert float(alone.W_skip.abs().max()) > 0
    same(load(tmp_path / "all" / where), alone)


def test_a_crosscoder_gives_each_of_its_sites_and_says_how_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each site in its own units, whichever has the larger norm; the report has a line for each."""
    flags = ["--arch", "crosscoder", "--sites", "+".join(SITES)]
    assert semascope("train", tmp_path, *SMALL, *SHORT, *flags) == 0
    name = "+".join(SITES)
    coder = load(tmp_path / "dictionaries" / name / "main")
    assert coder.cfg.parts == (coder.d_in // 2,) * 2
    assert site_norms(coder).shape == (64, 2)
    x = seen(*SITES)
    joined = torch.cat([x[site] for site in SITES], dim=1)
    figures = Workspace(tmp_path).record().stages["train"].figures
    for number, site in enumerate(SITES):
        view = CrosscoderAtSite(coder, number)
        ours = fvu(view.decode(view.encode(joined)), x[site])
        assert ours < 0.9
        assert figures["sites"][site]["fvu"] < 0.9
    mean = sum(figures["sites"][site]["fvu"] for site in SITES) / 2
    assert figures["fvu"] == pytest.approx(mean)

    assert semascope("gather", tmp_path, "--samples", "16") == 0
    assert len(Evidence.open(tmp_path / "evidence", f"{name}/main").alive()) > 10
    capsys.readouterr()
    assert semascope("report", tmp_path, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["dictionaries"]) == [f"{name}/main at {site}" for site in SITES]
    assert report["dictionaries"][f"{name}/main at {SITES[1]}"]["l0"] == report["l0"]


class Stopped(BaseException):
    """As an interrupt is: nobody handles it."""


class Stopper(SilentReporter):
    """Stops the run at the n-th report."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def begin(self, stage: str, note: str) -> StageProgress:
        def told(done: int, total: int, note: str = "") -> None:
            self.left -= 1
            if self.left < 0:
                raise Stopped

        return told


@pytest.mark.parametrize(
    ("arch", "sites"),
    [("skip_transcoder", "mlp_in.1:mlp_out.1"), ("crosscoder-batchtopk", "+".join(SITES))],
)
def test_stopped_and_taken_up_again_they_end_with_the_same_weights(
    arch: str, sites: str, tmp_path: Path
) -> None:
    """The factors of each site and of the target are part of the state."""
    options = RunOptions(
        train=TrainOptions(
            subject="tiny:llava", corpus="scenes?n=40", arch=arch, sites=(sites,),  # type: ignore[arg-type]
            tokens=1024, latents=64, k=4, rows=8, lr=0.01,
        )
    )  # fmt: skip
    whole, stopped = Workspace(tmp_path / "whole"), Workspace(tmp_path / "stopped")
    run(whole, options, until="train")
    with pytest.raises(Stopped):
        run(stopped, options, until="train", reporter=Stopper(16))
    site, name, _ = options.train.dictionaries()[0]
    assert not (stopped.dictionary(site, name) / "cfg.json").exists()
    assert list(stopped.dictionary(site, name).glob("state-*"))
    run(stopped, options, until="train")
    same(load(whole.dictionary(site, name)), load(stopped.dictionary(site, name)))
    first, second = (w.record().stages["train"] for w in (whole, stopped))
    assert second.starts == 2
    assert first.figures == second.figures


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("transcoder mlp_in.9", "no site 'mlp_in.9'"),
        ("transcoder mlp_in.1:mlp_out.7", "no site 'mlp_out.7'"),
        ("transcoder resid_post.1", "mlp_in.12:mlp_out.12"),
        ("transcoder mlp_out.1:mlp_in.1", "Turn them round: mlp_in.1:mlp_out.1"),
        ("transcoder mlp_in.1:mlp_in.1", "is a sparse autoencoder"),
        ("transcoder mlp_in.*:mlp_out.0", "names 3 sites to read and 1 to give"),
        ("transcoder mlp_in.1 mlp_in.1:resid_post.1", "each site that is read once"),
        ("crosscoder resid_post.0 resid_post.1", "'resid_post.0' is one"),
        ("crosscoder resid_post.0+resid_post.9", "no site 'resid_post.9'"),
        ("crosscoder resid_post.0+resid_post.0", "joins a site with itself"),
        ("crosscoder vision.0+resid_post.0", "not the tokens of the language model"),
        ("crosscoder resid_post.0+", "lacks a site"),
        ("topk mlp_in.1:mlp_out.1", "say --arch transcoder"),
        ("gated resid_post.0+resid_post.1", "say --arch crosscoder"),
    ],
)
def test_sites_that_cannot_be_are_a_sentence_before_anything_is_written(
    flags: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong, and how it is written."""
    arch, *sites = flags.split()
    folder = tmp_path / "w"
    assert semascope("train", folder, *SMALL, *SHORT, "--arch", arch, "--sites", *sites) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not folder.exists()


def test_a_pattern_of_a_crosscoder_is_one_dictionary() -> None:
    """All the sites that it names, in the order of the model."""
    from semascope.wiring import activation_of, expand, wiring

    known = ["mlp_in.0", "mlp_out.0", "mlp_in.1", "mlp_out.1"]

    def resolve(pattern: str) -> list[str]:
        return [name for name in known if name.startswith(pattern.rstrip("*"))]

    assert expand("crosscoder-relu", ["mlp_out.*+mlp_in.0"], resolve) == (
        "mlp_out.0+mlp_out.1+mlp_in.0",
    )
    assert expand("transcoder", ["mlp_in.*:mlp_out.*"], resolve) == (
        "mlp_in.0:mlp_out.0", "mlp_in.1:mlp_out.1",
    )  # fmt: skip
    assert wiring("crosscoder", "a.1+b.2").site == "a.1+b.2"
    arches = ("topk", "matryoshka-gated", "skip_transcoder", "crosscoder-jumprelu")
    assert [activation_of(a) for a in arches] == ["topk", "gated", "topk", "jumprelu"]
    with pytest.raises(DictionaryError, match="lacks a site"):
        wiring("transcoder", "mlp_in.1:")
