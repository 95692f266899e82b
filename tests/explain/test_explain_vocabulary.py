"""The vocabulary namer on planted features: right names, abstentions, and no look at the truth."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from planted import NAMES, NOUNS, VERBS, World, evidence, on_object, on_tokens, picture, text

from semascope.evidence.types import EvidenceSample, Exemplar, FeatureEvidence
from semascope.explain.explainers.term_cover import VocabularyOptions
from semascope.explain.explainers.term_frequency import TermFrequency
from semascope.explain.explainers.vocabulary import VocabularyNamer
from semascope.explain.types import Explainer


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_every_planted_thing_is_named(world: World) -> None:
    """A caption names all that a scene holds; the contrast over scenes finds the one thing."""
    records = [world.sees(i, name) for i, name in enumerate(NAMES)]
    labels = [e.label for e in VocabularyNamer().explain(records)]
    assert labels == list(NAMES)  # with their capitals


def test_every_planted_word_is_named(world: World) -> None:
    planted = (*NOUNS[:4], *VERBS[:4])
    records = [world.reads(i, f" {word}") for i, word in enumerate(planted)]
    named = VocabularyNamer().explain(records)
    # A verb alone is no name: it stands as a token, in quotes.
    assert [e.label.strip('"') for e in named] == list(planted)
    assert {e.category for e in named} == {"text"}


def test_noise_is_not_named(world: World) -> None:
    """Twelve scenes share some word by luck one time in three: a name then is a hallucination."""
    named = VocabularyNamer().explain([world.noise(i) for i in range(20)])
    assert sum(not e.abstained for e in named) <= 1
    assert all(e.description for e in named), "an abstention says why"


def test_words_that_tell_too_little_are_left_out(world: World) -> None:
    """The higher what they must tell, the fewer are said; those that are said stay the same."""
    records = [world.sees(i, name) for i, name in enumerate(NAMES[:4])]
    records += [world.half(10 + i, name) for i, name in enumerate(NAMES[:4])]

    def said(least: float) -> dict[int, tuple[str, float]]:
        namer = VocabularyNamer(options=VocabularyOptions(least_gain=least))
        found = namer.explain(records)
        return {e.feature: (e.label, e.confidence) for e in found if not e.abstained}

    every = said(0.0)
    enough = sorted(gain for _, gain in every.values())[len(every) // 2]
    kept = {index: told for index, told in every.items() if told[1] >= enough}
    assert 0 < len(kept) < len(every) and said(enough) == kept


def test_alternatives_are_joined(world: World) -> None:
    mango, cat = world.sees(0, "mango", top=12), world.sees(0, "cat", top=12)
    both = evidence(0, [*mango.top, *cat.top], world.scenes_with("mango", there=False)[60:100])
    silent = tuple(s for s in both.silent if "cat" not in s.truth["caption"])
    namer = VocabularyNamer(background=world.scenes)
    named = namer.explain([replace(both, silent=silent)])[0]
    assert set(named.label.split("; ")) == {"mango", "cat"}  # no kind in common: two senses


def test_truth_objects_are_never_read(world: World) -> None:
    """With masks and names of objects gone, and captions left, nothing changes."""

    def blind(shown: EvidenceSample) -> EvidenceSample:
        return replace(shown, truth={"caption": shown.truth["caption"]})

    record = world.sees(3, "violin")
    stripped = FeatureEvidence(
        3,
        tuple(Exemplar(blind(e.shown), e.activations) for e in record.top),
        (),
        tuple(blind(s) for s in record.silent),
        record.stats,
    )
    a, b = VocabularyNamer().explain([record])[0], VocabularyNamer().explain([stripped])[0]
    assert replace(a, cost=b.cost) == b
    assert a.label == "violin"


def test_the_score_split_is_never_read(world: World) -> None:
    """A feature whose held-out samples are something else altogether gets the same name."""
    mango, cat = world.sees(0, "mango"), world.sees(0, "cat")
    explain, other = mango.split("explain"), cat.split("score")
    mixed = FeatureEvidence(
        0,
        (*explain.top, *other.top),
        (),
        (*explain.silent, *other.silent),
        mango.stats,
    )
    a, b = VocabularyNamer().explain([mango])[0], VocabularyNamer().explain([mixed])[0]
    assert (a.label, a.confidence, a.inputs) == (b.label, b.confidence, b.inputs)


def test_decimal_numbers_are_a_concept(world: World) -> None:
    """No single number repeats, so only the concept can name what they share."""

    def tokens(row: int) -> list[str]:
        return [" It", " cost", f" {row}.{row % 7}", " in", " all", "."]

    fired = [on_tokens(text(row, tokens(row), "explain"), tokens(row)[2]) for row in range(1, 15)]
    silent = [text(99 + i, [" It", " cost", " much", "."], "explain") for i in range(14)]
    named = VocabularyNamer().explain([evidence(0, fired, silent)])[0]
    assert named.label == "decimal numbers"


def test_control_tokens_and_empty_evidence_abstain(world: World) -> None:
    control = [on_tokens(s, "<s>") for s in world.texts[:20]]
    named = VocabularyNamer().explain([evidence(0, control, []), evidence(1, [], [])])
    assert [e.abstained for e in named] == [True, True]
    assert "control tokens" in named[0].description
    assert named[1].description == "Too few samples to explain it from: 0."


def test_promoted_tokens_are_told(world: World) -> None:
    namer = VocabularyNamer(promoted=lambda _: [" mango", " fruit", "##", "x"])
    named = namer.explain([world.sees(0, "mango")])[0]
    assert "mango, fruit" in named.description


def test_agreement_in_meaning_decides_between_equals(world: World) -> None:
    """Mango and tent stand together in every firing scene: counts cannot tell, vectors can."""
    rng = np.random.default_rng(1)
    both = [picture(900 + i, ["mango", "tent"], rng, "explain") for i in range(14)]
    fired = [on_object(s, "mango") for s in both]
    silent = [s for s in world.scenes if not {"mango", "tent"} & _names(s)][:20]
    record = evidence(0, fired, silent)

    def toward(name: str) -> Callable[[Sequence[str]], np.ndarray]:
        return lambda texts: np.array(
            [[1.0, 0.0] if name in t else [0.0, 1.0] for t in texts], np.float32
        )

    for name in ("mango", "tent"):
        named = VocabularyNamer(world.scenes, embed=toward(name)).explain([record])[0]
        assert named.label == name


def _names(shown: EvidenceSample) -> set[str]:
    return {o["name"] for o in shown.truth["objects"]}


def test_it_is_an_explainer() -> None:
    assert isinstance(VocabularyNamer(), Explainer)


def test_what_was_named_before_changes_nothing(world: World) -> None:
    """A run that was killed names the rest in a fresh process, and must end with the same words."""
    background = TermFrequency(world.scenes[:150] + world.texts[:150])
    records = [world.sees(i, name) for i, name in enumerate(NAMES)]
    records += [world.reads(50 + i, f" {word}") for i, word in enumerate(NOUNS)]
    shared = VocabularyNamer(background)
    whole = shared.explain(records)
    alone = [
        VocabularyNamer(world.scenes[:150] + world.texts[:150]).explain([record])[0]
        for record in reversed(records)
    ][::-1]
    later = VocabularyNamer(background).explain(records[::-1])[::-1]
    for a, b, c in zip(whole, alone, later, strict=True):
        assert replace(a, cost=b.cost) == b
        assert replace(a, cost=c.cost) == c
