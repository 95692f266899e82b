"""Exports hold what the atlas holds, stand alone, and let no text from the data become code."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_atlas import KEY, Figure, Words, figures

from semascope.atlas import Atlas, Media, NewExemplar, SampleRecord
from semascope.atlas.exports import export_dataset, export_neuronpedia, export_site
from semascope.atlas.packing import TokenLayout, pack_activations, pack_layout, pack_patches


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Atlas, Media]]:
    """Twenty features; two have words, one of them two exemplars: a picture and a text."""
    media = Media(tmp_path / "media")
    digest = media.put(Image.new("RGB", (8, 4), (10, 20, 30)))
    nan = [np.nan] * 4
    rects = np.array([nan, [0, 0, 4, 4], [4, 0, 8, 4], nan], np.float32)
    layout = TokenLayout(np.array([2, 3, 3, 1], np.int8), np.array([-1, 0, 0, -1], np.int16), rects)
    nothing = TokenLayout(
        np.ones(2, np.int8), np.full(2, -1, np.int16), np.full((2, 4), np.nan, "f4")
    )
    about = {"id": "s1", "media": [digest], "sizes": [[8, 4]], "truth": {}}
    plain = {"id": "s2", "media": [], "sizes": [], "truth": {}}
    patches = pack_patches(np.zeros((0, 4), np.float16))
    samples = [
        SampleRecord(1, "score", 4, about, ["<s>", "", "", "hi"], pack_layout(layout), patches),
        SampleRecord(2, "score", 2, plain, ["<b>", " end"], pack_layout(nothing), patches),
    ]
    fired = pack_activations(np.array([1, 2], np.int32), np.array([17.0, 8.5], np.float32))
    word = pack_activations(np.array([0], np.int32), np.array([3.0], np.float32))
    with Atlas.open(tmp_path / "atlas.db") as atlas:
        atlas.add_dictionary(KEY, model="tiny", width=20)
        atlas.write_features(KEY, figures(20))
        atlas.write_samples("c", samples)
        records = [
            NewExemplar(3, 1, "top", 0, 9, 17.0, fired),
            NewExemplar(3, 2, "top", 1, 1, 3.0, word),
            NewExemplar(3, 2, "silent", 0, 0, 0.0, b""),
        ]
        atlas.write_exemplars(KEY, "c", records)
        words = [Words(3, "<script>alert(1)</script>", "a & b"), Words(4, "other")]
        atlas.write_explanations(KEY, words)
        atlas.write_scores(KEY, [Figure(3, 0.9)])
        yield atlas, media


def test_neuronpedia(full: tuple[Atlas, Media], tmp_path: Path) -> None:
    """Its fields, ours beside them, pictures that lie where the lines say."""
    atlas, media = full
    assert export_neuronpedia(atlas, media, KEY, tmp_path / "np") == 19  # the dead one is not
    lines = {}
    for kind in ("features", "activations", "explanations"):
        with gzip.open(tmp_path / f"np/{kind}/batch-0.jsonl.gz", "rt") as file:
            lines[kind] = [json.loads(line) for line in file]
    assert [line["index"] for line in lines["features"]] == [str(i) for i in range(19)]
    first, second = lines["activations"]
    assert (first["maxValue"], first["maxValueTokenIndex"], first["index"]) == (17, 1, "3")
    heat = first["images"][0]["heat"]
    assert [h["value"] for h in heat] == [17, 8.5]
    assert heat[1]["rect"] == [4, 0, 8, 4]
    assert (tmp_path / "np" / first["images"][0]["file"]).is_file()
    assert second["tokens"] == ["<b>", " end"]
    scored = lines["explanations"][0]["scores"]
    assert scored == [{"explanationScoreTypeName": "detection", "value": 0.9, "baseline": 0.5}]


def test_dataset(full: tuple[Atlas, Media], tmp_path: Path) -> None:
    """Pictures and heat come back as pictures of one size; half strength is half grey."""
    atlas, media = full
    assert export_dataset(atlas, media, KEY, tmp_path / "x.parquet") == 2
    table = pq.read_table(tmp_path / "x.parquet")
    assert b"huggingface" in table.schema.metadata
    row = table.to_pylist()[0]
    assert (row["label"], row["texts"]) == ("a & b", ["<b> end"])
    (tmp_path / "heat.png").write_bytes(row["heat"][0]["bytes"])
    with Image.open(tmp_path / "heat.png") as heat:
        assert heat.size == (8, 4)
        assert (heat.getpixel((0, 0)), heat.getpixel((7, 3))) == (255, 128)


def test_site(full: tuple[Atlas, Media], tmp_path: Path) -> None:
    """Every link leads to a file, and words from the data stay words."""
    atlas, media = full
    assert export_site(atlas, media, KEY, tmp_path / "site") == 2
    index = (tmp_path / "site/index.html").read_text()
    page = (tmp_path / "site/features/3.html").read_text()
    assert 'href="features/3.html"' in index
    assert "<script>" not in index + page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in index
    assert "&lt;b&gt;" in page
    assert '<img class=heat src="data:image/png;base64,' in page
    picture = page.split('src="../')[1].split('"')[0]
    assert (tmp_path / "site" / picture).is_file()
