"""The front door: ``import semascope as ss`` and what it hands out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import semascope as ss
from semascope import errors, pipeline
from semascope.api.feature import Exemplars
from semascope.atlas import HashingEmbedder, write_vectors
from semascope.config import ExplainOptions, GatherOptions, RunOptions, TrainOptions
from semascope.workspace import Workspace

KEY = "resid_post.1/main"
WORDS = ("red circle", "blue square", "red circles")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of a model with random weights; three features have words by hand."""
    folder = tmp_path_factory.mktemp("api") / "run"
    train = TrainOptions(
        subject="tiny:llava", site="resid_post.1", corpus="scenes?n=40", tokens=600,
        latents=32, k=4, rows=8, max_tokens=128,
    )  # fmt: skip
    options = RunOptions(
        train=train,
        gather=GatherOptions(samples=24, top=6, batch=8),
        explain=ExplainOptions(explainers=("vocabulary",)),
    )
    pipeline.run(Workspace(folder), options)
    run = ss.open(folder)
    alive = run.evidence(KEY).alive().tolist()[: len(WORDS)]
    number = run.atlas.dictionaries()[0].id
    run.atlas.write_explanations(number, [
        SimpleNamespace(
            feature=f, label=label, description=f"Shows {label}.", category="object",
            confidence=0.9, abstained=False, author="hand", prompt_version="1", inputs="", cost={},
        )
        for f, label in zip(alive, WORDS, strict=True)
    ])  # fmt: skip
    write_vectors(run.atlas, number, Workspace(folder).vectors / KEY, HashingEmbedder())
    return folder


@pytest.fixture(scope="module")
def run(made: Path) -> ss.OpenRun:
    return ss.open(made)


