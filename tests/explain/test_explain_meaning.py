"""The judge by meaning: synonyms count, and the words of another feature gain nothing."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from planted import text

from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.text.claims import claim
from semascope.explain.text.word_meaning import WordMeaning, names, reference_words
from semascope.explain.types import Explanation

MEANINGS = {"harbour": 0, "port": 0, "quay": 0, "violin": 1, "cello": 1}


def embed(words: Sequence[str]) -> NDArray[np.float32]:
    """Words of one meaning are alike; any other word is alike to none."""
    out = np.zeros((len(words), 64), np.float32)
    for row, word in zip(out, words, strict=True):
        row[MEANINGS.get(word, 2 + sum(map(ord, word)) % 62)] = 1.0
    return out


def test_a_synonym_is_rated_above_other_words_and_below_the_word() -> None:
    words = Explanation(0, "Text with a harbour.", "harbour")
    samples = [
        text(row, [" The", word, " stood", "."], "score")
        for row, word in enumerate((" harbour", " quay", " cello"))
    ]
    exact, synonym, other = LexicalJudge(embed=embed).rate([words], [samples])[0]
    assert exact > synonym > other
    assert LexicalJudge().rate([words], [samples])[0].tolist() == [1.0, 0.0, 0.0]


def test_what_lies_near_any_word_is_subtracted() -> None:
    """Without: long samples fit every label, and shuffled words detect."""
    listed = dict.fromkeys(reference_words(), 0)

    def alike(words: Sequence[str]) -> NDArray[np.float32]:
        out = np.zeros((len(words), 2), np.float32)
        out[:, 0] = [word in listed or word == "harbour" for word in words]
        out[:, 1] = 1.0 - out[:, 0]
        return out

    judge = LexicalJudge(embed=alike)
    general = text(0, [f" {reference_words()[0]}", " stood", "."], "score")
    own = Explanation(0, "Text with a harbour.", "harbour")
    assert judge.rate([own], [[general]])[0][0] == pytest.approx(0.0)


def test_names_are_words_that_have_a_meaning() -> None:
    said = claim('month names or "to"', 'Text with month names or "to". Weaker on violins.')
    assert names(said) == ["month names", "violin"]


def test_a_claim_without_words_and_a_sample_without_words_are_near_to_nothing() -> None:
    meaning = WordMeaning(embed)
    empty = LexicalJudge().library.doc(text(0, ["."], "score"))
    assert meaning.nearness(claim("harbour", ""), [empty]).tolist() == [0.0]
    assert meaning.nearness(claim('"to"', 'Text with "to".'), [empty]).tolist() == [0.0]


def test_single_words_of_minilm_know_synonyms() -> None:
    from semascope.atlas.embed import minilm_folder, word_embedder

    if minilm_folder() is None:
        pytest.skip("MiniLM is not installed")
    ship, boat, law = word_embedder()(["ship", "boat", "statute"])
    assert ship @ boat > 0.3 + ship @ law
    assert np.linalg.norm(ship) == pytest.approx(1.0, abs=1e-5)
