"""The shipped text: how much, of what, in which splits; its claims about numbers are true."""

import random
import re
import sys
from collections import Counter
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from semascope.corpus import Corpus, TextCorpus, plain_english
from semascope.corpus.text import passages
from semascope.errors import CorpusError

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))


def test_the_size_and_variety_that_features_need() -> None:
    counts = Counter(p.source for p in passages())
    assert len(passages()) >= 12_000
    assert max(counts.values()) <= len(passages()) / 4
    size = Counter[str]()
    for p in passages():
        size[p.source] += len(p.text) + sum(len(text) for _, text in p.turns)
    assert max(size.values()) <= sum(size.values()) / 4
    assert {"King James Bible", "WordNet", "numbers: versions", "talk: hunger"} <= set(counts)
    assert all(p.licence for p in passages())


def test_passages_are_of_the_length_promised() -> None:
    assert all(40 <= len(p.text) <= 1200 for p in passages() if not p.turns)
    assert all(bool(p.text) != bool(p.turns) for p in passages())


def test_ids_are_unique_and_the_splits_apart() -> None:
    train, held = TextCorpus(), TextCorpus("heldout")
    ids = [{p.id for p in corpus.passages} for corpus in (train, held)]
    assert len(ids[0]) == len(train) and len(ids[1]) == len(held)
    assert not ids[0] & ids[1]
    assert 0.07 < len(held) / (len(train) + len(held)) < 0.13


def test_the_order_is_drawn_by_the_seed_and_kept() -> None:
    """A run that resumes must meet the same rows; the digest changes only when the data do."""
    first = [s.id for _, s in TextCorpus(seed=1, n=50).read()]
    assert first == [s.id for _, s in TextCorpus(seed=1).read(0, 50)]
    assert first != [s.id for _, s in TextCorpus(seed=2, n=50).read()]
    assert TextCorpus(seed=1).fingerprint() == TextCorpus(seed=1).fingerprint()
    assert TextCorpus(seed=1).fingerprint() != TextCorpus(seed=2).fingerprint()
    assert isinstance(TextCorpus(n=3), Corpus)


def test_any_prefix_holds_many_sources() -> None:
    sources = {sample.source for _, sample in TextCorpus(n=300).read()}
    assert len(sources) >= 25


def test_chats_alternate_and_hold_no_text() -> None:
    chats = [p for p in passages() if p.turns]
    assert len(chats) > 500
    for chat in chats:
        assert [role for role, _ in chat.turns] == ["user", "assistant"] * (len(chat.turns) // 2)


def test_plain_english_is_held_out_prose() -> None:
    found = plain_english(100)
    prose = {p.text for p in passages() if p.prose and p.split == "heldout"}
    assert len(found) == 100 and set(found) <= prose
    assert found == plain_english(100)


def test_unknown_split() -> None:
    with pytest.raises(CorpusError, match="train and heldout"):
        TextCorpus("test")  # type: ignore[arg-type]


def test_every_comparison_of_decimals_is_right() -> None:
    """A corpus that calls 9.11 larger than 9.9 would teach the very fault that we look for."""
    said = [p.text for p in passages() if p.source == "numbers: decimals"]
    found = [
        match
        for text in said
        for match in re.findall(r"([\d.]+\d) (is larger than|>|<) ([\d.]+\d)", text)
    ]
    assert len(found) > 100
    for left, relation, right in found:
        big, small = (right, left) if relation == "<" else (left, right)
        assert Decimal(big) > Decimal(small), (left, relation, right)


def test_makers_are_deterministic() -> None:
    """The shipped file can only be made again if no maker draws from anything but its seed."""
    import text_numbers
    import text_talk

    for part, maker, _ in islice((*text_numbers.MAKERS, *text_talk.MAKERS), None):
        drawn = [[maker(random.Random(i)) for i in range(30)] for _ in range(2)]
        assert drawn[0] == drawn[1], part
        assert len({str(each) for each in drawn[0]}) > 12, part
