"""Texts in another language: what is known of English words is not said of them."""

import pytest
from planted import evidence, on_tokens, text

from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.text.documents import DocumentLibrary
from semascope.explain.text.language import is_foreign

GERMAN = "Es war einmal ein König und die Stadt war im Jahr 1848 nicht groß."


@pytest.mark.parametrize(
    "words",
    [
        GERMAN,
        "Le chat est dans la maison avec une souris.",
        "El perro y los gatos son para las mujeres.",
        "Это было в прошлом году.",
        "猫は家の中にいます。",
    ],
)
def test_other_languages_are_known(words: str) -> None:
    assert is_foreign(words)


@pytest.mark.parametrize(
    "words",
    [
        "The war was long and they fell in love.",
        "def die(self): return self.war",
        "the flag of Cuba, a mango and a red circle",
        "Thou shalt not covet thy neighbour's house.",
        "12 3.5 ---",
        "",
        "Los Angeles de Janeiro",
        'He said "Die Katze" to her and to the other of them.',
    ],
)
def test_english_code_names_and_scraps_are_not_foreign(words: str) -> None:
    assert not is_foreign(words)


def test_a_german_text_has_no_words_of_war() -> None:
    """ "war" is "was", "die" is "the", "im" is no preposition of English."""
    library = DocumentLibrary()

    def terms(words: str) -> set[str]:
        tokens = [f" {word}" for word in words.split()]
        return {library.key(n) for n in library.doc(text(len(words), tokens, "explain")).text_terms}

    german, english = terms(GERMAN), terms("The war in the town was long in the year 1848 and bad.")
    assert {"@war", "#preposition", "=war"} <= english
    assert not {term for term in german if term in {"@war", "@death", "#preposition", "=war"}}
    assert {"war", "@years", "#year", "#capitalised word"} <= german


def test_a_feature_of_german_is_called_by_its_words() -> None:
    """Without: a feature of "war" and "Tod" is called "words of war"."""
    rows = [GERMAN.split(), "Der Mann und die Frau sind nicht im Haus , der Krieg war lang".split()]
    docs = [[f" {word}" for word in rows[number % 2]] for number in range(24)]
    fired = [on_tokens(text(row, doc, "explain"), " war") for row, doc in enumerate(docs)]
    quiet = "Eine Katze und ein Hund sind auf der Straße".split()
    silent = [text(100 + row, [f" {word}" for word in quiet], "explain") for row in range(24)]
    named = VocabularyNamer().explain([evidence(0, fired, silent)])[0]
    assert "war" in named.label and "words of" not in named.label + named.description
