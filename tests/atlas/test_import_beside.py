"""Imports into what is there: nothing of a run is overwritten, and bad rows are counted."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_atlas import KEY, Figure, Words, figures

from semascope.atlas import Atlas, HashingEmbedder, Media, search
from semascope.atlas.imports import import_multimodal_sae, import_neuronpedia
from semascope.cli import main
from semascope.errors import AtlasError

MODEL = "tiny"


@pytest.fixture
def run_atlas(tmp_path: Path) -> Atlas:
    """Twenty features with a run's words and figures."""
    atlas = Atlas.open(tmp_path / "atlas.db")
    atlas.add_dictionary(KEY, model=MODEL, width=20)
    atlas.write_features(KEY, figures(20))
    words = [replace(Words(i, label="dog", author="namer"), inputs="abc") for i in range(20)]
    atlas.write_explanations(KEY, words, origin="run")
    atlas.write_scores(KEY, [Figure(i, 0.5, author="namer") for i in range(20)], origin="run")
    return atlas


def export(folder: Path, rows: dict[str, list[Any]]) -> Path:
    """Files in Neuronpedia's layout; a row that is text is written as it stands."""
    for kind, some in rows.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        text = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in some)
        with gzip.open(folder / kind / "batch-0.jsonl.gz", "wt") as file:
            file.write(text)
    return folder


def named(index: int, **more: Any) -> dict[str, Any]:
    return {"modelId": MODEL, "layer": "x", "index": str(index), **more}


def test_words_of_a_run_are_not_overwritten(run_atlas: Atlas, tmp_path: Path) -> None:
    """An import took the place of the run's words, figures and scores, unasked."""
    before = run_atlas.feature(KEY, 3).row
    score = {"explanationScoreTypeName": "detection", "value": 0.9}
    said = [
        named(3, description="a hound", explanationModelName="ann", scores=[score]),
        named(4, description="a wolf", explanationModelName="namer", scores=[score]),
        named(25, description="of no feature", explanationModelName="ann"),
    ]
    folder = export(
        tmp_path / "np", {"features": [named(3, maxActApprox=99)], "explanations": said}
    )
    media = Media(tmp_path / "media")
    done = import_neuronpedia(run_atlas, media, folder, name=KEY)
    assert (done.added, done.there, done.kept, done.skipped, done.own) == (2, 0, 2, 1, True)
    assert run_atlas.feature(KEY, 3).row == before
    beside = {e.author: e.description for e in run_atlas.feature(KEY, 4).explanations}
    assert beside["namer (imported)"] == "a wolf" and "namer" in beside
    assert sorted(s.value for s in run_atlas.feature(KEY, 4).scores) == [0.5, 0.9]
    again = import_neuronpedia(run_atlas, media, folder, name=KEY)
    assert (again.added, again.there) == (0, 2)
    done = import_neuronpedia(run_atlas, media, folder, name=KEY, overwrite=True)
    assert run_atlas.feature(KEY, 3).row.description == "a hound"
    assert run_atlas.feature(KEY, 3).row.max == before.max


def test_words_alone_leave_figures_alone(run_atlas: Atlas, tmp_path: Path) -> None:
    """A file of words knows no figure: every feature was written as dead."""
    file = tmp_path / "words.json"
    file.write_text(json.dumps([{"model.layers.3_feature5": "a hound"}]))
    alive = run_atlas.features(KEY, where={"alive": True}).total
    done = import_multimodal_sae(run_atlas, Media(tmp_path / "m"), None, file, name=KEY)
    assert run_atlas.features(KEY, where={"alive": True}).total == alive > 0
    assert done.added == 1 and len(run_atlas.dictionaries()) == 1
    assert run_atlas.feature(KEY, 5).row.label == "dog"


def test_a_dictionary_of_another_model_is_refused(run_atlas: Atlas, tmp_path: Path) -> None:
    """Two of one name in a workspace would leave no verb able to name the run's."""
    folder = export(tmp_path / "np", {"features": [named(1) | {"modelId": "gpt2"}]})
    with pytest.raises(AtlasError, match=f"--model {MODEL}"):
        import_neuronpedia(run_atlas, Media(tmp_path / "m"), folder, name=KEY)


def test_a_second_batch_leaves_the_first(tmp_path: Path) -> None:
    """Features that the second folder does not speak of were written as dead, without exemplars."""
    media = Media(tmp_path / "media")
    with Atlas.open(tmp_path / "atlas.db") as atlas:
        for index in (0, 2):
            shown = named(index, tokens=[f"w{index}"], values=[1.0])
            rows = {"features": [named(index, maxActApprox=1.0)], "activations": [shown]}
            import_neuronpedia(atlas, media, export(tmp_path / f"{index}", rows))
        key = atlas.dictionaries()[0].key
        assert [r.index for r in atlas.features(key, where={"alive": True}).rows] == [0, 2]
        tokens = [atlas.feature(key, i).exemplars[0].sample.tokens for i in (0, 2)]
        assert tokens == [("w0",), ("w2",)]


def test_bad_rows_are_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bad row was the end of the import, or went without a word."""
    monkeypatch.setattr(search, "embedder", lambda name="": HashingEmbedder())
    rows = {
        "features": [
            named(0, maxActApprox=1.0),
            named(1, maxActApprox="NaN"),
            named(2, frac_nonzero=7),
            named(-1),
            named(10**12),
            '{"index": "3", "maxAct',
            "[1, 2]",
            '{"index": NaN}',
            "[" * 100_000,
        ],
        "explanations": [
            named(0, description="half \ud83d and \x00", explanationModelName="a"),
            named(0, description="x" * 200_000, explanationModelName="b"),
            named(0, description="c", explanationModelName="c", scores=[{"value": None}, 3]),
        ],
        "activations": [named(0, tokens=["a"], values=[1, 2]), named(0, tokens=[], values=[])],
    }
    folder = export(tmp_path / "np", rows)
    file = folder / "explanations" / "batch-1.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"index": "0", "description": "whole"}\n' * 9)[:-9])
    assert main(["import", str(folder), "-w", str(tmp_path / "w")]) == 0
    told = capsys.readouterr()
    assert "explanations: 3 added" in told.out and "8 there already; rows left out: 14" in told.out
    assert "batch-0.jsonl.gz:6" in told.err and "cut short" in told.err
    with Atlas.open(tmp_path / "w" / "atlas.db") as atlas:
        said = atlas.feature(atlas.dictionaries()[0].key, 0).explanations
    assert "half \ufffd and \ufffd" in {e.description for e in said}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["index", "values", "tokens", "images", "heat", "scores", "description",
                     "frac_nonzero", "tokenKinds", "file", "rect", "token", "pos_str",
                     "pos_values", "value", "modality", "label"]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)  # fmt: skip
@example(row={"scores": 1.0})
def test_hostile_rows_end_in_a_count_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, row: Any
) -> None:
    """A row of any shape raised whatever its shape made numpy or the database raise."""
    folder = tmp_path_factory.mktemp("np")
    some = [row, {**row, "index": 0}] if isinstance(row, dict) else [row]
    rows = {
        "features": [named(0, maxActApprox=1.0), *some],
        "activations": some,
        "explanations": some,
    }
    with Atlas.open(folder / "atlas.db") as atlas:
        done = import_neuronpedia(atlas, Media(folder / "m"), export(folder / "np", rows))
        assert done.features >= 1
    (folder / "words.json").write_text(json.dumps([row, {"model.layers.1_feature0": "a"}]))
    with Atlas.open(folder / "words.db") as atlas:
        import_multimodal_sae(atlas, Media(folder / "m"), None, folder / "words.json")
