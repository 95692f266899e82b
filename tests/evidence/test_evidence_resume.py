"""A run that is killed, sharded or repeated ends with the same files; a wrong one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evidence_fakes import FakeDictionary, FakeSubject, ListCorpus, corpus

from semascope.dictionary.types import Codes
from semascope.errors import EvidenceError, NotFinite, SubjectError
from semascope.evidence import Evidence, EvidenceOptions, Gatherer, gather
from semascope.evidence.store.files import only_writer

OPTIONS = EvidenceOptions(top=4, per_interval=2, batch_size=2)
FILES = ("exemplars.safetensors", "neighbours.safetensors", "stats.safetensors")


def gatherer(folder: Path, rows: ListCorpus, **changes: object) -> Gatherer:
    """Two dictionaries, a checkpoint every second chunk."""
    return Gatherer(
        subject=FakeSubject(),
        corpus=rows,
        dictionaries=[FakeDictionary(), FakeDictionary(24, 3, 7, "small")],
        folder=folder / "e",
        media=folder / "m",
        options=OPTIONS,
        every=32,
        **changes,  # type: ignore[arg-type]
    )


def files(folder: Path) -> dict[str, bytes]:
    """All that a run leaves."""
    keys = ("resid_post.1/main", "resid_post.1/small")
    names = [f"{k}/{f}" for k in keys for f in FILES] + ["shown.arrow", "gathering.json"]
    return {n: (folder / "e" / n).read_bytes() for n in names}


def shown(folder: Path) -> list:
    """The shown samples: how the file is cut into record batches is of no account."""
    store = Evidence.open(folder / "e", "main").shown
    return [
        (store.packed(i), store.fired(i, "resid_post.1/main").tolist()) for i in range(len(store))
    ]


def same(a: Path, b: Path) -> None:
    """Byte for byte."""
    one, two = files(a), files(b)
    for name in one:
        if name != "shown.arrow":
            assert one[name] == two[name], name
    assert shown(a) == shown(b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, never killed."""
    folder: Path = tmp_path_factory.mktemp("whole")
    run = gatherer(folder, corpus(150))
    run.run()
    run.merge()
    return folder


@pytest.mark.parametrize("after", [1, 40, 97])
def test_killed_and_resumed(whole: Path, tmp_path: Path, after: int) -> None:
    """Killed in the middle of a chunk, at any time: the same bytes, nothing counted twice."""

    class KilledError(Exception):
        pass

    class Dying(ListCorpus):
        def read(self, start: int = 0, stop: int | None = None):  # type: ignore[no-untyped-def]
            for row, sample in super().read(start, stop):
                if row >= after:
                    raise KilledError
                yield row, sample

    with pytest.raises(KilledError):
        gatherer(tmp_path, Dying(corpus(150).samples)).run()
    (tmp_path / "e/shards/00000-of-00001/tally-000099-0.safetensors").write_bytes(b"half")
    run = gatherer(tmp_path, corpus(150))
    run.run()
    run.merge()
    same(whole, tmp_path)


def test_three_shards_in_any_order(whole: Path, tmp_path: Path) -> None:
    """Shards are a datatrove step: called with (data, rank, world_size), in any order."""
    for rank in (2, 0, 1):
        assert list(gatherer(tmp_path, corpus(150))(None, rank, 3)) == []
    gatherer(tmp_path, corpus(150)).merge(3)
    same(whole, tmp_path)
    assert not (tmp_path / "e/shards").exists()


def test_a_second_call_returns_at_once(whole: Path) -> None:
    """The files stand: the corpus is not read again."""

    class Unread(ListCorpus):
        def read(self, start: int = 0, stop: int | None = None):  # type: ignore[no-untyped-def]
            raise AssertionError("read again")

    run = gatherer(whole, Unread(corpus(150).samples))
    assert run.done()
    gather(
        run.subject,
        run.corpus,
        run.dictionaries,
        run.folder,
        media=run.media,
        options=OPTIONS,
    )


def test_a_missing_or_short_shard_is_named(tmp_path: Path) -> None:
    """A merge without all rows would give figures of a part as if of the whole."""
    gatherer(tmp_path, corpus(150)).run(0, 2)
    with pytest.raises(EvidenceError, match="00001-of-00002"):
        gatherer(tmp_path, corpus(150)).merge(2)
    gatherer(tmp_path, corpus(150)).run(1, 2)
    state = tmp_path / "e/shards/00001-of-00002/state.json"
    text = state.read_text()
    state.write_text(json.dumps(json.loads(text) | {"next": 100}))
    with pytest.raises(EvidenceError, match="stopped at row 100"):
        gatherer(tmp_path, corpus(150)).merge(2)
    state.write_text(text)
    part = next(state.parent.glob("shown-*.arrow"))
    part.unlink()
    with pytest.raises(EvidenceError, match="missing"):
        gatherer(tmp_path, corpus(150)).merge(2)


