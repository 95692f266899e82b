"""The causal verbs on a small run of random weights: run, resumed, replayed, mistaken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semascope.cli import main

HERE = ("--subject", "tiny:llava", "--site", "resid_post.1", "--text-only")
SMALL = ("--tokens", "256", "--latents", "32", "--k", "4", "--rows", "8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with evidence and no words."""
    place = tmp_path_factory.mktemp("runs")
    words = place / "words.jsonl"
    words.write_text('{"text": "is there a dog in the picture? yes, two"}\n' * 40)
    corpus = ("--corpus", str(words))
    assert main(["train", "-w", str(place / "w"), *HERE, *SMALL, *corpus]) == 0
    assert main(["gather", "-w", str(place / "w"), "--samples", "8"]) == 0
    return place / "w"


@pytest.fixture
def ask(folder: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a verb; (exit code, its JSON or None, what it said to stderr)."""

    def run(*words: str):  # type: ignore[no-untyped-def]
        capsys.readouterr()
        code = main([*words, "-w", str(folder), "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out.strip() else None, said.err

    return run


def test_attribute_writes_tables_and_a_heat_map(ask, folder):
    code, told, _ = ask("attribute", "What?", "--picture", "blank", "--ablate", "4")
    assert told["metric"] in ("logit_diff", "contrast")  # its own word, against its strongest rival
    assert code == 0
    assert len(told["ablation"]["features"]) <= 4
    assert told["sites"][0]["gap"] < 1e-4
    assert {Path(path).name for path in told["files"]} == {
        "heat-0.png", "report.html", "report.json",
    }  # fmt: skip
    assert all(Path(path).is_file() for path in told["files"])
    several = ask("attribute", "--target", "a red cat", "--picture", "none")[1]
    assert several["metric"] == "span"
    versus = ask("attribute", "--target", "yes", "--versus", "no", "--picture", "blank")[1]
    assert versus["metric"] == "contrast"
    active = ask("attribute", "--mode", "activation", "--top", "2", "--picture", "blank")[1]
    assert len(active["features"]) == 2
    same = ("--picture", "blank", "--corrupted", "blank", "--target", "yes", "--metric", "span")
    patched = ask("attribute", *same)[1]
    assert all(row["score"] == 0 for row in patched["features"])
    plain = ("--picture", "blank", "--target", "yes", "--metric", "span")
    other = ask("attribute", "Why a cat?", *plain, "--corrupted-question", "Why a dog?")[1]
    assert any(row["score"] for row in other["features"])
    assert (other["less_question"], other["less_picture"]) == ("Why a dog?", "blank")
    assert not {*other["files"]} & {*ask("attribute", "Why a cat?", *plain)[1]["files"]}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("attribute", "--target", "a red cat", "--metric", "logprob", "--picture", "none"),
            "whole sequence",
        ),
        (("attribute", "--region", "0,0,999,20", "--picture", "blank"), "outside the picture"),
        (("attribute", "--region", "left", "--picture", "blank"), "is no box"),
        (
            ("attribute", "--corrupted", "blank", "--ablate", "3", "--picture", "blank"),
            "leave --interventions",
        ),
        (
            ("attribute", "Why?", "--corrupted-question", "Why is it so?", "--picture", "blank"),
            "as many tokens",
        ),
        (("steer",), "Name features"),
        (("steer", "a flag"), "Name one by its number"),
        (("steer", "3", "--how", "dance", "--picture", "none"), "--how dance"),
        (("steer", "99999", "--picture", "none"), "features, no number"),
        (("steer", "--interventions", "no/such.json", "--strength", "2"), "cannot be read"),
        (("find", "say it"), "names nothing"),
        (("find", "x", "--wrong", "yes"), "--right"),
        (("study", "clamped"), "--feature"),
        (("study", "vector"), "--want FILE"),
        (("evaluate", "steering"), "semascope demo"),
        (("evaluate", "hallucination", "--pope", "a", "--hallusion", "b"), "one at a time"),
    ],
)
def test_a_mistake_is_a_sentence(words, says, ask):
    code, told, err = ask(*words)
    assert code == 2
    assert told is None
    assert says in err.replace("\n", " ")
    assert "Traceback" not in err


def test_interventions_are_saved_and_replayed(ask, tmp_path, folder):
    from semascope.evidence import Evidence

    alive = Evidence.open(folder / "evidence", "main").alive()
    numbers = [str(n) for n in alive[:2]]
    saved = tmp_path / "s.json"
    flags = ("--tokens", "3", "--kinds", "image", "--strength", "3", "--picture", "blank")
    code, told, _ = ask("steer", *numbers, *flags, "--save", str(saved))
    assert code == 0
    again = ask("steer", "--interventions", str(saved), *flags[:2], *flags[-2:], "--beams", "2")[1]
    assert again["steered"] == told["steered"]
    assert again["interventions"] == told["interventions"]
    assert again["interventions"][0]["where"] == {"kinds": ["image"]}
    assert set(again["beams"]) == {"base", "steered"}
    curve = ask(
        "steer", "--interventions", str(saved), *flags[-2:], "--tokens", "2", "--doses", "0", "4"
    )[1]
    assert [row["strength"] for row in curve["doses"]] == [0.0, 4.0]
    assert curve["doses"][0]["kl"] == 0.0
    clash = ask("steer", numbers[0], "--interventions", str(saved), *flags)
    assert clash[0] == 2
    assert "Two interventions change" in clash[2]


def test_find_writes_what_steer_replays(ask, folder, tmp_path):
    """Whatever comes of it, the finding is a file, and stopping it loses nothing."""
    want = tmp_path / "want.txt"
    rows = [{"question": f"say {n}", "answer": "yes"} for n in range(10)]
    want.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    words = (
        "find", "say yes", "--want", str(want), "--candidates", "2", "--doses", "2",
        "--tokens", "1",
    )  # fmt: skip
    code, told, _ = ask(*words)
    assert code == (0 if told["found"] else 1)
    (parts,) = (folder / "findings").glob("say-yes-*.parts.jsonl")
    lines = len(parts.read_text().splitlines())
    assert ask(*words)[1] == told
    assert len(parts.read_text().splitlines()) == lines
    assert list((folder / "findings").glob("say-yes-*.json"))


def test_evaluate_attribution_goes_on_from_its_parts(ask, folder):
    words = ("evaluate", "attribution", "--samples", "2", "--features", "4", "--steps", "2")
    code, told, _ = ask(*words)
    assert code == 0
    assert {"r_integrated", "r_gradient", "identity_gap", "cost_ratio", "error_share"} <= set(told)
    assert ask(*words)[1] == told
    more = ask(*words[:3], "3", *words[4:])[1]
    assert more["samples"] == 3
    assert (folder / "evaluations" / "attribution-0.json").is_file()


def test_studies_stand_beside_the_plain_model(ask, folder, tmp_path):
    from semascope.evidence import Evidence

    alive = str(Evidence.open(folder / "evidence", "main").alive()[0])
    told = ask("study", "clamped", "--feature", alive, "--tokens", "2")[1]
    assert len(told["answers"]) == 2
    for name, text in (("a", "a red cat\na dog\n"), ("b", "two and two\na week\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = ("--want", str(tmp_path / "a"), "--not-want", str(tmp_path / "b"))
    vector = ask("study", "vector", *files, "--tokens", "2", "--strength", "1")[1]
    assert vector["length"] > 0
