"""Labellers find what their examples mark, and which tokens hold it."""

import re

import numpy as np
import pytest

from semascope.explain.text.labellers.labellers import Labeller, labellers, token_labels
from semascope.subject.types import Kind


def marked(text: str) -> tuple[str, list[str]]:
    return text.replace("⟦", "").replace("⟧", ""), re.findall("⟦(.*?)⟧", text, re.DOTALL)


@pytest.mark.parametrize("labeller", labellers(), ids=lambda labeller: labeller.name)
def test_a_labeller_marks_its_examples(labeller: Labeller) -> None:
    """Without: the truth that explanations are held against is wrong."""
    assert labeller.yes and labeller.no
    for example in labeller.yes:
        text, spans = marked(example)
        assert [text[a:b].strip(" ") for a, b in labeller.spans(text)] == [
            s.strip(" ") for s in spans
        ]
    for text in labeller.no:
        assert not labeller.spans(text)


def test_there_are_many_and_their_names_differ() -> None:
    phrases = [labeller.phrase for labeller in labellers()]
    assert len(phrases) >= 150 and len(set(phrases)) == len(phrases)


def test_pieces_of_a_word_hold_its_label_and_pictures_hold_none() -> None:
    tokens = ("<image>", "In", " 19", "84", " he", " walk", "ed", ".")
    kinds = np.array([Kind.IMAGE, *[Kind.TEXT] * 7], np.int8)
    labels = token_labels(tokens, kinds).toarray()
    column = {labeller.name: n for n, labeller in enumerate(labellers())}
    assert np.flatnonzero(labels[:, column["years"]]).tolist() == [2, 3]
    assert np.flatnonzero(labels[:, column["past_tense"]]).tolist() == [5, 6]
    assert np.flatnonzero(labels[:, column["sentence_end"]]).tolist() == [7]
    assert not labels[0].any()
