"""What a feature fires on above all: planted, told, judged and found in the picture."""

from __future__ import annotations

import numpy as np
import pytest
from planted import evidence, on_object, picture

from semascope.evidence.types import EvidenceSample, FeatureEvidence
from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.refine import short
from semascope.explain.scorers.lexical_judge import LexicalJudge
from semascope.explain.scorers.match_truth import named_things
from semascope.explain.text.claims import claim, plain, strongest
from semascope.explain.types import Cost, Explanation

LANDS = (
    "cuba peru chad mali oman iran laos fiji togo guam niger nepal kenya ghana haiti india japan "
    "malta nauru palau qatar samoa spain sudan syria tonga yemen"
).split()
FLAGS = tuple(f"flag of {land}" for land in LANDS)
OTHERS = ("mango", "cat", "violin", "anchor", "ladder")
LABEL = "flag"
DESCRIPTION = "Pictures of a flag. Strongest on a flag of cuba or a flag of peru."


@pytest.fixture(scope="module")
def scenes() -> list[EvidenceSample]:
    """Half of them hold three flags each, and all some other thing."""
    rng = np.random.default_rng(3)
    found = []
    for row in range(800):
        flags = [FLAGS[i] for i in rng.permutation(len(FLAGS))[: 3 * (row % 4 < 2)]]
        things = [*flags, OTHERS[int(rng.integers(len(OTHERS)))]]
        found.append(picture(row, things, rng, "score" if row % 2 else "explain"))
    return found


def names_of(shown: EvidenceSample) -> set[str]:
    return {o["name"] for o in shown.truth["objects"]}


def feature(scenes: list[EvidenceSample], strength: dict[str, float]) -> FeatureEvidence:
    """Fires on each flag as strongly as it says, on the strongest of a scene alone."""
    fired, silent = [], []
    for shown in scenes:
        there = {name: strength.get(name, 1.0) for name in names_of(shown) & set(FLAGS)}
        if there:
            best = max(sorted(there), key=lambda name: there[name])
            fired.append(on_object(shown, best, there[best]))
        else:
            silent.append(shown)
    return evidence(0, fired, silent)


def named(record: FeatureEvidence, scenes: list[EvidenceSample]) -> Explanation:
    return VocabularyNamer(background=scenes).explain([record])[0]


def test_what_it_fires_on_most_is_told(scenes: list[EvidenceSample]) -> None:
    record = feature(scenes, {"flag of cuba": 5.0, "flag of peru": 4.0})
    words = named(record, scenes)
    assert set(words.label.split(" or ")) == {"flag of Cuba", "flag of Peru"}  # the telling one
    assert words.description.startswith("Pictures of a flag. ")
    most = strongest(words.description)
    assert set(most.split(" or ")) == {"a flag of cuba", "a flag of peru"}


def test_nothing_is_told_of_what_fires_alike(scenes: list[EvidenceSample]) -> None:
    words = named(feature(scenes, {}), scenes)
    assert (words.label, words.description) == ("flag", "Pictures of a flag.")


def test_the_judge_rates_the_general_half_as_good(scenes: list[EvidenceSample]) -> None:
    said = Explanation(
        feature=0, description=DESCRIPTION, label=LABEL, category="object",
        confidence=1.0, author="t", prompt_version="1", inputs="", cost=Cost(),
    )  # fmt: skip
    rated = LexicalJudge().rate([said], [scenes])[0]
    for shown, rating in zip(scenes, rated, strict=True):
        there = names_of(shown)
        most = bool(there & {"flag of cuba", "flag of peru"})
        # All the words of "flag of cuba" that tell, with one between them, are nearly the phrase.
        assert rating == pytest.approx(0.9 if most else 0.5 if there & set(FLAGS) else 0.0)


def test_in_a_picture_the_particular_is_meant_where_it_is(scenes: list[EvidenceSample]) -> None:
    said = claim(LABEL, DESCRIPTION)
    cuba = next(
        s
        for s in scenes
        if "flag of cuba" in names_of(s) and "flag of peru" not in s.truth["caption"]
    )
    found = named_things(said, cuba)
    assert found is not None
    assert [o["name"] for o in found.things] == ["flag of cuba"]
    rest = next(s for s in scenes if names_of(s) & set(FLAGS) and not names_of(s) & set(FLAGS[:2]))
    found = named_things(said, rest)
    assert found is not None
    assert {o["name"] for o in found.things} == names_of(rest) & set(FLAGS)


@pytest.mark.parametrize(
    ("description", "most"),
    [
        (DESCRIPTION, "a flag of cuba or a flag of peru"),
        ("Pictures of a flag. Strongest on the flag of St. Lucia.", "the flag of St. Lucia"),
        ("Text with a. Strongest on b. It makes the model likelier to say c.", "b"),
        ("Pictures of a flag.", ""),
    ],
)
def test_what_is_strongest_is_read_back(description: str, most: str) -> None:
    assert strongest(description) == most
    assert "Strongest" not in plain(description)
    assert short(LABEL) == "flag"
