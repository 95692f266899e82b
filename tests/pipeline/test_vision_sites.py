"""Dictionaries of the vision side, from the command line: trained, gathered, measured, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from semascope.cli import main
from semascope.corpus.open import open_corpus
from semascope.dictionary import load
from semascope.evidence import Evidence
from semascope.pipeline.activations import SiteChunks
from semascope.pipeline.stages import train
from semascope.subject.testing import tiny
from semascope.subject.types import Kind
from semascope.workspace import Workspace

SMALL = ["--rows", "8", "--latents", "48", "--k", "4"]
MIXED = "scenes?n=24+text?n=24"
PATCHES = 16


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a step in a few hundred tokens."""
    monkeypatch.setattr(train, "BATCH", 64)
    monkeypatch.setattr(train, "BLOCK", 256)


def test_sites_of_both_sides_in_one_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each dictionary learns from the tokens that its site has, and is measured on them."""
    where = ["--workspace", str(tmp_path)]
    words = ["--subject", "tiny:llava", "--sites", "projector", "resid_post.0", "--corpus", MIXED]
    assert main(["train", *words, "--tokens", "512", *SMALL, *where]) == 0
    record = Workspace(tmp_path).record().stages["train"]
    told = record.figures["dictionaries"]
    assert set(told["projector/main"]["held_out"]) == {"image"}
    assert set(told["resid_post.0/main"]["held_out"]) == {"image", "text"}
    assert told["projector/main"]["tokens"] < told["resid_post.0/main"]["tokens"]
    assert load(Workspace(tmp_path).dictionary("projector", "main")).site == "projector"
    assert main(["gather", "--samples", "16", "--batch", "8", *where]) == 0
    evidence = Workspace(tmp_path).evidence()
    seen = Evidence.open(evidence, "projector/main")
    assert seen.tokens() == seen.tokens(Kind.IMAGE) > 0
    assert seen.tokens() % PATCHES == 0
    assert Evidence.open(evidence, "resid_post.0/main").tokens(Kind.TEXT) > 0
    capsys.readouterr()
    asked = ["--samples", "16", "--predicted", "8", "--json"]
    assert main(["evaluate", "dictionary", *asked, *where]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dictionary"] == "projector/main"
    assert report["kinds"]["all"]["tokens"] == report["kinds"]["image"]["tokens"] > 0
    assert report["kinds"]["all"]["predictions"] > 0
    assert report["kinds"]["all"]["kl"] > 0


def test_what_is_read_there_are_the_patches_themselves() -> None:
    """In the order of the pictures, the class token left out, texts giving nothing."""
    subject, corpus = tiny("llava"), open_corpus(MIXED, seed=0)
    chunks = SiteChunks(subject, corpus, "vision.1", rows=48, max_tokens=64)
    chunk = chunks(0)
    assert chunk is not None
    assert set(chunk.kind.tolist()) == {Kind.IMAGE}
    samples = [s for _, s in corpus.read() if s.pictures]
    assert len(chunk.x) == PATCHES * len(samples)
    by_hand = subject.run(subject.encode(samples, max_tokens=64), ["vision.1"])["vision.1"]
    order = [
        int((chunk.x.view(-1, PATCHES, chunks.width) - one).abs().sum((1, 2)).argmin())
        for one in by_hand[:, 1:]
    ]
    assert sorted(order) == list(range(len(samples)))
    torch.testing.assert_close(
        chunk.x.view(-1, PATCHES, chunks.width)[order], by_hand[:, 1:], rtol=1e-3, atol=1e-4
    )


def test_what_cannot_be_read_there_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Merged patches; words alone. Nothing is written."""
    asked = ["train", *SMALL, "--tokens", "128", "--site", "projector", "--workspace"]
    for number, (words, said) in enumerate((
        (["--subject", "tiny:qwen2_vl", "--corpus", "scenes?n=8"], "such as resid_post.0"),
        (["--subject", "tiny:llava", "--corpus", "text?n=8", "--text-only"], "reads pictures"),
    )):  # fmt: skip
        folder = tmp_path / str(number)
        assert main([*asked, str(folder), *words]) == 2
        told = capsys.readouterr().err
        assert said in " ".join(told.split())
        assert "Traceback" not in told
        assert not (folder / "dictionaries").exists()
