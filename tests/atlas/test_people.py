"""What people made stays when what was derived goes: notes, lists, words of others, choices."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from test_atlas import KEY, Figure, Words, figures

from semascope.atlas import Atlas
from semascope.atlas.delete import remove_dictionary
from semascope.errors import AtlasError

OLD = """
CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);
INSERT INTO meta VALUES ('schema', '2');
CREATE TABLE dictionaries (id INTEGER PRIMARY KEY, model VARCHAR NOT NULL, key VARCHAR NOT NULL,
    width INTEGER NOT NULL, about JSON NOT NULL, UNIQUE (model, key));
INSERT INTO dictionaries VALUES (1, 'tiny', 'resid_post.1/main', 8, '{}');
CREATE TABLE features (id INTEGER PRIMARY KEY, dictionary_id INTEGER NOT NULL
    REFERENCES dictionaries (id), "index" INTEGER NOT NULL, alive BOOLEAN NOT NULL,
    modality VARCHAR NOT NULL, density FLOAT NOT NULL, density_text FLOAT NOT NULL,
    density_image FLOAT NOT NULL, max FLOAT NOT NULL, samples INTEGER NOT NULL,
    stats JSON NOT NULL, near JSON NOT NULL, x FLOAT, y FLOAT, region INTEGER,
    label VARCHAR NOT NULL, description VARCHAR NOT NULL, category VARCHAR NOT NULL,
    confidence FLOAT, abstained BOOLEAN, author VARCHAR NOT NULL,
    UNIQUE (dictionary_id, "index"));
INSERT INTO features VALUES (5, 1, 2, 1, 'text', .1, .1, 0, 2, 3, '{}', '{}', NULL, NULL, NULL,
    'dog', 'a dog', '', .5, 0, 'vocabulary');
CREATE TABLE explanations (id INTEGER PRIMARY KEY, feature_id INTEGER NOT NULL
    REFERENCES features (id), author VARCHAR NOT NULL, prompt_version VARCHAR NOT NULL,
    inputs VARCHAR NOT NULL, description VARCHAR NOT NULL, label VARCHAR NOT NULL,
    category VARCHAR NOT NULL, confidence FLOAT NOT NULL, abstained BOOLEAN NOT NULL,
    cost JSON NOT NULL, created VARCHAR NOT NULL, current BOOLEAN NOT NULL,
    UNIQUE (feature_id, author, prompt_version, inputs));
INSERT INTO explanations VALUES
    (1, 5, 'vocabulary', '1', 'abc', 'a dog', 'dog', '', .5, 0, '{}', 'then', 1),
    (2, 5, 'ann', '', 'imported', 'a hound', 'hound', '', .5, 0, '{}', 'then', 0);
CREATE TABLE scores (id INTEGER PRIMARY KEY, feature_id INTEGER NOT NULL REFERENCES features (id),
    kind VARCHAR NOT NULL, author VARCHAR NOT NULL, value FLOAT NOT NULL, baseline FLOAT, low FLOAT,
    high FLOAT, n INTEGER, evidence JSON NOT NULL, current BOOLEAN NOT NULL,
    UNIQUE (feature_id, kind, author));
INSERT INTO scores VALUES (1, 5, 'iou', 'vocabulary', .5, .1, 0, 1, 3, '{}', 1),
    (2, 5, 'iou', 'ann', .7, .1, 0, 1, 3, '{}', 0);
CREATE TABLE samples (id INTEGER PRIMARY KEY, source VARCHAR NOT NULL, row INTEGER NOT NULL,
    split VARCHAR NOT NULL, length INTEGER NOT NULL, about JSON NOT NULL, tokens JSON NOT NULL,
    layout BLOB NOT NULL, patches BLOB NOT NULL, UNIQUE (source, row));
CREATE TABLE exemplars (id INTEGER PRIMARY KEY, feature_id INTEGER NOT NULL
    REFERENCES features (id), sample_id INTEGER NOT NULL REFERENCES samples (id),
    role VARCHAR NOT NULL, rank INTEGER NOT NULL, interval INTEGER NOT NULL, peak FLOAT NOT NULL,
    activations BLOB NOT NULL);
CREATE TABLE notes (id INTEGER PRIMARY KEY, feature_id INTEGER NOT NULL REFERENCES features (id),
    author VARCHAR NOT NULL, text VARCHAR NOT NULL, created VARCHAR NOT NULL);
INSERT INTO notes VALUES (4, 5, 'ann', 'an hour of work', 'then');
CREATE TABLE lists (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE, about VARCHAR NOT NULL,
    created VARCHAR NOT NULL);
INSERT INTO lists VALUES (1, 'mine', 'about it', 'then');
CREATE TABLE list_members (list_id INTEGER NOT NULL REFERENCES lists (id),
    feature_id INTEGER NOT NULL REFERENCES features (id), place INTEGER NOT NULL,
    PRIMARY KEY (list_id, feature_id));
