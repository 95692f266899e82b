"""What others found comes in: our own export there and back, a planted multimodal-sae cache."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from test_atlas import KEY
from test_atlas_exports import full  # noqa: F401 - a fixture

from semascope.atlas import Atlas, HashingEmbedder, Media, search
from semascope.atlas.exports import export_neuronpedia
from semascope.atlas.imports import import_multimodal_sae, import_neuronpedia
from semascope.atlas.imports.words import key_of
from semascope.cli import main
from semascope.errors import AtlasError

MODULE = "model.layers.24"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[tuple[Atlas, Media]]:
    """An atlas in which there is nothing."""
    with Atlas.open(tmp_path / "empty.db") as atlas:
        yield atlas, Media(tmp_path / "their-media")


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    with gzip.open(folder / kind / "batch-0.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def test_our_own_export_there_and_back(
    full: tuple[Atlas, Media],  # noqa: F811
    empty: tuple[Atlas, Media],
    tmp_path: Path,
) -> None:
    """Exported, imported into an empty atlas, exported again: the same lines and pictures."""
    one, two = tmp_path / "one", tmp_path / "two"
    export_neuronpedia(*full, KEY, one)
    for _ in range(2):  # the second time changes nothing
        done = import_neuronpedia(*empty, one)
    assert (done.dictionary, done.features, done.alive) == (KEY, 20, 19)
    assert (done.explanations, done.exemplars) == (2, 2)
    export_neuronpedia(*empty, KEY, two)
    for kind in ("features", "activations", "explanations"):
        assert lines(two, kind) == lines(one, kind)
    names = sorted(p.name for p in (one / "media").iterdir())
    assert sorted(p.name for p in (two / "media").iterdir()) == names
    atlas = empty[0]
    detail = atlas.feature(KEY, 3)
    assert detail.row.scores["detection"].value == 0.9
    assert detail.of("top")[0].sample.rects[1].tolist() == [0, 0, 4, 4]


def test_lines_of_neuronpedia_itself(empty: tuple[Atlas, Media], tmp_path: Path) -> None:
    """Text alone, strings for numbers, fields that are null: as its files are."""
    name = {"modelId": "gpt2-small", "layer": "6-res-jb", "index": "2"}
    feature = {"maxActApprox": "4.0", "frac_nonzero": 0.01, "pos_str": ["dog"], "pos_values": [2.0]}
    shown = {"tokens": ["a", " dog"], "values": [0, 4], "dataIndex": None, "binMin": None}
    said = {"description": "dogs", "typeName": "np_max-act", "explanationModelName": "gpt"}
    for kind, line in (("features", feature), ("activations", shown), ("explanations", said)):
        (tmp_path / kind).mkdir()
        with gzip.open(tmp_path / kind / "batch-0.jsonl.gz", "wt") as file:
            file.write(json.dumps(name | line) + "\n")
    done = import_neuronpedia(*empty, tmp_path)
    assert (done.dictionary, done.features) == ("resid_post.6/6-res-jb", 3)
    detail = empty[0].feature(done.dictionary, 2)
    assert (detail.row.max, detail.row.modality, detail.row.description) == (4, "text", "dogs")
    assert detail.near["promoted"] == [["dog", 2.0]]
    assert detail.of("top")[0].activations.tolist() == [0, 4]
    assert not empty[0].feature(done.dictionary, 0).row.alive


def test_an_export_that_is_not_to_be_trusted(empty: tuple[Atlas, Media], tmp_path: Path) -> None:
    """A picture outside the folder is not read; a file cut short is a sentence."""
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    folder = tmp_path / "in"
    for kind in ("features", "activations"):
        (folder / kind).mkdir(parents=True)
    picture = {"file": "../secret.png", "width": 2, "height": 2, "heat": []}
    shown = {"index": "0", "tokens": ["a"], "values": [1.0], "images": [picture]}
    (folder / "features/batch-0.jsonl").write_text('{"index": "0", "layer": "x"}\n')
    (folder / "activations/batch-0.jsonl").write_text(json.dumps(shown) + "\n")
    with pytest.raises(AtlasError, match="leads out of"):
        import_neuronpedia(*empty, folder)
    (folder / "features/batch-0.jsonl").write_text('{"index": "0", ')
    with pytest.raises(AtlasError, match="cut short"):
        import_neuronpedia(*empty, folder)
    with pytest.raises(AtlasError, match="No features"):
        import_neuronpedia(*empty, tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Eight features in two shards over three pictures, on 2 × 2 base tokens and two tiles."""
    folder = tmp_path / MODULE
    folder.mkdir()
    rows = {
        "0_3": [((0, 1, 2), 4.0), ((1, 0, 2), 1.0), ((1, 1, 2), 1.5), ((2, 5, 2), 99.0)],
        "4_7": [((2, 3, 5), 2.0)],
    }
    for shard, hits in rows.items():
        arrays = {
            "locations": np.array([at for at, _ in hits], np.int64),
            "activations": np.array([value for _, value in hits], np.float32),
        }
        save_file(arrays, folder / f"{shard}.safetensors")
    for number, size in enumerate(((8, 4), (6, 6), (4, 8))):
        Image.new("RGB", size, (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
    said = [
        {f"{MODULE}_feature2": "red things"},
        {f"{MODULE}_feature5": "Unable to produce descriptions"},
    ]
    (tmp_path / "words").mkdir()
    (tmp_path / "words/model_layers_24.json").write_text(json.dumps(said))
    (tmp_path / "words/refined.json").write_text(json.dumps({f"{MODULE}_feature2": "Red"}))
    scores = [{"feature": f"{MODULE}_feature2", "avg_iou": 0.4, "label": "object"}]
    (tmp_path / "words/scores.json").write_text(json.dumps(scores))
    return folder


def test_a_cache_of_multimodal_sae(cache: Path, empty: tuple[Atlas, Media], tmp_path: Path) -> None:
    """Figures of the base tokens, pictures by their mean, cells of the user's own picture."""
    pictures = [tmp_path / f"{i}.png" for i in range(3)]
    done = import_multimodal_sae(
        *empty, cache, tmp_path / "words", pictures=pictures, grid=2, top=5
    )
    assert (done.dictionary, done.features, done.alive) == ("resid_post.24/imported", 8, 2)
    assert "3, 7 were never cached" in done.notes[0]
    two = empty[0].feature(done.dictionary, 2)
    assert (two.row.max, two.row.samples, two.row.density) == (4, 2, pytest.approx(3 / 12))
    assert (two.row.label, two.row.description) == ("Red", "red things")
    assert two.row.scores["iou"].value == 0.4
    first, second = two.of("top")
    assert (first.sample.id, first.peak, second.sample.id) == ("0.png", 4, "1.png")
    assert first.sample.rects[1].tolist() == [4, 0, 8, 2]
    assert first.activations.tolist() == [0, 4, 0, 0]
    five = empty[0].feature(done.dictionary, 5).row
    assert (five.abstained, five.description) == (True, "")


def test_the_verb(
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Formats are found by looking; what came is said, and what was wrong too."""
    monkeypatch.setattr(search, "embedder", lambda name="": HashingEmbedder())
    space = str(tmp_path / "w")
    words = str(tmp_path / "words")
    assert main(["import", str(cache), "--explanations", words, "-w", space]) == 0
    told = capsys.readouterr()
    assert "2 alive of 8 features, 2 explanations, 0 exemplars" in told.out
    assert "No pictures were given" in told.err
    assert main(["export", "neuronpedia", str(tmp_path / "out"), "-w", space]) == 0
    assert len(lines(tmp_path / "out", "features")) == 2
    assert main(["export", "site", str(tmp_path / "site"), "-w", space]) == 0
    assert (tmp_path / "site/index.html").is_file()
    assert main(["export", "dataset", str(tmp_path / "d.parquet"), "-w", space]) == 0
    assert main(["import", str(tmp_path / "none"), "-w", space]) == 2
    assert main(["import", str(tmp_path / "w"), "-w", space]) == 2
    assert "is neither an export of Neuronpedia" in capsys.readouterr().err
    (cache / "0_3.safetensors").write_bytes(b"cut")
    assert main(["import", str(cache), "-w", space]) == 2
    assert "cut short" in capsys.readouterr().err


def test_names_of_modules() -> None:
    """Sites as they are called here."""
    assert key_of("model.layers.24") == "resid_post.24/imported"
    assert key_of("language_model.model.layers.3.mlp") == "mlp_out.3/imported"
    assert key_of("6-res-jb") == "resid_post.6/6-res-jb"
