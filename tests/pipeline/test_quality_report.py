"""A family of three widths from the command line: trained, judged, taken apart, drawn."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from semascope.cli import main
from semascope.dictionary import load
from semascope.workspace import Workspace

TRAIN = [
    "--subject", "tiny:llava", "--site", "resid_post.1", "--corpus", "scenes?n=48",
    "--tokens", "2048", "--rows", "8", "--k", "4",
]  # fmt: skip
WIDTHS = ("1x", "2x", "4x")
KEYS = [f"resid_post.1/main-{width}" for width in WIDTHS]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three widths, trained and gathered."""
    folder = tmp_path_factory.mktemp("family")
    where = ["--workspace", str(folder)]
    assert main(["train", *TRAIN, "--widths", *WIDTHS, *where]) == 0
    assert main(["gather", "--samples", "32", "--batch", "8", *where]) == 0
    return folder


@pytest.fixture
def ask(family: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """(what the verb printed, exit code)."""

    def run(*words: str) -> tuple[str, int]:
        capsys.readouterr()
        code = main([*words, "--workspace", str(family)])
        return capsys.readouterr().out, code

    return run


def test_a_family_from_the_command_line_to_its_pictures(ask, family: Path) -> None:  # type: ignore[no-untyped-def]
    """Splitting and completeness see all three widths, narrowest first, and draw them."""
    out, code = ask("evaluate", "splitting", "--threshold", "0.1", "--json")
    assert code == 0
    told = json.loads(out)
    assert [one["id"] for one in told["dictionaries"]] == KEYS
    assert len(told["steps"]) == 2
    words = " ".join(ElementTree.parse(told["picture"]).getroot().itertext())
    assert all(key in words for key in KEYS)

    out, code = ask("evaluate", "completeness", "--concepts", "colour", "--least", "2", "--json")
    assert code == 0
    told = json.loads(out)
    assert [one["id"] for one in told["dictionaries"]] == KEYS
    assert all(0 <= one["share"] <= 1 and one["concepts"] for one in told["dictionaries"])
    page = ElementTree.parse(told["picture"]).getroot()
    assert len(page.findall("{http://www.w3.org/2000/svg}polyline")) == 3


def test_the_report_of_one_dictionary_by_kind_of_token(ask, family: Path) -> None:  # type: ignore[no-untyped-def]
    """Figures that must agree with each other and with the training's record; then in report."""
    name = KEYS[1]
    beside = Workspace(family).dictionary("resid_post.1", "main-2x")
    words = ["--dictionary", name, "--samples", "240", "--predicted", "8", "--beside", str(beside)]
    out, code = ask("evaluate", "dictionary", *words, "--json")
    assert code == 0
    told = json.loads(out)
    kinds = told["kinds"]
    assert set(kinds) == {"all", "text", "image"}
    trained = Workspace(family).record().stages["train"].figures["dictionaries"][name]
    assert kinds["all"]["fvu"] == pytest.approx(trained["fvu"], rel=1e-6)
    assert kinds["text"]["tokens"] + kinds["image"]["tokens"] == kinds["all"]["tokens"]
    for one in kinds.values():
        assert one["explained_variance"] == pytest.approx(1 - one["fvu"])
        alive = round((1 - one["dead_fraction"]) * told["width"])
        assert sum(one["density"]) == alive
        assert one["kl"] >= 0 and one["ce_zero"] > 0
    named = kinds["text"]["predictions"] + kinds["image"]["predictions"]
    assert 0 < named <= kinds["all"]["predictions"], "template tokens predict too"
    assert told["stability"]["nearest"] == pytest.approx(1, abs=1e-5), "beside itself"
    assert told["silent"]["tokens"] >= 2048 and told["silent"]["shares"]
    page = ElementTree.parse(told["picture"]).getroot()
    assert len(page.findall("{http://www.w3.org/2000/svg}path")) == 3

    report, code = ask("report")
    assert code == 0
    assert "CE rec." in report and f"{name}: topk" in report
    assert json.loads(ask("report", "--json")[0])["quality"][name]["kinds"] == kinds


def test_what_cannot_be_compared_is_a_sentence(
    family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another site's dictionary, and one that is not there."""
    from semascope.dictionary import save

    other = load(Workspace(family).dictionary("resid_post.1", "main-1x"))
    other.site = "resid_post.0"
    save(other, tmp_path / "other")
    where = ["--workspace", str(family), "--predicted", "0", "--samples", "8"]
    assert main(["evaluate", "dictionary", *where, "--beside", str(tmp_path / "other")]) == 2
    assert "trained at the same site" in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", "dictionary", *where, "--dictionary", "main-9x"]) == 2
    assert "main-1x" in capsys.readouterr().err
