"""``open_corpus``: descriptions to corpora; mixtures by weight; what to do when there is none."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semascope.corpus import Corpus, Mixed, open_corpus
from semascope.corpus.hf_datasets import parse
from semascope.corpus.sample import Sample
from semascope.corpus.tabular.base import BadRow, RowCorpus
from semascope.errors import CorpusError, NoImages


class Numbers(RowCorpus):
    """Rows that say their number; some are bad."""

    def __init__(self, name: str, n: int, bad: frozenset[int] = frozenset()) -> None:
        super().__init__(name)
        self.n, self.bad = n, bad

    def __len__(self) -> int:
        return self.n

    def fingerprint(self) -> str:
        return f"{self.name}{self.n}"

    def sample(self, row: int) -> Sample:
        if row in self.bad:
            raise BadRow("bad")
        return Sample(id=str(row), text=f"{self.name}{row}")


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.data(),
)
def test_a_mixture_loses_nothing_and_resumes_anywhere(
    lengths: list[int], data: st.DataObject
) -> None:
    """Read in pieces or at once: the same rows, each of every part's once, in each part's order."""
    weights = [data.draw(st.sampled_from([0.5, 1.0, 3.0])) for _ in lengths]
    bad = frozenset(data.draw(st.lists(st.integers(0, 29), max_size=5)))
    mixed = Mixed([Numbers("abcd"[k], n, bad) for k, n in enumerate(lengths)], weights)
    whole = [(row, sample.id) for row, sample in mixed.read()]
    cut = data.draw(st.integers(0, len(mixed)))
    pieces = [*mixed.read(0, cut), *mixed.read(cut)]
    assert [(row, sample.id) for row, sample in pieces] == whole
    wanted = {f"{'abcd'[k]}/{i}" for k, n in enumerate(lengths) for i in range(n) if i not in bad}
    assert {name for _, name in whole} == wanted and len(whole) == len(wanted)
    assert mixed.skipped.total == len(mixed) - len(whole)


def test_any_prefix_keeps_the_ratio() -> None:
    mixed = Mixed([Numbers("a", 300), Numbers("b", 100)], [3, 1])
    for stop in (8, 40, 400):
        counts = Counter(sample.id[0] for _, sample in mixed.read(0, stop))
        assert abs(counts["a"] - 3 * counts["b"]) <= 3


def test_a_mixture_needs_weights_above_zero() -> None:
    for parts, weights in (([], None), ([Numbers("a", 1)], [0.0]), ([Numbers("a", 1)], [1.0, 1.0])):
        with pytest.raises(CorpusError, match="weight"):
            Mixed(parts, weights)


def test_built_in_corpora_by_name() -> None:
    mixed = open_corpus("2*scenes?n=20&size=64+text:heldout", n=30)
    assert isinstance(mixed, Corpus) and len(mixed) == 30
    shown = [bool(sample.images) for _, sample in mixed.read(0, 9)]
    assert sum(shown) == 6
    assert len({sample.id for _, sample in mixed.read()}) == 30
    assert open_corpus("text", n=7).fingerprint() != open_corpus("text", n=8).fingerprint()
    assert open_corpus("text", seed=1).fingerprint() != open_corpus("text").fingerprint()


def test_pictures_are_demanded_of_text() -> None:
    with pytest.raises(NoImages, match="such as scenes"):
        open_corpus("text", images=True)
    assert len(open_corpus("scenes", n=3, images=True)) == 3


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("", "names no corpus"),
        ("scenes+", "names no corpus"),
        ("nowhere.jsonl", "no corpus 'nowhere.jsonl'"),
        ("nowhere/", "no corpus"),
        ("text:middle", "splits train and heldout"),
        ("scenes:middle", "no split"),
        ("text?colour=red", "no option 'colour'"),
        ("scenes?n=many", "whole number"),
        ("x" * 5000, "no corpus"),
    ],
)
def test_what_is_no_corpus_is_a_sentence(spec: str, match: str) -> None:
    with pytest.raises(CorpusError, match=match):
        open_corpus(spec)


def test_folders_and_files_that_hold_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").touch()
    with pytest.raises(CorpusError, match=r"it holds: \.xyz"):
        open_corpus(tmp_path)
    with pytest.raises(CorpusError, match="unknown kind"):
        open_corpus(tmp_path / "a.xyz")
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(CorpusError, match="holds no rows"):
        open_corpus(tmp_path / "a.jsonl")
    (tmp_path / "a.json").write_text('{"text": 1}\n{"text": 2}')
    with pytest.raises(CorpusError, match=r"named \.jsonl"):
        open_corpus(tmp_path / "a.json")


def test_rows_are_counted_from_zero() -> None:
    with pytest.raises(CorpusError, match="counted from 0"):
        list(Numbers("a", 3).read(-1))


def test_names_of_hub_datasets() -> None:
    assert parse("cifar10/test") == ("cifar10", None, "test")
    assert parse("org/name") == ("org/name", None, "train")
    assert parse("org/name/strange") == ("org/name", None, "strange")
    assert parse("org/name@config/train[:5%]") == ("org/name", "config", "train[:5%]")
