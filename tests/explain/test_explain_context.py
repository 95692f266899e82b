"""What stands near the words of a text feature: said where it is so, and only there."""

from dataclasses import replace

import numpy as np
import pytest
from planted import on_tokens, text

from semascope.explain.explainers.term_context import Surroundings, context, distinguishing
from semascope.explain.explainers.term_cover import (
    CandidateTerm,
    Cover,
    VocabularyOptions,
    cover,
)
from semascope.explain.explainers.wording import shown
from semascope.explain.text.documents import DocumentLibrary, face
from semascope.explain.text.exemplar_terms import ExemplarTerms
from semascope.explain.text.form import joined

LIBRARY = DocumentLibrary()
NUMBER, CHAPTER, MILLION, BATTLE, WAR = map(
    LIBRARY.term, ("#number", "chapter", "million", "battle", "@war")
)
COMMON = np.zeros(len(LIBRARY))


def near(share: float, *extra: int, n: int = 20) -> Surroundings:
    """Numbers that stand near "chapter" in a share of the firing samples, and in no silent one."""
    firing = [
        frozenset({NUMBER, CHAPTER, *extra} if row < share * n else {NUMBER}) for row in range(n)
    ]
    silent = [frozenset({NUMBER})] * n
    at = [frozenset({NUMBER})] * n
    return Surroundings(Cover((NUMBER,), (0.7,), 0.2), firing, at, np.ones(n), silent)


@pytest.mark.parametrize(("share", "said"), [(0.9, True), (0.6, True), (0.4, False), (0.1, False)])
def test_mostly_means_in_most_samples(share: float, said: bool) -> None:
    """Without: "Mostly near chapter" of a feature that fires there four times in ten."""
    term, gain = context(near(share), COMMON, LIBRARY)
    assert (term == CHAPTER) is said
    assert (gain > 0.03) is said


def test_what_stands_near_silent_samples_too_is_not_said() -> None:
    own = near(0.9)
    both = Surroundings(own.cover, own.firing, own.at, own.weights, own.firing)
    assert context(both, COMMON, LIBRARY) == (-1, 0.0)


def test_what_fires_is_not_what_stands_near() -> None:
    """ "see" is a verb of perception, and needs none near it."""
    own = near(0.9)
    same = Surroundings(own.cover, own.firing, own.firing, own.weights, own.silent)
    assert context(same, COMMON, LIBRARY) == (-1, 0.0)


def test_a_word_comes_before_the_concept_that_it_is_the_only_case_of() -> None:
    own = near(0.9, BATTLE, WAR)
    without = [held - {CHAPTER} for held in own.firing]
    term, _ = context(
        Surroundings(own.cover, without, own.at, own.weights, own.silent), COMMON, LIBRARY
    )
    assert term == BATTLE


def test_features_of_one_label_are_told_by_what_only_one_stands_near() -> None:
    first, second = near(0.8), near(0.8)
    other = [frozenset({NUMBER, MILLION}) if CHAPTER in held else held for held in second.firing]
    second = Surroundings(second.cover, other, second.at, second.weights, second.silent)
    assert distinguishing([first, second], LIBRARY) == [CHAPTER, MILLION]
    assert distinguishing([first, first], LIBRARY) == [-1, -1]


def test_what_stands_near_is_written_without_the_words_beside_it() -> None:
    """Without: the feature of "war" is called "war near es war"."""
    tokens = [" und", " mehr", " war", "."]
    docs = LIBRARY.docs(text(row, tokens, "explain") for row in range(5))
    assert face("mehr", docs) == "und mehr war"
    assert shown("mehr", docs, whole=False) == "mehr"


def test_concepts_are_of_one_kind() -> None:
    """Dates are no fruit where people's names stand beside them."""
    assert joined(["dates", "names of people"]) == "dates or names of people"
    assert joined(["month names", "harbour"]) == "month names; harbour"


def test_a_rare_word_does_not_take_the_name_of_a_common_one() -> None:
    """Without: a feature of written words is called "SORRY", which it never missed, twice."""
    fired = [
        ExemplarTerms(
            on_tokens(text(row, [" word"], "explain"), " word"),
            1.0,
            "text",
            frozenset({CHAPTER, MILLION} if row < 2 else {CHAPTER}),
            frozenset(),
        )
        for row in range(20)
    ]
    silent = [frozenset({CHAPTER}) if row < 14 else frozenset[int]() for row in range(20)]
    names = [CandidateTerm(CHAPTER, 0.3, 0.7, 0.0), CandidateTerm(MILLION, 0.1, 0.0, 0.0)]
    named = cover(names, fired, silent, LIBRARY, VocabularyOptions(next_gain=0.0))
    assert named.terms == (CHAPTER,)
    often = [
        replace(one, terms=frozenset({CHAPTER, MILLION})) if row < 10 else one
        for row, one in enumerate(fired)
    ]
    terms = cover(names, often, silent, LIBRARY, VocabularyOptions()).terms
    assert set(terms) == {CHAPTER, MILLION}, "in half of the samples it may"
