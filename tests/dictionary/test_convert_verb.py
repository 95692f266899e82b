"""``semascope convert``: what it says, what it keeps, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semascope.cli import main
from semascope.dictionary import CoderConfig, SparseCoder, convert, load, save
from semascope.dictionary.formats import sparsify
from semascope.dictionary.metrics.comparison import compare, probes
from semascope.errors import NotFinite

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
        assert said[3].startswith("check  codes differ by")
        assert float(said[3].split()[4].rstrip(",")) < 1e-6
        assert float(said[3].split()[7]) < 1e-6
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


def test_a_difference_nan_or_a_lost_site_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check that cannot fail is no check: each part of what was written is spoilt in turn."""
    source = made(tmp_path / "in")

    def spoil(change: Callable[[SparseCoder], None]) -> str:
        real = sparsify.write

        def write(coder: SparseCoder, path: Path, notes: object = None) -> None:
            change(coder)
            real(coder, path)

        monkeypatch.setattr(sparsify, "write", write)
        original = load(source)
        monkeypatch.setattr("semascope.dictionary.formats.registry.load", lambda *a, **b: original)
        kept = original.state_dict()
        kept = {name: t.clone() for name, t in kept.items()}
        site = original.site
        monkeypatch.setattr(
            "semascope.dictionary.convert",
            lambda *a, **b: restored(convert(*a, **b), kept, site),
        )
        code = main(["convert", str(source), str(tmp_path / "out")])
        monkeypatch.undo()
        assert code == 2
        return capsys.readouterr().err

    def restored(
        done: tuple[str, SparseCoder], kept: dict[str, torch.Tensor], site: str
    ) -> tuple[str, SparseCoder]:
        done[1].load_state_dict(kept)
        done[1].site = site
        return done

    assert "codes differ" in spoil(lambda coder: coder.b_enc.data.add_(0.1))
    assert "codes differ by 0.0e+00 and outputs" in spoil(lambda coder: coder.W_dec.data.mul_(1.01))
    assert "it reads at resid_post.3" in spoil(lambda coder: setattr(coder, "site", "resid_post.4"))


def test_nothing_active_is_no_agreement() -> None:
    """Two dictionaries of which no feature ever fires agree about nothing."""
    coder = SparseCoder(CoderConfig(d_in=8, width=32, architecture="jumprelu"), seed=1)
    coder.activation.threshold.data.fill_(1e6)  # type: ignore[union-attr,operator]
    assert "nothing was compared" in compare(coder, coder, torch.randn(9, 8)).fault()
    assert not compare(coder, coder, probes(coder)).fault()  # at a scale where they fire
    coder.W_dec.data.fill_(1e38)
    with pytest.raises(NotFinite, match="NaN or infinity"):
        compare(coder, coder, probes(coder))
