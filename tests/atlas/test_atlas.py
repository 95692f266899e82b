"""The atlas keeps what is written, sorts and filters it, and lets readers in while writers work."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semascope.atlas import Atlas, FeatureFigures, NewExemplar, SampleRecord
from semascope.atlas.packing import TokenLayout, pack_activations, pack_layout, pack_patches
from semascope.errors import AtlasError, AtlasTooNew

KEY = "resid_post.3/main"


@dataclass(frozen=True)
class Words:
    """What an explainer gives."""

    feature: int
    description: str = "a thing"
    label: str = "thing"
    category: str = "object"
    confidence: float = 0.5
    abstained: bool = False
    author: str = "namer"
    prompt_version: str = "1"
    inputs: str = "abc"
    cost: dict[str, float] = field(default_factory=lambda: {"calls": 1})


@dataclass(frozen=True)
class Figure:
    """What a scorer gives."""

    feature: int
    value: float
    kind: str = "detection"
    baseline: float = 0.5
    low: float = 0.1
    high: float = 0.9
    evidence: dict[str, Any] = field(default_factory=lambda: {"n": 20})
    author: str = "namer"


def figures(n: int) -> list[FeatureFigures]:
    """Feature i has density i / 1000; every third sees pictures; the last is dead."""
    return [
        FeatureFigures(
            index=i,
            alive=i < n - 1,
            modality=("image", "text", "both")[i % 3],
            density=i / 1000,
            density_text=i / 1000,
            density_image=0.0,
            max=float(n - i),
            samples=i,
            stats={"mean": i / 2},
            near={"cosine": [[0, 0.5]]},
        )
        for i in range(n)
    ]


@pytest.fixture
def atlas(tmp_path: Path) -> Iterator[Atlas]:
    """Twenty features."""
    with Atlas.open(tmp_path / "atlas.db") as out:
        out.add_dictionary(KEY, model="tiny", width=20)
        out.write_features(KEY, figures(20))
        yield out


def ids(atlas: Atlas, **query: Any) -> list[int]:
    """Indices in the order given."""
    return [row.index for row in atlas.features(KEY, **query).rows]


def test_sorting_puts_features_without_a_figure_last(atlas: Atlas) -> None:
    """In both directions: a page that starts with features nobody scored is no page."""
    atlas.write_scores(KEY, [Figure(3, 0.6), Figure(7, 0.9), Figure(5, 0.2)])
    assert ids(atlas, sort="-detection", limit=4) == [7, 3, 5, 0]
    assert ids(atlas, sort="detection", limit=4) == [5, 3, 7, 0]
    assert ids(atlas, sort="-density", limit=2) == [19, 18]
    assert ids(atlas, sort="max", offset=1, limit=2) == [18, 17]


def test_filters_combine(atlas: Atlas) -> None:
    """Each alone, and together; the total counts all that match, not the window."""
    atlas.write_explanations(
        KEY,
        [
            Words(1, "a red FLAG", "flag", "object"),
            Words(2, "100% cotton", "cloth", "material"),
            Words(3, "I see nothing", "", abstained=True),
        ],
    )
    atlas.write_scores(KEY, [Figure(1, 0.8), Figure(2, 0.4)])
    assert ids(atlas, where={"text": "flag"}) == [1]
    assert ids(atlas, where={"text": "0% c"}) == [2]
    assert ids(atlas, where={"text": "_"}) == []
    assert ids(atlas, where={"category": "material"}) == [2]
    assert ids(atlas, where={"explained": True}) == [1, 2]
    assert ids(atlas, where={"explained": False}) == [3]
    assert ids(atlas, where={"alive": False}) == [19]
    assert ids(atlas, where={"min_score": 0.5}, sort="detection") == [1]
    assert ids(atlas, where={"min_score": 0.5, "score": "detection"}) == [1]
    assert ids(atlas, where={"modality": "image", "max_density": 0.005}) == [0, 3]
    assert ids(atlas, where={"ids": [4, 2]}) == [2, 4]
    page = atlas.features(KEY, where={"alive": True}, limit=3)
    assert (page.total, len(page.rows)) == (19, 3)


def test_questions_that_cannot_be_answered_say_what_can(atlas: Atlas) -> None:
    """The message lists the names that exist."""
    with pytest.raises(AtlasError, match="density"):
        atlas.features(KEY, sort="-iou")
    with pytest.raises(AtlasError, match="min_density"):
        atlas.features(KEY, where={"denstiy": 1})
    with pytest.raises(AtlasError, match="needs a kind of score"):
        atlas.features(KEY, where={"min_score": 0.5})
    with pytest.raises(AtlasError, match=r"There are: resid_post\.3/main"):
        atlas.features("other")
    with pytest.raises(AtlasError, match="it has 20"):
        atlas.feature(KEY, 20)
    with pytest.raises(AtlasError, match="Feature 99 is not in the atlas"):
        atlas.write_scores(KEY, [Figure(99, 0.5)])
    with pytest.raises(AtlasError, match="call the new one by another name"):
        atlas.add_dictionary(KEY, model="tiny", width=21)


def test_writing_twice_changes_nothing(atlas: Atlas) -> None:
    """A stage that is killed and run again must not double what it wrote."""
    for _ in range(2):
        atlas.write_features(KEY, figures(20))
        atlas.write_explanations(KEY, [Words(1)])
        atlas.write_scores(KEY, [Figure(1, 0.8)])
    detail = atlas.feature(KEY, 1)
    assert len(detail.explanations) == len(detail.scores) == 1
    assert detail.row.label == "thing"
    assert atlas.features(KEY).total == 20


def test_newest_words_stand_but_an_abstention_hides_none(atlas: Atlas) -> None:
    """Two authors: scores follow whose words are shown."""
    atlas.write_explanations(KEY, [Words(1, label="dog", author="a")])
    atlas.write_scores(KEY, [Figure(1, 0.9, author="a")])
    atlas.write_explanations(KEY, [Words(1, label="cat", author="b")])
    atlas.write_scores(KEY, [Figure(1, 0.3, author="b")])
    row = atlas.feature(KEY, 1).row
    assert (row.label, row.scores["detection"].value) == ("cat", 0.3)
    atlas.write_explanations(KEY, [Words(1, label="", author="c", abstained=True)])
    assert atlas.feature(KEY, 1).row.label == "cat"
    mine = next(e for e in atlas.feature(KEY, 1).explanations if e.author == "a")
    atlas.prefer(KEY, 1, mine.id)
    detail = atlas.feature(KEY, 1)
    assert (detail.row.label, detail.row.scores["detection"].value) == ("dog", 0.9)
    assert [e.author for e in detail.explanations if e.current] == ["a"]
    assert len(detail.scores) == 2


def test_exemplars_come_back_as_they_were(atlas: Atlas) -> None:
    """Activations on their tokens, rectangles, truth; in rank order."""
    length, things = 5, np.array([[0, 1, 0.5, 0, 0]], np.float16)
    rects = np.arange(20, dtype=np.float32).reshape(5, 4)
    layout = TokenLayout(
        np.array([2, 3, 3, 1, 1], np.int8), np.array([-1, 0, 0, -1, -1], np.int16), rects
    )
    about = {
        "id": "s7",
        "media": ["f" * 64],
        "sizes": [[8, 4]],
        "truth": {"caption": "a bat", "objects": [{"name": "bat"}]},
    }
    sample = SampleRecord(
        7, "score", length, about, list("abcde"), pack_layout(layout), pack_patches(things)
    )
    atlas.write_samples("corpus", [sample])
    blob = pack_activations(np.array([1, 4], np.int32), np.array([2.5, 0.5], np.float32))
    records = [
        NewExemplar(3, 7, role, rank, 9, 2.5, blob if role == "top" else b"")
        for role in ("silent", "top")
        for rank in (1, 0)
    ]
    for _ in range(2):
        atlas.write_exemplars(KEY, "corpus", records)
    detail = atlas.feature(KEY, 3)
    assert [(e.role, e.rank) for e in detail.exemplars] == [
        ("top", 0), ("top", 1), ("silent", 0), ("silent", 1),
    ]  # fmt: skip
    top = detail.of("top")[0]
    assert top.activations.tolist() == [0, 2.5, 0, 0, 0.5]
    assert top.sample.rects.tolist() == rects.tolist()
    assert top.sample.tokens == tuple("abcde")
    assert top.sample.truth["objects"][0]["patches"].tolist() == things[0].tolist()


def test_models_may_share_names_of_dictionaries(atlas: Atlas) -> None:
    """Then the name alone is refused, with the words to use."""
    atlas.add_dictionary(KEY, model="other", width=4)
    atlas.write_features(f"other:{KEY}", figures(4))
    with pytest.raises(AtlasError, match=f"tiny:{KEY}"):
        atlas.features(KEY)
    assert atlas.features(f"other:{KEY}").total == 4
    assert atlas.features().total == 24


def test_notes_and_lists(atlas: Atlas) -> None:
    """What people add stays when the figures are written again."""
    atlas.add_note(KEY, 2, "looks like a mango", author="ann")
    atlas.set_list("fruit", [(KEY, 5), (KEY, 2), (KEY, 5)])
    atlas.write_features(KEY, figures(20))
    assert [n.text for n in atlas.notes(KEY, 2)] == ["looks like a mango"]
    assert [r.index for r in atlas.list_features("fruit")] == [5, 2]
    assert atlas.feature(KEY, 2).lists == ("fruit",)
    atlas.set_list("fruit", [(KEY, 1)])
    assert atlas.lists() == {"fruit": 1}
    with pytest.raises(AtlasError, match="There are: fruit"):
        atlas.list_features("veg")


def test_readers_see_whole_batches_while_a_writer_works(tmp_path: Path) -> None:
    """Each read is one state: all scores of a batch or none, and nobody waits or fails."""
    path = tmp_path / "atlas.db"
    with Atlas.open(path) as writer, Atlas.open(path) as reader:
        writer.add_dictionary(KEY, model="tiny", width=50)
        writer.write_features(KEY, figures(50))
        stop, seen, failed = threading.Event(), set(), []

        def read() -> None:
            try:
                while not stop.is_set():
                    rows = reader.features(KEY, limit=50).rows
                    seen.add(tuple(sorted({r.scores["x"].value for r in rows if r.scores})))
            except Exception as error:  # noqa: BLE001
                failed.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for value in range(12):
                writer.write_scores(KEY, [Figure(i, float(value), "x") for i in range(50)])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not failed
    assert all(len(values) <= 1 for values in seen)


def test_two_writers_take_turns(tmp_path: Path) -> None:
    """Two processes' worth of writers on one file: neither is told that it is locked."""
    path = tmp_path / "atlas.db"
    Atlas.open(path).close()
    failed = []

    def write(name: str) -> None:
        try:
            with Atlas.open(path) as mine:
                mine.add_dictionary(f"s/{name}", model="tiny", width=30)
                mine.write_features(f"s/{name}", figures(30))
                for value in range(5):
                    mine.write_scores(f"s/{name}", [Figure(i, value) for i in range(30)])
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with Atlas.open(path) as mine:
        assert mine.features().total == 90


def test_a_later_version_and_a_stranger_are_refused(tmp_path: Path) -> None:
    """Never written to, never guessed at."""
    Atlas.open(tmp_path / "new.db").close()
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection, connection:
        connection.execute("UPDATE meta SET value = '99'")
    connection.close()
    with pytest.raises(AtlasTooNew, match="schema 99"):
        Atlas.open(tmp_path / "new.db")
    (tmp_path / "not.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(AtlasError, match="damaged, or no atlas"):
        Atlas.open(tmp_path / "not.db")
    with pytest.raises(AtlasError, match="no database that can be opened"):
        Atlas.open("nodb://x")
