"""Families of words and words as they stand are concepts: named, written, and read back."""

from __future__ import annotations

import numpy as np
import pytest
from planted import evidence, on_tokens, text

from semascope.evidence.types import EvidenceSample
from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.scorers.token_match import TokenMatcher
from semascope.explain.text import lemmas
from semascope.explain.text.claims import claim
from semascope.explain.text.documents import DocumentLibrary
from semascope.explain.text.form import joined, presentable, refusals
from semascope.explain.types import Explanation

FORMS = (" send", " sent", " sends", " sending")
OTHERS = (" walk", " walked", " eats", " saying", " house", " garden")


def texts(with_words: tuple[str, ...], first: int, count: int) -> list[EvidenceSample]:
    rng = np.random.default_rng(first)
    found = []
    for row in range(first, first + count):
        word = with_words[row % len(with_words)]
        filler = [str(w) for w in rng.choice([" old", " blue", " letters", " king"], 4)]
        tokens = [" They", *filler[:2], word, *filler[2:], "."]
        found.append(text(row, tokens, "explain"))
    return found


def test_forms_of_a_word_are_one_family() -> None:
    assert set.intersection(*(set(lemmas.families(w.strip())) for w in FORMS)) == {"=send"}
    assert lemmas.families("left") == ("=leave", "=left")
    assert lemmas.families("") == lemmas.families("9.11") == lemmas.families("xq") == ()


def test_a_feature_of_all_forms_is_named_by_the_family() -> None:
    """Without: "send" is the name, and "sent" a miss."""
    fired = [on_tokens(shown, FORMS[shown.row % len(FORMS)], 3.0) for shown in texts(FORMS, 0, 24)]
    silent = texts(OTHERS, 100, 24)
    (words,) = VocabularyNamer(background=texts(OTHERS + FORMS, 200, 60)).explain(
        [evidence(0, fired, silent)]
    )
    assert words.label == 'forms of "send"'
    assert refusals(words.label) == []
    (ratings,) = LexicalJudge().rate([words], [[e.shown for e in fired] + silent])
    assert ratings.tolist() == [1.0] * len(fired) + [0.0] * len(silent)


def test_words_as_they_stand_are_named() -> None:
    """ "set to" is neither "set" nor "to"."""
    both = [text(n, [" It", " is", " set", " to", " nine", "."], "explain") for n in range(20)]
    apart = [
        text(100 + n, [" A", " set", " goes", " on", " to", " nine", "."], "explain")
        for n in range(24)
    ]
    fired = [on_tokens(shown, " to", 2.0) for shown in both]
    (words,) = VocabularyNamer(background=[*both, *apart]).explain([evidence(0, fired, apart)])
    assert words.label.strip('"') in ("set to", "is set to", "set to nine", "to nine")
    (ratings,) = LexicalJudge().rate([words], [[*both, *apart]])
    assert ratings[:20].min() > ratings[20:].max()


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (['forms of "send"', 'forms of "carry"'], 'forms of "send" or "carry"'),
        (['forms of "send"', '"the"'], '"the" or forms of "send"'),
        (["cat", "dog", "clock"], "cat or dog; clock"),
        (["see"], '"see"'),
    ],
)
def test_several_names_make_one_label(names: list[str], label: str) -> None:
    """What a label says is read back by the judge; senses of unlike kinds stand apart."""
    made = joined([presentable(name) for name in names])
    assert made == label
    assert refusals(made) == []
    keys, rest = lemmas.read_back(made)
    assert keys == [lemmas.SIGN + n[10:-1] for n in names if n.startswith("forms of")]
    assert "forms of" not in rest


def test_the_judge_reads_families_and_what_stands_beside_them() -> None:
    said = Explanation(0, "Text with it.", '"the" or forms of "send"')
    shown = [text(n, tokens, "score") for n, tokens in enumerate(([" sent"], [" the"], [" ox"]))]
    assert LexicalJudge().rate([said], [shown])[0].tolist() == [1.0, 1.0, 0.0]


def test_what_stands_near_tells_numbers_apart() -> None:
    """Of two features of numbers one fires near "million", one near "chapter"."""
    rng = np.random.default_rng(0)

    def shown(row: int, beside: str) -> EvidenceSample:
        filler = [str(w) for w in rng.choice([" old", " blue", " letters", " king"], 3)]
        return text(row, [*filler, f" {row + 11}", beside, "."], "explain")

    near = [shown(n, " million") for n in range(20)]
    far = [shown(100 + n, " chapters") for n in range(20)]
    fired = [on_tokens(s, f" {s.row + 11}", 2.0) for s in near]
    (words,) = VocabularyNamer(background=[*near, *far]).explain([evidence(0, fired, far)])
    assert "million" in words.label
    asked = Explanation(0, 'Text with a number near "million".', 'number near "million"')
    (ratings,) = LexicalJudge().rate([asked], [[*near, *far]])
    assert ratings.tolist() == [1.0] * 20 + [0.5] * 20


@pytest.mark.parametrize(
    ("label", "tokens"),
    [
        ('forms of "send"', [2]),
        ('"set to"', [5, 6]),
        ('number near "king"', [7]),
        ("words that begin with S", [9]),
    ],
)
def test_tokens_that_a_label_names_are_found(label: str, tokens: list[int]) -> None:
    """Without: fuzzing and simulation look for "forms" and "near" in the text."""
    said = [" They", " sent", " it", " is", " set", " to", " 9", " king", " STOP", " now"]
    shown = text(0, said, "score")
    matcher = TokenMatcher(claim(label, f"Text with {label}."), DocumentLibrary().doc(shown))
    assert [n for n in range(1, len(said) + 1) if matcher.hits(n)] == tokens
