"""``semascope adopt``: a dictionary that was trained elsewhere, among a workspace's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semascope.cli import main
from semascope.dictionary import CoderConfig, SparseCoder, load, save
from semascope.evidence import Evidence
from semascope.workspace import Workspace

NEW = ["--subject", "tiny:llava", "--corpus", "scenes?n=30", "--samples", "4"]
D = 32
"""Width of tiny:llava."""


def checkpoint(folder: Path, site: str = "resid_post.1", d: int = D, **fields: object) -> Path:
    """A dictionary in SAELens' format."""
    cfg = CoderConfig(d_in=d, width=2 * d, k=4, **fields)  # type: ignore[arg-type]
    save(SparseCoder(cfg, site=site, seed=1), folder, to="saelens")
    return folder


def adopt(folder: Path, workspace: Path, *flags: str) -> int:
    """The verb's exit code."""
    return main(["adopt", str(folder), "--workspace", str(workspace), *flags])


def test_a_new_workspace_has_it_for_all_later_stages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gathering reads it as if it had been trained here, and no stage trains another."""
    folder, space = checkpoint(tmp_path / "sae"), tmp_path / "w"
    assert adopt(folder, space, *NEW) == 0
    said = capsys.readouterr().out
    assert "adopted  resid_post.1/main" in said
    assert "measured FVU" in said
    record = Workspace(space).record()
    assert (record.subject, record.site, record.dictionary) == (
        "tiny:llava",
        "resid_post.1",
        "main",
    )
    assert record.stages["train"].done
    mine = load(space / "dictionaries" / "resid_post.1" / "main")
    assert torch.equal(mine.W_enc, load(folder).W_enc)
    assert main(["gather", "--workspace", str(space), "--samples", "8"]) == 0
    assert "[train] stands" in capsys.readouterr().err
    assert len(Evidence.open(space / "evidence", "resid_post.1/main").alive())


def test_beside_others_it_is_neither_trained_nor_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training anew would otherwise write over what took somebody a week elsewhere."""
    space, other = tmp_path / "w", tmp_path / "tc"
    assert adopt(checkpoint(tmp_path / "sae"), space, *NEW) == 0
    cfg = CoderConfig(d_in=D, width=48, k=3, d_out=D, subtract_b_dec=False)
    coder = SparseCoder(cfg, site="mlp_in.1", seed=1)
    coder.site_out = "mlp_out.1"
    save(coder, other)
    assert adopt(other, space, "--name", "tc", "--samples", "4") == 0
    assert "gather --dictionary mlp_in.1/tc" in capsys.readouterr().out
    figures = Workspace(space).record().stages["train"].figures["dictionaries"]
    assert set(figures) == {"resid_post.1/main", "mlp_in.1/tc"}
    flags = ["--site", "resid_post.0", "--sites", "--tokens", "64", "--latents", "40", "--k", "4"]
    assert main(["train", "--workspace", str(space), "--arch", "topk", *flags]) == 0
    held = {str(path.parent.relative_to(space / "dictionaries")) for path in
            (space / "dictionaries").glob("*/*/cfg.json")}  # fmt: skip
    assert held == {"resid_post.0/main", "resid_post.1/main", "mlp_in.1/tc"}
    assert load(space / "dictionaries" / "mlp_in.1" / "tc").site_out == "mlp_out.1"


@pytest.mark.parametrize(
    ("make", "flags", "match"),
    [
        ({"d": 24}, NEW, "is 32 wide"),
        ({"site": ""}, NEW, "--site resid_post.12"),
        ({"site": "resid_post.99"}, NEW, "resid_post.0"),
        ({"site": "blocks.1.ln2.hook_normalized"}, NEW, "It has: "),
        ({}, [], "--subject sprite-llava"),
        ({}, [*NEW, "--name", "a/b"], "is no name for a folder"),
        ({"d_out": D, "subtract_b_dec": False, "architecture": "relu"}, NEW, "--site-out"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_leaves_nothing(
    make: dict[str, object],
    flags: list[str],
    match: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Half a workspace would be found by the next verb."""
    folder = checkpoint(tmp_path / "sae", **make)  # type: ignore[arg-type]
    assert adopt(folder, tmp_path / "w", *flags) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "w" / "run.json").exists()
    assert not (tmp_path / "w" / "dictionaries").exists()


def test_a_bad_fit_is_said_and_a_workspace_of_another_model_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An FVU above 1 passes for a dictionary in every later verb."""
    folder, space = tmp_path / "sae", tmp_path / "w"
    coder = SparseCoder(CoderConfig(d_in=D, width=64, k=4), site="resid_post.1", seed=1)
    coder.b_dec.data.fill_(50)  # far from anything that the model has there
    save(coder, folder)
    assert adopt(folder, space, *NEW) == 0
    assert "--scale" in capsys.readouterr().out.partition("doubtful")[2]
    assert adopt(folder, space, "--samples", "4", "--name", "main") == 2
    assert "another --name" in capsys.readouterr().err
    assert adopt(folder, space, "--subject", "tiny:qwen2_vl") == 2
    assert "is of --subject tiny:llava" in capsys.readouterr().err