def test_every_public_name_is_there_and_lazy() -> None:
    """Without: a name of the README is missing, or importing the package waits for torch."""
    code = (
        "import sys, semascope as ss; "
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "assert set(ss.__all__) <= set(dir(ss)); "
        "[getattr(ss, name) for name in ss.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert sorted(ss.__all__) == ss.__all__
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        ss.opne  # noqa: B018


def test_the_types_of_public_names_are_those_of_their_homes() -> None:
    """Without: a type checker sees another object than the one that is loaded."""
    import ast

    tree = ast.parse(Path(ss.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    typed = {
        alias.asname or alias.name: f"{str(n.module).removeprefix('semascope.')}:{alias.name}"
        for n in block.body
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    assert typed == ss._HOMES
    assert set(typed) | {"__version__"} == set(ss.__all__)


def test_a_question_is_answered_and_its_words_explained(run: ss.OpenRun) -> None:
    """Without: ``why`` explains another token than the one that is named."""
    chat = run.ask("What is on the left?", picture="scene:3", max_new_tokens=5)
    assert chat.text and repr(chat).startswith("Chat('What is on the left?'")
    last = [t for t in chat.tokens if not t.ends][-1]
    why = chat.why(-1, integrated=1)
    assert why.token == last.text
    assert why.probability == pytest.approx(np.exp(last.logprob), rel=1e-3)
    scores = [abs(share.score) for share in why.shares]
    assert scores == sorted(scores, reverse=True)
    assert np.isclose(why.by_token().sum(), sum(s.score for s in why.shares), atol=1e-4), (
        "heat shows another sum than the bars"
    )
    html = why._repr_html_()
    assert html.count("<img") == 1
    assert f"/{why.shares[0].index}<" in html
    assert "<script" not in html


def test_one_features_heat_is_its_share(run: ss.OpenRun) -> None:
    """Without: heat of a feature shows what others did."""
    chat = run.ask("What is it?", picture="scene:5", max_new_tokens=3)
    why = chat.why(0, integrated=1)
    for share, feature in zip(why.shares[:4], why.features, strict=False):
        assert why.by_token(feature).sum() == pytest.approx(share.score, rel=1e-3, abs=1e-6)
    assert why.heat().size == chat.pictures[0].size
    with pytest.raises(errors.CausalError, match="1 pictures"):
        why.heat(1)


def test_features_are_found_by_words_numbers_and_ids(run: ss.OpenRun) -> None:
    """Without: words, numbers and ids name different features."""
    found = run.features("blue square")[0]
    assert found.label == "blue square"
    assert run.feature(found.index).key == run.feature(found.id).key == found.key
    assert run.feature("blue square").key == found.key
    assert run.resolve(found) == found.key
    assert {f.label for f in run.features(limit=100, explained=True)} >= set(WORDS)


def test_exemplars_show_picture_and_text_on_one_scale(run: ss.OpenRun) -> None:
    """Without: each exemplar is drawn as if it were the strongest."""
    feature = run.features("red circle")[0]
    assert isinstance(feature.exemplars, Exemplars)
    peaks = [view.peak for view in feature.exemplars]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] == pytest.approx(feature.max)
    assert all(view.top == feature.max for view in feature.exemplars)
    pictured = next(view for view in feature.exemplars if view.sample.media)
    assert pictured.picture().size == pictured.sample.sizes[0]
    assert feature.description in feature._repr_html_().replace("&#x27;", "'")
    assert all(view.peak == 0 for view in feature.counter_examples)
    assert all(n.key[0] == KEY for n in feature.neighbours())


def test_steering_is_set_beside_the_plain_answer(run: ss.OpenRun) -> None:
    """Without: strength 0 changes something, or ``where`` is ignored."""
    chat = run.ask("What is it?", picture="scene:2", max_new_tokens=4)
    feature = run.features("red circle")[0]
    still = run.steer(feature, strength=0.0).compare(chat)
    assert still.plain == still.steered == chat.text
    assert still.kl == 0.0
    moved = run.steer(feature, strength=30.0, where="image").compare(chat)
    assert moved.kl > 0
    assert moved.steering.intervention.where.kinds == ("image", "tile")
    assert chat.text in moved._repr_html_() or "&" in chat.text or "<" in chat.text


def test_a_conversation_goes_on(run: ss.OpenRun) -> None:
    """Without: the second question forgets the first, or its picture."""
    first = run.ask("What is it?", picture="blank", max_new_tokens=3)
    second = first.ask("And now?", picture="scene:1")
    assert [t.role for t in second.sample.turns] == ["user", "assistant", "user"]
    assert second.sample.turns[1].text == first.text
    assert len(second.pictures) == 2


def test_a_model_and_a_dictionary_need_no_workspace(made: Path, tmp_path: Path) -> None:
    """Without: one's own dictionary must be trained again before it can be tried."""
    folder = made / "dictionaries" / "resid_post.1" / "main"
    run = ss.open(subject="tiny:llava", dictionary=folder)
    assert run.dictionaries == (KEY,)
    chat = run.ask("hello", max_new_tokens=3)
    assert chat.why(0, integrated=1).shares
    assert chat.why(0, integrated=1).concepts == []
    moved = run.steer(int(chat.why(0, integrated=1).shares[0].index), strength=50.0)
    assert moved.compare(chat).kl > 0
    assert KEY in run._repr_html_()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda run, made: ss.open("/no/such/run"), "There is no run"),
        (lambda run, made: ss.open(), "Say what to open"),
        (lambda run, made: ss.open(made, subject="tiny:llava"), "not both"),
        (lambda run, made: run.steer(), "Name features"),
        (lambda run, made: run.steer(1, where="nowhere"), "there are image, text"),
        (lambda run, made: run.steer(1, strength=float("nan")), "strength"),
        (lambda run, made: run.steer(1, how="shout"), "how"),
        (lambda run, made: run.ask("x", picture="scene:x"), "names no scene"),
        (lambda run, made: run.ask("x", picture="/no.png"), "no picture"),
        (lambda run, made: run.ask("x", max_new_tokens=2).why("elephant"), "not in the answer"),
        (lambda run, made: run.ask("x", max_new_tokens=2).why(9), "there is no 9"),
        (
            lambda run, made: ss.open(
                subject="tiny:llava",
                dictionary=made / "dictionaries" / KEY,
                site="resid_post.99",
            ),
            "has no site",
        ),
        (
            lambda run, made: ss.open(
                subject="tiny:llava", dictionary=made / "dictionaries" / KEY
            ).features("a flag"),
            "opened without one",
        ),
    ],
)
def test_mistakes_are_sentences(run: ss.OpenRun, made: Path, make: object, words: str) -> None:
    """Without: a slip ends in a traceback of somebody else's code."""
    with pytest.raises(ss.SemascopeError, match=words):
        make(run, made)  # type: ignore[operator]