INSERT INTO list_members VALUES (1, 5, 0);
"""
"""An atlas of schema 2, in which notes and lists named rows of features."""


@pytest.fixture
def atlas(tmp_path: Path) -> Iterator[Atlas]:
    """Twenty features with words of a run; a note and a list."""
    with Atlas.open(tmp_path / "atlas.db") as out:
        derive(out, 20, "one")
        out.add_note(KEY, 2, "looks like a mango", author="ann")
        out.add_note(KEY, 19, "the last one")
        out.set_list("fruit", [(KEY, 19), (KEY, 2)])
        yield out


def derive(atlas: Atlas, width: int, trained: str, label: str = "dog") -> None:
    """What the last stage of a run does."""
    atlas.add_dictionary(KEY, model="tiny", width=width, about={"trained": trained})
    atlas.write_features(KEY, figures(width))
    words = [replace(Words(i, label=label, author="namer"), inputs="abc") for i in range(width)]
    atlas.write_explanations(KEY, words, origin="run")
    atlas.write_scores(KEY, [Figure(i, 0.5, author="namer") for i in range(width)], origin="run")


def test_notes_and_lists_outlive_what_was_derived(atlas: Atlas) -> None:
    """A stage done anew took every note and the members of every list with it."""
    remove_dictionary(atlas, KEY)
    assert atlas.dictionaries() == []
    assert [n.text for n in atlas.all_notes()] == ["looks like a mango", "the last one"]
    assert "there no longer, then called 'dog'" in atlas.notes(KEY, 2)[0].past
    gone = atlas.list_features("fruit")
    assert [(r.index, r.alive, r.label) for r in gone] == [(19, False, "dog"), (2, False, "dog")]
    derive(atlas, 20, "one", label="cat")
    assert [n.past for n in atlas.all_notes()] == ["", ""]
    assert [(r.index, r.label, r.past) for r in atlas.list_features("fruit")] == [
        (19, "cat", ""), (2, "cat", ""),
    ]  # fmt: skip
    assert atlas.feature(KEY, 2).lists == ("fruit",)


def test_a_training_of_another_width_is_told_apart(atlas: Atlas) -> None:
    """Feature 2 of other weights is another feature, and there is no feature 19 any more."""
    remove_dictionary(atlas, KEY)
    derive(atlas, 8, "two")
    (note,) = atlas.feature(KEY, 2).notes
    assert "earlier training" in note.past
    assert "there no longer" in atlas.notes(KEY, 19)[0].past
    assert [r.past[:8] for r in atlas.list_features("fruit")] == ["About a ", "About an"]
    atlas.set_list("fruit", [(KEY, 19), (KEY, 3)])  # what it held may stay in it
    assert [r.index for r in atlas.list_features("fruit")] == [19, 3]
    with pytest.raises(AtlasError, match="not in the atlas"):
        atlas.set_list("fruit", [(KEY, 18)])


def test_words_of_others_outlive_the_words_of_the_run(atlas: Atlas) -> None:
    """Words that a person wrote or imported, their figures, and a person's choice."""
    mine = replace(Words(3, label="hound", author="ann"), inputs="")
    atlas.write_explanations(KEY, [mine], own=False)
    atlas.write_scores(KEY, [Figure(3, 0.9, author="ann")])
    assert atlas.feature(KEY, 3).row.label == "dog"  # beside the run's, not over them
    remove_dictionary(atlas, KEY)
    assert [e.label for e in atlas.feature(KEY, 3).explanations] == ["hound"]
    derive(atlas, 8, "two", label="cat")
    detail = atlas.feature(KEY, 3)
    assert {e.author: e.current for e in detail.explanations} == {"ann": False, "namer": True}
    assert detail.row.scores["detection"].value == 0.5
    assert sorted(s.value for s in detail.scores) == [0.5, 0.9]
    atlas.prefer(KEY, 3, next(e.id for e in detail.explanations if e.author == "ann"))
    remove_dictionary(atlas, KEY)
    derive(atlas, 8, "three")
    row = atlas.feature(KEY, 3).row
    assert (row.label, row.scores["detection"].value) == ("hound", 0.9)


def test_an_atlas_of_schema_2_keeps_its_notes(tmp_path: Path) -> None:
    """Notes and lists named rows of features there, which a redone stage replaced."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(OLD.replace("resid_post.1/main", KEY))
    connection.close()
    for _ in range(2):
        with Atlas.open(path) as atlas:
            (note,) = atlas.notes(KEY, 2)
            assert (note.id, note.text, note.past) == (4, "an hour of work", "")
            assert [r.index for r in atlas.list_features("mine")] == [2]
    with Atlas.open(path) as atlas:
        remove_dictionary(atlas, KEY)
        assert [n.text for n in atlas.all_notes()] == ["an hour of work"]
        detail = atlas.feature(KEY, 2)
        assert [e.author for e in detail.explanations] == [s.author for s in detail.scores]
        assert (detail.row.author, detail.row.label) == ("ann", "hound")
