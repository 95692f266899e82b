"""How terms are written in labels and descriptions.

What is written here is read back by ``text.claims``, so the two agree on how a shape, a piece of a
word or a stop word is written. Knows documents; knows no feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from semascope.explain.text import hypernyms, lemmas
from semascope.explain.text import terms as words
from semascope.explain.text.documents import Document, face, spoken
from semascope.explain.text.exemplar_terms import Mode
from semascope.explain.text.form import presentable
from semascope.explain.text.labellers.labellers import labellers


@cache
def _phrases() -> dict[str, str]:
    """What a person would call each concept, by its term."""
    return {words.CONCEPT + labeller.name: labeller.phrase for labeller in labellers()}


def written(key: str, docs: Sequence[Document], *, whole: bool = True) -> str:
    """How a term is written in a label; ``whole`` as in ``documents.face``."""
    if key.startswith(words.CONCEPT):
        return _phrases()[key]
    if key.startswith("~"):
        piece = key[1:]
        holding = [doc for doc in docs if piece in doc.text.lower()]
        words_of_it = sum(words.stem(piece) in doc.stems for doc in holding)
        return f'"{piece}"' if 2 * words_of_it > len(holding) else f'words with "{piece}"'
    if key.startswith("#"):
        return key[1:]
    if key.startswith(lemmas.SIGN):
        return lemmas.written(key)
    if key.startswith(words.PHRASE):
        return f'"{key.removeprefix(words.PHRASE)}"'
    if hypernyms.counted(key):
        return f"{key}s" if hypernyms.counted(key) > 1 else key
    name = face(key, docs, whole=whole)
    return name if words.says_something(key) else f'"{name}"'


def shown(key: str, docs: Sequence[Document], *, whole: bool = True) -> str:
    """How a term stands in a label: a token in quotes, a person or a place with its capital."""
    name = written(key, docs, whole=whole)
    return name if key.startswith(words.CONCEPT) else presentable(name)


def told_as(key: str, docs: Sequence[Document]) -> str:
    """How a term is written in a sentence: with its article, where it has one."""
    if (
        key[0] in f"~#{lemmas.SIGN}{words.PHRASE}{words.CONCEPT}"
        or hypernyms.counted(key)
        or not words.says_something(key)
    ):
        return shown(key, docs)
    name = shown(key, docs)
    return name if name.startswith('"') else spoken(key, docs)


_WHERE = {"picture": "Pictures of", "text": "Text with", "both": "Pictures of, or text with,"}
_AGAIN = {"picture": " and of ", "text": " and with ", "both": " and "}


def sentence(
    said: str,
    mode: Mode,
    *,
    strongest: str = "",
    weaker: str = "",
    near: str = "",
    makes_say: Sequence[str] = (),
) -> str:
    """Where it fires, on what most of all, on what less, near what, and what it makes the model
    say. Of the things that are said "; " parts those of different kinds."""
    parts = [f"{_WHERE[mode]} {said.replace('; ', _AGAIN[mode])}."]
    for opening, names in (("Strongest on", strongest), ("Weaker on", weaker)):
        if names:
            parts.append(f"{opening} {names.replace('; ', ' and ')}.")
    if near:
        parts.append(f"Mostly near {near}.")
    if makes_say:
        parts.append(f"It makes the model likelier to say {', '.join(makes_say)}.")
    return " ".join(parts)


def agreeing(told: Sequence[str], label: str) -> list[str]:
    """Three tokens that a feature makes likelier, where one of them is in its label.

    Read in the middle of a model most such tokens are noise: told only where one agrees.
    """
    stems = {s for part in words.alternatives(label) for s in part}
    stems |= {words.stem(quote) for quote in words.quoted(label)}
    return list(told[:3]) if stems & {words.stem(token) for token in told} else []
