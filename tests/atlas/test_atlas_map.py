"""Places, regions and columns: planted clusters come apart, and what is written comes back."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_atlas import KEY, Figure, Words, figures

from semascope.atlas import Atlas, MapLayout, draw

METHODS = ("tsne", "umap") if importlib.util.find_spec("umap") else ("tsne",)
NAMES = ("cat", "flag", "red")


@pytest.fixture
def atlas(tmp_path: Path) -> Iterator[Atlas]:
    """Twenty features."""
    with Atlas.open(tmp_path / "atlas.db") as out:
        out.add_dictionary(KEY, model="tiny", width=20)
        out.write_features(KEY, figures(20))
        yield out


def planted(n: int = 150, d: int = 24) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Features around three directions: 8 nearest of each by cosine, feature i in group i % 3."""
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(d, 3)))[0].T
    rows = centres[np.arange(n) % 3] + 0.12 * rng.normal(size=(n, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = rows @ rows.T
    np.fill_diagonal(cosine, -2)
    near = np.argsort(-cosine, axis=1)[:, :8]
    return near, np.take_along_axis(cosine, near, 1).astype(np.float32)


def drawn(method: str, seed: int = 0) -> MapLayout:
    near, cosine = planted()
    labels = [NAMES[i % 3] if i % 2 else "" for i in range(len(near))]
    return draw(near, cosine, labels, seed=seed, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_near_is_near_on_the_map(method: str) -> None:
    """Three planted clusters come apart, and each region is named by what is in it."""
    found = drawn(method)
    group = np.arange(150) % 3
    apart = np.linalg.norm(found.places[:, None] - found.places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (group[apart.argmin(axis=1)] == group).mean() > 0.97
    assert np.abs(found.places).max() == pytest.approx(1)
    assert [found.regions[r].label for r in found.region] == [NAMES[g] for g in group]
    assert sum(r.features for r in found.regions) == 150
    assert np.array_equal(drawn(method).places, found.places)


@pytest.mark.parametrize("n", [0, 1, 4, 6])
def test_maps_of_very_few(n: int) -> None:
    """A dictionary of which almost nothing is alive has a map too."""
    others = [[j for j in range(n) if j != i] for i in range(n)]
    near = np.array(others, np.int64).reshape(n, max(n - 1, 0))
    found = draw(near, np.full(near.shape, 0.5, np.float32), [""] * n, method="tsne")
    assert found.places.shape == (n, 2)
    assert np.isfinite(found.places).all()
    assert sum(r.features for r in found.regions) == n


def test_regions_are_named_by_what_is_meant_here() -> None:
    """The word that all features share names nothing; the central word of each region does."""
    near, cosine = planted()
    group = np.arange(150) % 3
    vectors = np.zeros((150, 4), np.float32)
    vectors[np.arange(150), group] = 1
    labels = [NAMES[g] for g in group]
    for i in range(0, 150, 10):  # odd ones out, that say the same everywhere
        labels[i], vectors[i] = "thing", [0, 0, 0, 1]
    found = draw(near, cosine, labels, vectors, method="tsne")
    assert sorted(r.label for r in found.regions) == sorted(NAMES)


def test_the_map_comes_back_in_columns(atlas: Atlas) -> None:
    """Whole, in one call; a second map takes the place of the first."""
    assert atlas.map(KEY).method == ""
    assert len(atlas.map(KEY).index) == 0
    atlas.write_explanations(KEY, [Words(3, label="cat")])
    one = drawn("tsne")
    index = np.arange(20)
    some = MapLayout(one.places[:20], one.region[:20], one.regions, one.method)
    atlas.write_map(KEY, index, some)
    atlas.write_features(KEY, figures(20))  # figures anew leave the map alone
    back = atlas.map(KEY)
    assert back.index.tolist() == list(range(20))
    assert np.allclose(np.stack([back.x, back.y], axis=1), some.places)
    assert back.region.tolist() == some.region.tolist()
    assert [r["label"] for r in back.regions] == [r.label for r in some.regions]
    assert (back.label[3], back.label[4], back.method) == ("cat", "", "tsne")
    fewer = MapLayout(one.places[:2], one.region[:2], one.regions, one.method)
    atlas.write_map(KEY, np.array([4, 7]), fewer)
    assert atlas.map(KEY).index.tolist() == [4, 7]


def test_an_older_atlas_is_brought_up_to_date(tmp_path: Path) -> None:
    """Version 1 had no map: its features stay, and take one."""
    path = tmp_path / "old.db"
    with Atlas.open(path) as old:
        old.add_dictionary(KEY, model="tiny", width=20)
        old.write_features(KEY, figures(20))
    with closing(sqlite3.connect(path)) as connection, connection:
        for name in ("x", "y", "region"):
            connection.execute(f"ALTER TABLE features DROP COLUMN {name}")
        connection.execute("UPDATE meta SET value = '1'")
    connection.close()
    with Atlas.open(path) as new:
        assert new.features(KEY).total == 20
        new.write_map(
            KEY, np.arange(2), MapLayout(np.zeros((2, 2), "f4"), np.zeros(2, "i4"), (), "x")
        )
        assert new.map(KEY).index.tolist() == [0, 1]


def test_features_without_words_come_last_in_both_directions(atlas: Atlas) -> None:
    """Sorted by label, a page must not begin with a thousand empty ones."""
    atlas.write_explanations(KEY, [Words(3, label="cat"), Words(9, label="ant")])
    for sort, first in (("label", [9, 3]), ("-label", [3, 9])):
        rows = atlas.features(KEY, sort=sort, limit=4).rows
        assert [row.index for row in rows[:2]] == first


def test_filters_by_layer_and_score_need_no_sorting(atlas: Atlas) -> None:
    """What a search leaves out is left out by the database."""
    other = "resid_post.13/main"
    atlas.add_dictionary(other, model="tiny", width=5)
    atlas.write_features(other, figures(5))
    assert atlas.features(where={"layer": 13}).total == 5
    assert atlas.features(where={"layer": 3}).total == 20
    assert atlas.features(where={"layer": 1}).total == 0
    atlas.write_scores(KEY, [Figure(1, 0.8), Figure(2, 0.4)])
    where = {"min_score": 0.5, "score": "detection"}
    assert atlas.columns(KEY, ("index", "max"), where) == [(1, 19.0)]
    assert len(atlas.columns(KEY, ("index",))) == 20