def test_a_cut_file_is_named(whole: Path, tmp_path: Path) -> None:
    """A file cut short is not read as far as it goes."""
    import shutil

    shutil.copytree(whole / "e", tmp_path / "e")
    path = tmp_path / "e/resid_post.1/main/exemplars.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EvidenceError, match="cut short"):
        Evidence.open(tmp_path / "e", "main")


def test_another_corpus_or_option_is_refused(whole: Path, tmp_path: Path) -> None:
    """Mixing two runs in one folder is found before the first row is read."""
    with pytest.raises(EvidenceError, match="the corpus has changed"):
        gatherer(whole, corpus(150, seed=9)).done()
    other = gatherer(whole, corpus(150))
    other.options = replace(OPTIONS, top=5)
    other.__post_init__()
    with pytest.raises(EvidenceError, match="options differs"):
        other.done()
    gatherer(tmp_path, corpus(150)).run(0, 2)
    with pytest.raises(EvidenceError, match="changed"):
        gatherer(tmp_path, corpus(150, seed=3)).run(0, 2)


def test_two_writers_at_once(tmp_path: Path) -> None:
    """The second is told, and touches nothing."""
    run = gatherer(tmp_path, corpus(60))
    with only_writer(run.shard().folder), pytest.raises(EvidenceError, match="Another process"):
        run.run()


def test_wrong_names_are_answered_with_the_right_ones(whole: Path, tmp_path: Path) -> None:
    """A typing error costs one line, not a search."""
    with pytest.raises(EvidenceError, match="run `semascope gather`"):
        Evidence.open(tmp_path, "main")
    with pytest.raises(EvidenceError, match=r"resid_post\.1/main, resid_post\.1/small"):
        Evidence.open(whole / "e", "nane")
    evidence = Evidence.open(whole / "e", "main")
    with pytest.raises(EvidenceError, match="has 40"):
        evidence.feature(40)
    with pytest.raises(EvidenceError, match="density_image"):
        evidence.stats("densty")
    with pytest.raises(EvidenceError, match="No dictionary was given"):
        gather(FakeSubject(), corpus(9), [], tmp_path / "e", media=tmp_path)
    with pytest.raises(EvidenceError, match="share a site and a name"):
        gather(FakeSubject(), corpus(9), [FakeDictionary()] * 2, tmp_path / "e", media=tmp_path)
    with pytest.raises(EvidenceError, match="no rows"):
        gather(FakeSubject(), corpus(0), [FakeDictionary()], tmp_path / "e", media=tmp_path)
    with pytest.raises(EvidenceError, match="top must be"):
        gather(FakeSubject(), corpus(9), [FakeDictionary()], tmp_path, media=tmp_path, top=0)


def test_not_a_number_names_the_row(tmp_path: Path) -> None:
    """NaN would sort as anything and fill the top."""

    class Broken(FakeDictionary):
        def encode(self, x: torch.Tensor) -> Codes:
            values, indices = super().encode(x)
            values[-1, 0] = float("nan")
            return Codes(values, indices)

    with pytest.raises(NotFinite, match=r"row \d+ \(s\d+\)"):
        gather(FakeSubject(), corpus(9), [Broken()], tmp_path / "e", media=tmp_path / "m")


def test_a_refused_sample_is_skipped_and_counted(tmp_path: Path) -> None:
    """One sample that the model cannot take costs that sample, not its batch."""

    class Picky(FakeSubject):
        def encode(self, samples, *, max_tokens=512):  # type: ignore[no-untyped-def]
            if any(s.id == "s3" for s in samples):
                raise SubjectError("too long")
            return super().encode(samples)

    gather(Picky(), corpus(12), [FakeDictionary()], tmp_path / "e", media=tmp_path / "m")
    evidence = Evidence.open(tmp_path / "e", "main")
    assert evidence.gathering["skipped"] == 1
    assert evidence.gathering["samples"] == 11
    assert 3 not in evidence.shown.rows


def test_nothing_fires(tmp_path: Path) -> None:
    """A dead dictionary is a finding, not a crash."""

    class Dead(FakeDictionary):
        def encode(self, x: torch.Tensor) -> Codes:
            values, indices = super().encode(x)
            return Codes(torch.zeros_like(values), indices)

    gather(FakeSubject(), corpus(12), [Dead()], tmp_path / "e", media=tmp_path / "m")
    evidence = Evidence.open(tmp_path / "e", "main")
    assert len(evidence.alive()) == 0
    record = evidence.feature(0)
    assert record.top == record.intervals == record.silent == ()
    assert np.isfinite(list(record.stats.values())).all()
