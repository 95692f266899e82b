"""``semascope convert``: what it says, what it keeps, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from semascope.cli import main
from semascope.dictionary import CoderConfig, SparseCoder, load, save

GOLDEN = Path(__file__).parent / "golden"


def made(folder: Path) -> Path:
    """A checkpoint of ours with a key that nobody knows."""
    coder = SparseCoder(CoderConfig(d_in=8, width=32, k=3), site="resid_post.3", seed=1)
    coder.b_dec.data.normal_()
    save(coder, folder, to="saelens")
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**config, "moon_phase": "waxing"}))
    return folder


def test_it_says_what_it_found_and_wrote_and_keeps_unknown_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through every safetensors format and back, the unknown key comes along and is named."""
    source = made(tmp_path / "saelens-in")
    for to in ("sparsify", "llamascopium", "saelens"):
        target = tmp_path / to
        assert main(["convert", str(source), str(target), "--to", to]) == 0
        said = capsys.readouterr().out.splitlines()
        assert "topk SAE, 32 latents of width 8, k 3 at resid_post.3" in said[0]
        assert said[1].endswith("moon_phase")
        assert said[2].startswith(f"wrote  {to}: topk SAE")
        assert float(said[3].split()[-3]) < 1e-6
        assert load(target).cfg.extra["moon_phase"] == "waxing"
        source = target


def test_a_pickle_is_read_only_when_trusted_in_so_many_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written for one that is not."""
    case = next(p for p in sorted(GOLDEN.iterdir()) if p.name.startswith("dictionary_learning"))
    target = tmp_path / "out"
    assert main(["convert", str(case), str(target)]) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    assert not target.exists()
    assert main(["convert", str(case), str(target), "--trust-pickle"]) == 0
    assert capsys.readouterr().out.startswith("found  dictionary_learning: ")
    assert load(target).width > 0


def test_what_cannot_be_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No format by that name; a target that is the source; code in a pickle."""
    source = made(tmp_path / "in")
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "nobody's"]) == 2
    assert "there are sparsify" in capsys.readouterr().err
    assert main(["convert", str(source), str(source)]) == 2
    assert "over itself" in capsys.readouterr().err
    torch.save({"code": Path("x")}, tmp_path / "evil.pt")
    target = str(tmp_path / "out")
    assert main(["convert", str(tmp_path / "evil.pt"), target, "--trust-pickle"]) == 2
    assert "would run code" in capsys.readouterr().err
